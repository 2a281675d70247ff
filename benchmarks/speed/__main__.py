"""Time each stage of the pipeline against a straightforward way of doing it, on data that needs no download.

    python -m benchmarks.speed --size full --json performance.json
    python -m benchmarks.speed --size full --only coreset,AUPRO

Prints CPU seconds, ratio, memory and the floor that the machine sets, and checks that both ways give the same numbers.
`small` takes seconds and is for tests; only `full` is the paper's size, and only there are goals looked at.
"""

import argparse
import json
import os
import platform
from pathlib import Path

import torch

from benchmarks.speed import bank, descriptors, metrics, networks
from benchmarks.speed.harness import Floor, Measurement, Stage, measure

STAGES: list[Stage] = [*bank.STAGES, *descriptors.STAGES, *networks.STAGES, *metrics.STAGES]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=["small", "full"], default="small")
    parser.add_argument("--only", help="stages whose name holds one of these, separated by commas")
    parser.add_argument("--json", type=Path, help="file for the figures; those of other stages in it are kept")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    wanted = [s for s in STAGES if not arguments.only or any(part in s.name for part in arguments.only.split(","))]
    floor = Floor.measured()
    print(f"one thread: {floor.flops / 1e9:.0f} GFLOP/s in a product, {floor.bandwidth / 1e9:.1f} GB/s in a copy\n")
    print("| stage | work | straightforward | here | ratio (goal) | MiB (goal) | floor | the same numbers |")
    print("|---|---|---|---|---|---|---|---|")
    for stage in wanted:
        measured = measure(stage, arguments.size, floor)
        print(line(measured), flush=True)
        if arguments.json:
            keep(arguments.json, arguments.size, floor, measured)


def line(m: Measurement) -> str:
    def goal(value: float | None, sign: str) -> str:
        return "" if value is None else f" ({sign} {value:g})"

    part = "*" if m.extrapolated else ""
    return (
        f"| {m.stage} | {m.work} | {m.reference_seconds:.3g} s{part}, {m.reference_mib:.0f} MiB | {m.seconds:.3g} s "
        f"| {m.ratio:.1f}{part}{goal(m.ratio_goal, '≥')} | {m.mib:.0f}{goal(m.mib_goal, '≤')} "
        f"| {m.floor_seconds:.2g} s | {m.agreement} |"
    )


def keep(path: Path, size: str, floor: Floor, measured: Measurement) -> None:
    """Into the file at once: a long run may be stopped."""
    before = json.loads(path.read_text()) if path.exists() else {}
    stages = before.get("stages", {}) if before.get("size") == size else {}
    stages[measured.stage] = measured.to_dict()
    record = {
        "size": size,
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "floor": vars(floor),
        "stages": stages,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
