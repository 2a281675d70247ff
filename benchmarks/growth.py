"""How time and memory grow with the number of scans, of bank rows, and with the size of the picture.

    python -m benchmarks.growth --json results/growth.json --plot docs/performance_growth.png    # minutes, one thread
    python -m benchmarks.growth --quick                                                          # seconds, tiny sizes

CPU seconds, and MiB by which resident memory rose at most, of the package's own functions on drawn data; the exponent
is the slope in a plot of logarithms, of all sizes and of the last two, where what is fixed weighs least. `allowed` is
the exponent of the algorithm; one that is clearly above it is marked.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.speed.data import CELLS, PROJECTED, anomaly_maps, patch_features, raw_scan
from benchmarks.speed.harness import cpu_seconds, with_peak
from threedzal.data.background import find_foreground
from threedzal.data.patches import grid_patches
from threedzal.data.scan import ScanPreparation, ScanRecord, prepare_scan
from threedzal.features import RGBFeatures, fpfh, fpfh_grid
from threedzal.files import write_text
from threedzal.maps import realign
from threedzal.memory import BankRows, MemoryBank, RowOptions
from threedzal.memory.coreset import choose
from threedzal.metrics import ScanMetrics, aupro
from threedzal.scoring import reweighted_score

WIDTH = 417  # numbers of a patch: ResNet-18's layers 2 and 3, FPFH
TOLERANCE = 0.2  # of an exponent, before it is called too large
Work = Callable[[], Any]


@dataclass(frozen=True)
class Curve:
    """One thing that is done, at several sizes."""

    name: str
    axis: str
    sizes: Sequence[int]
    quick: Sequence[int]
    prepare: Callable[[int], Work]  # what is to be measured, with its data ready
    allowed: float  # exponent of the algorithm
    why: str
    repeats: int = 1


@dataclass
class Point:
    size: int
    seconds: float
    mib: float
    answer: int  # bytes of what came back


# what grows with the scans --------------------------------------------------------------------------------------------


def bank_building(scans: int) -> Work:
    """Rows come, wait in memory or on disk, and 2000 of them are chosen."""
    one = patch_features(1, WIDTH)

    def work() -> Tensor:
        with tempfile.TemporaryDirectory() as folder:
            how = RowOptions(coreset=2000, memory=0.125, scratch=folder)
            with BankRows(how, expected=scans * CELLS, device=torch.device("cpu")) as rows:
                for scan in range(scans):
                    rows.add(one.roll(scan, 0) * (1 + scan / 1000))
                return rows.choose().rows

    return work


def metrics(scans: int) -> Work:
    maps, truth = anomaly_maps(20, 224)
    label, defects = torch.ones(20), ["hole"] * 20
    good = torch.zeros_like(truth)

    def work() -> dict[str, Tensor]:
        metric = ScanMetrics(["hole"], names=("fused",))
        for batch in range(0, scans, 20):
            defective = batch % 40 == 0
            metric.update(
                {"fused": maps + batch / 1e4}, {"fused": maps.amax((1, 2))}, mask=truth if defective else good,
                object=torch.ones_like(truth), label=label * defective, defects=defects if defective else ["good"] * 20,
            )  # fmt: skip
        return metric.compute()

    return work


# what grows with the bank ---------------------------------------------------------------------------------------------


def coreset(rows: int) -> Work:
    points = patch_features(-(-10 * rows // CELLS), PROJECTED)[: 10 * rows]
    return lambda: choose(points, rows, start=0, matrix=None).chosen


@cache
def _bank(rows: int) -> MemoryBank:
    _bank.cache_clear()  # one at a time
    return MemoryBank.build(torch.randn(rows, WIDTH, generator=torch.Generator().manual_seed(0)))


def search(rows: int) -> Work:
    bank, queries = _bank(rows), torch.randn(CELLS, WIDTH, generator=torch.Generator().manual_seed(1))
    return lambda: bank.search(queries, 1)


def reweighting(rows: int) -> Work:
    bank, queries = _bank(rows), torch.randn(1, CELLS, WIDTH, generator=torch.Generator().manual_seed(1))
    distances, nearest = torch.rand(1, CELLS), torch.zeros(1, CELLS, dtype=torch.long)
    return lambda: reweighted_score(queries, distances, nearest, bank)


# what grows with the picture ------------------------------------------------------------------------------------------


def background(side: int) -> Work:
    xyz = raw_scan(side)[1]
    return lambda: find_foreground(xyz)


@cache
def _scan(side: int):
    """A scan without its table, and how it was prepared; patches of 8 pixels whatever the size."""
    rgb, xyz = raw_scan(side)
    preparation = ScanPreparation(image_size=side - side % 8, fpfh=False)
    record = ScanRecord("bumpy_disc", "train", "good", "000", "")
    return prepare_scan(xyz, rgb, None, preparation=preparation, record=record), preparation


def descriptor(side: int) -> Work:
    scan, _ = _scan(side)
    return lambda: fpfh(scan.xyz[None], scan.valid[None], backend="torch")


def pooling(side: int) -> Work:
    maps = torch.rand(1, 33, side, side)
    return lambda: fpfh_grid(maps, grid=side // 8)


def point_patches(side: int) -> Work:
    scan, preparation = _scan(side)
    return lambda: grid_patches(scan.xyz, scan.valid, preparation=replace(preparation))


def picture(side: int) -> Work:
    network = RGBFeatures(backbone="resnet18", weights="random", grid=side // 8)
    rgb = _scan(side)[0].rgb[None]
    return lambda: network(rgb)


def maps(side: int) -> Work:
    values = torch.rand(4, (side // 8) ** 2)
    return lambda: realign(values, size=(side, side), sigma=4.0)


def overlap(side: int) -> Work:
    drawn, truth = anomaly_maps(100, side)
    return lambda: aupro(drawn, truth)


SCANS, ROWS, SIDES = "scans", "bank rows", "pixels a side"
FEW_SIDES = (96, 160, 224)
CURVES = [
    Curve("bank of 2000 rows", SCANS, (50, 125, 250, 500, 1000), (4, 8), bank_building, 1, "patches x rows kept"),
    Curve("all metrics of a class", SCANS, (60, 120, 240, 480, 960), (40, 80), metrics, 1.05, "pixels x logarithm", 2),
    Curve("coreset of a tenth", ROWS, (2000, 5000, 10_000, 20_000), (200, 400), coreset, 2, "patches x rows, both"),
    Curve("nearest rows of a scan", ROWS, (10**4, 10**5, 10**6), (1000, 4000), search, 1, "patches x rows", 2),
    Curve("reweighting of a scan", ROWS, (10**4, 10**5, 10**6), (1000, 4000), reweighting, 1, "the bank, once", 2),
    Curve("background", SIDES, (224, 448, 800), FEW_SIDES, background, 2, "pixels", 2),
    Curve("FPFH", SIDES, (224, 448, 800), FEW_SIDES, descriptor, 2, "points x neighbours", 3),
    Curve("pooling to patches", SIDES, (224, 448, 800), FEW_SIDES, pooling, 2, "pixels", 3),
    Curve("patches of points", SIDES, (224, 448, 800), FEW_SIDES, point_patches, 2, "patches x log points", 2),
    Curve("image network", SIDES, (224, 448, 800), FEW_SIDES, picture, 2, "pixels", 2),
    Curve("map: resize and blur", SIDES, (224, 448, 800), FEW_SIDES, maps, 2, "pixels", 3),
    Curve("AUPRO of 100 maps", SIDES, (224, 448, 800), FEW_SIDES, overlap, 2.1, "pixels x logarithm", 2),
]  # fmt: skip


def main(args: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it run?")
    parser.add_argument("--only", help="curves whose name holds one of these, separated by commas")
    parser.add_argument("--json", type=Path, help="file for the figures; those of other curves in it are kept")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args(args)
    torch.set_num_threads(1)
    wanted = [c for c in CURVES if not options.only or any(part in c.name for part in options.only.split(","))]
    print("| what | against | sizes | CPU s | exponent (last two) | allowed | MiB | exponent |")
    print("|---|---|---|---|---|---|---|---|")
    record = json.loads(options.json.read_text()) if options.json and options.json.exists() else {}
    for curve in wanted:
        points = measured(curve, curve.quick if options.quick else curve.sizes)
        print(line(curve, points), flush=True)
        record[curve.name] = {
            "axis": curve.axis, "allowed": curve.allowed, "why": curve.why, "points": [asdict(p) for p in points],
            "exponents": {of: exponent(*zip(*((p.size, getattr(p, of)) for p in points), strict=True))
                          for of in ("seconds", "mib", "answer")},
        }  # fmt: skip
        if options.json:
            write_text(options.json, json.dumps(record, indent=1) + "\n")
    if options.plot:
        plot(record, options.plot)


def measured(curve: Curve, sizes: Sequence[int]) -> list[Point]:
    curve.prepare(sizes[0])()  # what is loaded and compiled at first use does not grow
    points = []
    for size in sizes:
        work = curve.prepare(size)
        answer, seconds, mib = with_peak(work)
        for _ in range(curve.repeats - 1):
            seconds = min(seconds, cpu_seconds(work))
        points.append(Point(size, seconds, mib, size_of(answer)))
    return points


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Slope of the values over the sizes, both in logarithms; NaN where a value is not above 0."""
    if not all(value > 0 for value in values):
        return float("nan")
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def size_of(answer: Any) -> int:
    """Bytes of the tensors and arrays in it."""
    if isinstance(answer, dict):
        return size_of(list(answer.values()))
    if isinstance(answer, (list, tuple)):
        return sum(map(size_of, answer))
    return answer.nbytes


