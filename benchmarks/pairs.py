"""3DzAL against BTF's distance on pairs of different classes of the built-in data; prints README's table.

    threedzal data generate data/pairs --size 224 --train 12 --validation 4 --test_good 8 --test_per_defect 3
    python benchmarks/pairs.py data/pairs --seeds 0,1

Each run learns one class and is tested on three that it never saw; the other six make pseudo anomalies. BTF is the
same data, bank and scores with RGB and FPFH alone. The runs are those of `threedzal compare`, so that a finished one is
not run again; README's table also has the parts of the fused score, which are taken from its runs.csv.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import sys
from pathlib import Path

from threedzal.cli import main as threedzal
from threedzal.figures import METRICS

HERE = Path(__file__).parent
# training class -> three classes to test on; every class of the built-in data is tested on at least once
PAIRS = {
    "ring": ["cone", "porous_block", "twisted_strand"],
    "cone": ["ring", "grooved_sphere", "ribbed_wheel"],
    "porous_block": ["lumpy_ellipsoid", "rod", "threaded_part"],
    "rod": ["bumpy_disc", "ring", "grooved_sphere"],
}
COLUMNS = ("aupro_0.3", "aupro_0.05", "object_aupro_0.3", "object_aupro_0.05", "image_auroc")
BTF = "BTF (RGB + FPFH distance)"
ROWS = {  # of README's table: the method and the score
    BTF: ("btf", "distance"),
    "BTF, fused map": ("btf", "fused"),
    "distance": ("3dzal", "distance"),
    "classification": ("3dzal", "classification"),
    "fused": ("3dzal", "fused"),
    "foreground": ("3dzal", "foreground"),
}
Results = dict[str, dict[tuple[str, str, str], dict[str, float]]]  # {row: {(train, test, seed): {metric: value}}}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--config", default=str(HERE.parent / "configs/demo.yaml"))
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--out", default="results/pairs")
    options, extra = parser.parse_known_args()
    configs = f"3dzal={options.config},btf={options.config}+{HERE / 'pairs_btf.yaml'}"
    pairs = ",".join(f"{train}:{'+'.join(tests)}" for train, tests in PAIRS.items())
    args = ["compare", "--configs", configs, "--pairs", pairs, "--seeds", f"{options.seeds},", "--out", options.out]
    if code := threedzal([*args, "--data.root", options.data, *extra]):
        return code
    results = read(Path(options.out) / "runs.csv")
    print(table(results))
    print(by_class(results))
    return 0


def read(path: Path) -> Results:
    """What README's table needs of runs.csv."""
    results: Results = {row: {} for row in ROWS}
    with open(path, newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            for row, score in ROWS.items():
                if score == (line["method"], line["score"]) and not line["defect"] and line["metric"] in COLUMNS:
                    run = results[row].setdefault((line["train"], line["test"], line["seed"]), {})
                    run[line["metric"]] = float(line["value"])
    return results


def table(results: Results) -> str:
    """Markdown: mean over pairs and seeds of every score, and how often `fused` is above BTF."""
    lines = ["| score | " + " | ".join(METRICS[name] for name in COLUMNS) + " |", "|---|" + "---|" * len(COLUMNS)]
    for row, runs in results.items():
        means = [statistics.fmean(run[metric] for run in runs.values()) for metric in COLUMNS if runs]
        lines.append(f"| {row} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |")
    runs = results["fused"].keys()
    wins = [sum(results["fused"][run][metric] > results[BTF][run][metric] for run in runs) for metric in COLUMNS]
    lines.append(f"| fused above BTF, of {len(runs)} | " + " | ".join(map(str, wins)) + " |")
    return "\n".join(lines)


def by_class(results: Results) -> str:
    """Markdown: object-only AUPRO 0.3 of each test class, beside its floor."""
    lines = ["", "| test class | fused | BTF | foreground |", "|---|---|---|---|"]
    for test in sorted({test for _, test, _ in results["fused"]}):
        means = [
            statistics.fmean(run["object_aupro_0.3"] for key, run in results[row].items() if key[1] == test)
            for row in ("fused", BTF, "foreground")
        ]
        lines.append(f"| {test} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
