"""BTF and the paper's method where `beyond.py` measures ThreeDZALPlus: built-in classes that were never seen.

    python benchmarks/beyond_baselines.py data/beyond --weights resnet18.safetensors

The ten classes are left out five at a time: BTF's memory bank is of the five others; the paper's method (in the setting
of configs/generated_to_real.yaml, three epochs) learns three of them and makes pseudo anomalies of the other two. (In
the paper it learns one.) All through the commands that a user gives. A finished run is not run again, so the script may
be stopped.
"""

from __future__ import annotations

import argparse
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
    parser.add_argument("--out", type=Path, default=Path("results/beyond_baselines"))
    options = parser.parse_args()
    classes, results = list_classes(options.data), {}
    for group in range(2):
        left_out = classes[group::2]
        seen = [name for name in classes if name not in left_out]
        base = ["--data.root", options.data, f"--data.test_classes=[{','.join(left_out)}]"]
        base += ["--report.scans=1", "--report.surfaces=0"]
        base += ["--model.init_args.backbone=resnet18", f"--model.init_args.rgb_weights={options.weights}"]
        base += [f"--data.cache_dir={options.out / 'cache'}", "--trainer.logger=lightning.pytorch.loggers.CSVLogger"]
        base += [f"--trainer.logger.init_args.save_dir={options.out}", f"--trainer.logger.init_args.name={group}"]
        btf = ["--config=configs/btf.yaml", f"--data.train_classes=[{','.join(seen)}]"]
        ours = ["--config=configs/generated_to_real.yaml", f"--data.train_classes=[{','.join(seen[::2])}]"]
        ours += ["--trainer.max_epochs=3", "--data.auxiliary_scans_per_class=4"]
        for name, config, fit in (("btf", btf, False), ("3dzal", ours, True)):
            rows = run(options.out / str(group), name, [*config, *base], fit=fit)
            for (method, row), title in ROWS.items():
                for test in left_out if method == name else ():
                    results.setdefault(title, {})[test] = rows[row][test]
    (options.out / "results.json").write_text(json.dumps(results, indent=1))
    print(table(results, classes))


def run(folder: Path, name: str, arguments: list[str], *, fit: bool) -> dict[str, dict[str, dict[str, float]]]:
    """Fit and test once; returns {score: {class: {metric: value}}}."""
    metrics = folder / f"{name}-test" / "report" / "metrics.json"
    if not metrics.exists():
        command, version = [sys.executable, "-m", "threedzal"], "--trainer.logger.init_args.version"
        if fit:
            subprocess.run([*command, "fit", *arguments, f"{version}={name}-fit"], check=True)
            arguments = [*arguments, f"--ckpt_path={folder / f'{name}-fit' / 'fitted.ckpt'}"]
        subprocess.run([*command, "test", *arguments, f"{version}={name}-test"], check=True)
    return json.loads(metrics.read_text())["metrics"]


def table(results: dict, classes: list[str]) -> str:
    """Markdown: mean over the classes, then object-only AUPRO and image AUROC of each."""
    lines = ["| | " + " | ".join(METRICS.values()) + " |", "|---|" + "---|" * len(METRICS)]
    for name, values in results.items():
        means = [statistics.fmean(v[metric] for v in values.values()) for metric in METRICS]
        lines.append(f"| {name} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |")
    lines += ["", "| class | " + " | ".join(results) + " |", "|---|" + "---|" * len(results)]
    for test in classes:
        pairs = [f"{v[test]['object_aupro_0.3']:.3f} / {v[test]['image_auroc']:.3f}" for v in results.values()]
        lines.append(f"| {test} | " + " | ".join(pairs) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
