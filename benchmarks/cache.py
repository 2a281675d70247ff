"""What the cache of frozen features saves: milliseconds of processor time a scan, computed and kept; prints Markdown.

A second run's feature time is that of the third column. Reading and resizing, which both runs do, stand below it.

python benchmarks/cache.py mvtec_3d --classes cable_gland --scans 12
python benchmarks/cache.py data/demo --scans 12 --backbone resnet18
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from threedzal.data.cached import cached_foreground, cached_fpfh
from threedzal.data.datasets import ScanDataset
from threedzal.data.index import index_dataset
from threedzal.data.readers import read_points
from threedzal.data.scan import ScanPreparation
from threedzal.features.cache import ArrayCache, kept_files
from threedzal.features.rgb import RGBFeatures, kept_features

# How often the 90 experiments of Tables 1 and 2 look at a scan of MVTec 3D-AD (2656 training, 294 validation and 1197
# test scans): each class is trained on in 9 of them, for 5 epochs, and then described once; each is tested in 9.
SCANS = 2656 + 294 + 1197
RGB_VISITS = 9 * SCANS
SCAN_VISITS = 9 * SCANS + 9 * 5 * 2656


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--classes", default=None)
    parser.add_argument("--scans", type=int, default=12)
    parser.add_argument("--backbone", default="wide_resnet50_2")
    options = parser.parse_args()
    torch.set_num_threads(1)
    index = index_dataset(options.data, classes=options.classes and options.classes.split(","))
    records = index[:: max(1, len(index) // options.scans)][: options.scans]
    network = RGBFeatures(backbone=options.backbone, weights="random")
    with tempfile.TemporaryDirectory() as folder:
        cache, preparation = ArrayCache(folder), ScanPreparation()
        points = [read_points(record) for record in records]
        masks = twice(lambda: [cached_foreground(xyz, cache) for xyz in points])
        bare = ScanDataset(records, replace(preparation, fpfh=False), cache)
        scans = [bare[i] for i in range(len(records))]
        rest = least(lambda: [bare[i] for i in range(len(records))]) - masks[1]
        fpfh = twice(lambda: [cached_fpfh(scan.xyz, scan.valid, preparation, cache) for scan in scans])
        with kept_features(network, cache):
            rgb = twice(lambda: [network(scan.rgb[None]) for scan in scans])
        parts = {"background mask": masks, "FPFH": fpfh, "RGB features": rgb}
        size = sum(file.size for file in kept_files(folder)) / len(records)
    n = len(records)
    report({name: (cold / n, warm / n) for name, (cold, warm) in parts.items()}, rest / n, size, n)


def twice(work: Callable[[], object]) -> tuple[float, float]:
    """Milliseconds of processor time (the machine may have other things to do) of a first pass and of later ones."""
    return least(work, passes=1), least(work)


def least(work: Callable[[], object], *, passes: int = 3) -> float:
    times = []
    for _ in range(passes):
        start = time.process_time()
        work()
        times.append(1000 * (time.process_time() - start))
    return min(times)


def report(parts: dict[str, tuple[float, float]], rest: float, size: float, scans: int) -> None:
    print(f"Milliseconds of one processor core a scan, mean of {scans} scans; {size / 1e6:.1f} MB a scan are kept.\n")
    print("| what | computed and written | read | ratio |\n|---|---|---|---|")
    features = tuple(map(sum, zip(*parts.values(), strict=True)))
    for name, (cold, warm) in {**parts, "all frozen features": features}.items():
        print(f"| {name} | {cold:.0f} | {warm:.1f} | {cold / warm:.0f} |")
    print(f"| reading, resizing, patches of points | {rest:.0f} | {rest:.0f} | |")
    without = with_cache = 0.0
    for name, (cold, warm) in parts.items():
        visits = RGB_VISITS if name == "RGB features" else SCAN_VISITS
        without += visits * cold
        with_cache += SCANS * cold + (visits - SCANS) * warm
    hours = [value / 3.6e6 for value in (without, with_cache)]
    print(
        f"\nThe 90 experiments (computed from these): {hours[0]:.1f} core hours without, {hours[1]:.1f} with the cache."
    )


if __name__ == "__main__":
    main()
