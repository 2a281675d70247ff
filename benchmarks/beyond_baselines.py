"""BTF and the paper's method where `beyond.py` measures ThreeDZALPlus: generated classes that were never seen.

    python benchmarks/beyond_baselines.py data/beyond --weights resnet18.safetensors [--tested data/beyond_test]

Classes are left out (`--folds 10`: one at a time): BTF's memory bank is of the others; the paper's method (in the
setting of configs/generated_to_real.yaml, three epochs) learns every other one of these and makes pseudo anomalies of
the rest. (In the paper it learns one.) Tested on the classes left out, of `--tested` where it is given. All through the
commands that a user gives. A finished run is not run again, so the script may be stopped.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
from pathlib import Path

from threedzal.data.index import list_classes

METRICS = {
    "aupro_0.3": "AUPRO 0.3",
    "aupro_0.05": "AUPRO 0.05",
    "object_aupro_0.3": "object-only 0.3",
    "image_auroc": "image AUROC",
}
ROWS = {("btf", "distance"): "BTF", ("3dzal", "fused"): "3DzAL", ("3dzal", "foreground"): "floor"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--weights", default="pretrained")
    parser.add_argument("--tested", help="another generated data set, whose test scans are judged")
    parser.add_argument("--folds", type=int, default=10)
    parser.add_argument("--seeds", default="0", help="of the paper's method; BTF, which learns nothing, has the first")
    parser.add_argument("--out", type=Path, default=Path("results/beyond_baselines"))
    options = parser.parse_args()
    classes, results = list_classes(options.data), {}
    tested = list_classes(options.tested or options.data)  # it may have some of the classes only
    seeds = [int(seed) for seed in options.seeds.split(",")]
    for fold, seed in itertools.product(range(options.folds), seeds):
        part, left_out = f"fold-{fold}-of-{options.folds}", classes[fold :: options.folds]
        seen = [name for name in classes if name not in left_out]
        left_out = [name for name in left_out if name in tested]
        if not left_out:
            continue
        base = [f"--data.test_classes=[{','.join(left_out)}]", f"--seed_everything={seed}"]
        base += ["--report.scans=1", "--report.surfaces=0"]
        base += ["--model.init_args.backbone=resnet18", f"--model.init_args.rgb_weights={options.weights}"]
        base += [f"--data.cache_dir={options.out / 'cache'}", "--trainer.logger=lightning.pytorch.loggers.CSVLogger"]
        base += [f"--trainer.logger.init_args.save_dir={options.out}", f"--trainer.logger.init_args.name={part}"]
        roots = (options.data, options.tested or options.data)
        btf = ["--config=configs/btf.yaml", f"--data.train_classes=[{','.join(seen)}]"]
        ours = ["--config=configs/generated_to_real.yaml", f"--data.train_classes=[{','.join(seen[::2])}]"]
        ours += ["--trainer.max_epochs=3", "--data.auxiliary_scans_per_class=4"]
        for name, config in (("btf", btf), ("3dzal", ours)):
            if name == "btf" and seed != seeds[0]:
                continue
            rows = run(options.out / part, f"{name}-{seed}", [*config, *base], roots)
            for (method, row), title in ROWS.items():
                for test in left_out if method == name else ():
                    results.setdefault(title, {}).setdefault(test, []).append(rows[row][test])
    (options.out / "results.json").write_text(json.dumps(results, indent=1))
    print(table(results, [name for name in classes if name in tested]))


def run(
    folder: Path, name: str, arguments: list[str], roots: tuple[str, str]
) -> dict[str, dict[str, dict[str, float]]]:
    """Fit on the first root and test on the second, once; returns {score: {class: {metric: value}}}."""
    fitted, tested = folder / f"{name}-fit" / "fitted.ckpt", f"{name}-test-{Path(roots[1]).name}"
    metrics = folder / tested / "report" / "metrics.json"
    command, version = [sys.executable, "-m", "threedzal"], "--trainer.logger.init_args.version"
    if not fitted.exists():
        fit = [*arguments, f"--data.root={roots[0]}", f"{version}={name}-fit"]
        subprocess.run([*command, "fit", *fit], check=True)
    if not metrics.exists():
        test = [*arguments, f"--data.root={roots[1]}", f"{version}={tested}", f"--ckpt_path={fitted}"]
        subprocess.run([*command, "test", *test], check=True)
    return json.loads(metrics.read_text())["metrics"]


def table(results: dict[str, dict[str, list[dict[str, float]]]], classes: list[str]) -> str:
    """Markdown: mean over the classes, then object-only AUPRO and image AUROC of each; means over seeds."""

    def mean(found: list[dict[str, float]], metric: str) -> float:
        return statistics.fmean(values[metric] for values in found)

    lines = ["| | " + " | ".join(METRICS.values()) + " |", "|---|" + "---|" * len(METRICS)]
    for name, of in results.items():
        means = [statistics.fmean(mean(found, metric) for found in of.values()) for metric in METRICS]
        lines.append(f"| {name} | " + " | ".join(f"{value:.3f}" for value in means) + " |")
    lines += ["", "| class | " + " | ".join(results) + " |", "|---|" + "---|" * len(results)]
    for test in classes:
        found = [of[test] for of in results.values()]
        pairs = [f"{mean(f, 'object_aupro_0.3'):.3f} / {mean(f, 'image_auroc'):.3f}" for f in found]
        lines.append(f"| {test} | " + " | ".join(pairs) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
