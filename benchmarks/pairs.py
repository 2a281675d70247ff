"""3DzAL against BTF's distance on pairs of different classes of the built-in data; prints README's table.

    threedzal data generate data/pairs --size 224 --train 12 --validation 4 --test_good 8 --test_per_defect 3
    python benchmarks/pairs.py data/pairs --seeds 0,1

Each run learns one class and is tested on three that it never saw; the other six make pseudo anomalies. BTF is the
same data, bank and scores with RGB and FPFH alone. A finished run is not run again, so the script may be stopped.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

# training class -> three classes to test on; every class of the built-in data is tested on at least once
PAIRS = {
    "ring": ["cone", "porous_block", "twisted_strand"],
    "cone": ["ring", "grooved_sphere", "ribbed_wheel"],
    "porous_block": ["lumpy_ellipsoid", "rod", "threaded_part"],
    "rod": ["bumpy_disc", "ring", "grooved_sphere"],
}
METRICS = {
    "aupro_0.3": "AUPRO 0.3",
    "aupro_0.05": "AUPRO 0.05",
    "object_aupro_0.3": "object-only 0.3",
    "object_aupro_0.05": "object-only 0.05",
    "image_auroc": "image AUROC",
}
BTF_NAME = "BTF (RGB + FPFH distance)"
BTF = [f"--model.init_args.{option}" for option in ("branches=[rgb,fpfh]", "classifier=false", "w_rd=0")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--config", default="configs/demo.yaml")
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--out", default="results/pairs")
    options, extra = parser.parse_known_args()
    results: dict[str, dict[str, dict[str, float]]] = {}  # {score: {"train > test, seed": {metric: value}}}
    for seed in options.seeds.split(","):
        for train, tests in PAIRS.items():
            base = ["--config", options.config, "--data.root", options.data, "--seed_everything", seed, *extra]
            base += ["--data.train_classes", f"[{train}]", "--data.test_classes", f"[{','.join(tests)}]"]
            base += [f"--trainer.logger.init_args.save_dir={options.out}"]
            base += [f"--trainer.logger.init_args.name={train}-{seed}"]
            folder = Path(options.out) / f"{train}-{seed}"
            ours = run(folder, "3dzal", base, fit=True)
            btf = run(folder, "btf", [*base, *BTF], fit=False)
            for rows, names in ((ours, {n: n for n in ours}), (btf, {"distance": BTF_NAME, "fused": "BTF, fused map"})):
                for row, name in names.items():
                    for test in tests:
                        results.setdefault(name, {})[f"{train} > {test}, {seed}"] = rows[row][test]
    print(table(results))
    print(by_class(results))
    (Path(options.out) / "results.json").write_text(json.dumps(results, indent=1))


def run(folder: Path, name: str, arguments: list[str], *, fit: bool) -> dict[str, dict[str, dict[str, float]]]:
    """Fit and test once; returns {score: {class: {metric: value}}} of the report."""
    version = "--trainer.logger.init_args.version"
    metrics = folder / f"{name}-test" / "report" / "metrics.json"
    if not metrics.exists():
        command = [sys.executable, "-m", "threedzal"]
        if fit:
            subprocess.run([*command, "fit", *arguments, version, f"{name}-fit"], check=True)
            arguments = [*arguments, "--ckpt_path", str(folder / f"{name}-fit" / "fitted.ckpt")]
        subprocess.run([*command, "test", *arguments, version, f"{name}-test"], check=True)
    return json.loads(metrics.read_text())["metrics"]


def table(results: dict) -> str:
    """Markdown: mean over pairs and seeds of every score, and how often `fused` is above BTF."""
    names = [BTF_NAME, "BTF, fused map", "distance", "classification", "fused", "foreground"]
    lines = ["| score | " + " | ".join(METRICS.values()) + " |", "|---|" + "---|" * len(METRICS)]
    for name in names:
        means = [statistics.fmean(pair[metric] for pair in results[name].values()) for metric in METRICS]
        lines.append(f"| {name} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |")
    pairs = results["fused"].keys()
    wins = [sum(results["fused"][p][m] > results[names[0]][p][m] for p in pairs) for m in METRICS]
    lines.append(f"| fused above BTF, of {len(pairs)} | " + " | ".join(map(str, wins)) + " |")
    return "\n".join(lines)


def by_class(results: dict) -> str:
    """Markdown: object-only AUPRO 0.3 of each test class, beside its floor."""
    lines = ["", "| test class | fused | BTF | foreground |", "|---|---|---|---|"]
    tests = sorted({pair.split(" > ")[1].split(",")[0] for pair in results["fused"]})
    for test in tests:
        means = []
        for name in ("fused", BTF_NAME, "foreground"):
            chosen = [v["object_aupro_0.3"] for pair, v in results[name].items() if f"> {test}," in pair]
            means.append(statistics.fmean(chosen))
        lines.append(f"| {test} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
