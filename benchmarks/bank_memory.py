"""Peak memory of building a bank against the number of scans, and what a composed coreset loses.

    python benchmarks/bank_memory.py                          # 784 patches of 1569 numbers a scan, like the paper's
    python benchmarks/bank_memory.py --modes --scans 60       # exact against composed, a tenth of the patches kept

Each figure is of a process of its own (`getrusage`); its peak without any scan, torch and this package alone, is taken
off. The features are made up (benchmarks/speed/data.py), scan by scan, as a network would give them; the bank keeps
2000 rows, so that its own size does not hide what building takes. Seconds are CPU seconds of one thread.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this folder's speed/data.py

WAYS = {
    "all in memory": {"memory": 1000.0},
    "float32 on disk": {"memory": 0.125},
    "float16 on disk": {"memory": 0.125, "precision": "float16"},
    "composed": {"memory": 0.125, "mode": "composed", "group": 10_000},
}
KEPT = 2000


def build(scans: int, options: dict, *, coreset: float = KEPT) -> dict[str, float]:
    """Build one bank in this process."""
    from benchmarks.speed.data import CELLS, WIDTH, patch_features
    from threedzal.memory import BankRows, RowOptions
    from threedzal.memory.flat import FlatSearch

    def features(scan: int) -> torch.Tensor:
        if coreset <= 1:
            return patch_features(1, WIDTH, seed=scan)
        return first.roll(scan, 0) * (1 + scan / 1000)  # made in no time: memory is all that is asked for

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        how = RowOptions(coreset=coreset, scratch=folder, **options)
        FlatSearch(torch.randn(100, WIDTH))(torch.randn(10, WIDTH), 1)  # what the libraries take at their first product
        first = patch_features(1, WIDTH)
        before = _usage()
        found: dict[str, float] = {}
        if scans:
            with BankRows(how, expected=scans * CELLS, device=torch.device("cpu")) as rows:
                for scan in range(scans):
                    rows.add(features(scan))
                made = _usage()
                chosen = rows.choose()
                found["disk_mib"] = sum(s.bytes(len(s)) for s in (rows._kept, rows._points) if s.on_disk) / 2**20
                found["features_s"], found["choice_s"] = made[1] - before[1], _usage()[1] - made[1]
            found |= {"radius": chosen.radius, "least": chosen.least, "bank": len(chosen.rows)}
            if how.coreset <= 1:  # the covering radius as it is, in all numbers
                search, far = FlatSearch(chosen.rows), 0.0
                for scan in range(scans):
                    one = features(scan)
                    near = chosen.rows[search(one, 1)[:, 0]]
                    far = max(far, (one - near).norm(dim=1).max().item())
                found["covering"] = far
        return {"peak_mib": _usage()[0], **found}


def _usage() -> tuple[float, float]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_maxrss / 1024, used.ru_utime + used.ru_stime


def apart(scans: int, options: dict, coreset: float = KEPT) -> dict[str, float]:
    """`build` in a process of its own."""
    args = [sys.executable, __file__, "--one", json.dumps([scans, options, coreset])]
    return json.loads(subprocess.run(args, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def memory(counts: list[int]) -> None:
    base = apart(0, {})["peak_mib"]
    print(f"torch and the package alone: {base:.0f} MiB\n")
    print("| way | scans | all features, MiB | peak above that, MiB | on disk, MiB | choosing, CPU s |")
    print("|---|---|---|---|---|---|")
    for name, options in WAYS.items():
        for scans in counts:
            found, whole = apart(scans, options), scans * 784 * 1569 * 4 / 2**20
            cells = [found["peak_mib"] - base, found["disk_mib"], found["choice_s"]]
            print(f"| {name} | {scans} | {whole:.0f} | {' | '.join(f'{c:.0f}' for c in cells)} |", flush=True)


def modes(scans: int) -> None:
    print("| way | covering radius | of exact's | it says: at most | peak, MiB | choosing, CPU s |")
    print("|---|---|---|---|---|---|")
    exact = None
    for name, options in {
        "exact": {},
        **{f"composed of groups of {group}": {"mode": "composed", "group": group} for group in (2_000, 10_000, 25_000)},
    }.items():
        found = apart(scans, {"memory": 1000.0, **options}, 0.1)
        exact = exact or found["covering"]
        loss, bound = found["covering"] / exact, found["radius"] / found["least"]
        spent = found["choice_s"] + (found["features_s"] if options else 0)
        print(
            f"| {name} | {found['covering']:.2f} | {loss:.3f} | {bound:.2f} times the best | {found['peak_mib']:.0f} | "
            f"{spent:.1f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", type=int, nargs="+", default=[25, 100, 200])
    parser.add_argument("--modes", action="store_true", help="compare the coresets instead")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        scans, how, coreset = json.loads(options.one)
        print(json.dumps(build(scans, how, coreset=coreset)))
    elif options.modes:
        modes(options.scans[-1])
    else:
        memory(options.scans)


if __name__ == "__main__":
    main()
