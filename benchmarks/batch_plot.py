"""The learning curve of docs/batch.md from what batch.py wrote.

python benchmarks/batch_plot.py results/batch/*.json --out docs/batch_curve.png
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

PANELS = {"object-only AUPRO 0.3": 2, "AUPRO 0.05": 1, "image AUROC": 4}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+")
    parser.add_argument("--out", default="docs/batch_curve.png")
    options = parser.parse_args()
    figure, axes = plt.subplots(1, len(PANELS), figsize=(11, 3.4), layout="constrained")
    for path in map(Path, options.results):
        curve = json.loads(path.read_text()).get("curve", {})
        sizes = [int(size) for size in curve]
        for axis, (title, column) in zip(axes, PANELS.items(), strict=True):
            axis.plot(sizes, [row[column] for row in curve.values()], marker="o", label=path.stem.replace("_", " "))
            axis.set(title=title, xlabel="scans in the box", xscale="log", ylim=(0, 1))
            axis.set_xticks([4, 8, 16, 32, 64], labels=["4", "8", "16", "32", "64"])
            axis.minorticks_off()
            axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    Path(options.out).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out, dpi=110)
    print(options.out)


if __name__ == "__main__":
    main()