def line(curve: Curve, points: list[Point]) -> str:
    sizes, seconds, mib = ([getattr(p, of) for p in points] for of in ("size", "seconds", "mib"))
    last = exponent(sizes[-2:], seconds[-2:])
    too_fast = " **!**" if max(last, exponent(sizes, seconds)) > curve.allowed + TOLERANCE else ""
    cells = (
        curve.name, curve.axis, ", ".join(f"{s:,}".replace(",", " ") for s in sizes),
        ", ".join(f"{s:.3g}" for s in seconds), f"{exponent(sizes, seconds):.2f} ({last:.2f}){too_fast}",
        f"{curve.allowed:g}: {curve.why}", ", ".join(f"{m:.0f}" for m in mib), f"{exponent(sizes, mib):.2f}",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def plot(record: dict[str, Any], path: Path) -> None:
    """Time above, memory below, one column an axis."""
    from matplotlib.figure import Figure  # not pyplot, which keeps figures and a window system for all

    axes = list(dict.fromkeys(curve["axis"] for curve in record.values()))
    figure = Figure(figsize=(4.4 * len(axes), 7.2), layout="constrained")
    grid = figure.subplots(2, len(axes), squeeze=False)
    for column, axis in enumerate(axes):
        for row, (of, label) in enumerate((("seconds", "CPU seconds"), ("mib", "MiB at most"))):
            place = grid[row][column]
            for name, curve in record.items():
                if curve["axis"] == axis:
                    sizes, values = ([p[key] for p in curve["points"]] for key in ("size", of))
                    power = curve["exponents"][of]
                    place.plot(sizes, values, "o-", ms=3.5, lw=1.2, label=f"{name}: {power:.2f}")
            place.set(xscale="log", yscale="log", xlabel=axis, ylabel=label if column == 0 else None)
            place.grid(alpha=0.3, which="both", lw=0.4)
            place.legend(fontsize=7, title="exponent", title_fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
