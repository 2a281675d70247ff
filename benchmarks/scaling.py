"""What a data set of any size needs: bytes, CPU and GPU hours, network; the tables of docs/scaling.md.

    python benchmarks/scaling.py --measure RESNET_OR_RANDOM --scan SCAN.tiff --units units.json    # minutes, one core
    python benchmarks/scaling.py --units units.json --classes 10000 --scans 10000000

First the unit costs: CPU seconds of one core for a scan (`getrusage`), and floating-point operations counted by torch.
Then arithmetic, printed with its formula. Hours on a GPU are computed, not measured: operations over an assumed
sustained speed (--tflops; a third of what a card of the H100 class claims in float32 without TF32).
"""

from __future__ import annotations

import argparse
import json
import math
import resource
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from threedzal.files import write_text
from threedzal.memory.projection import EPS, projection_dim

CELLS, WIDTH = 784, 1601  # patches of a scan; numbers of f(x): RGB 1536, FPFH 33, E_theta 32
RAW = 400 * 400 * (3 * 4 + 3)  # bytes of a scan of MVTec 3D-AD's size, uncompressed
BLOCK, PICKS = 2048, 1000  # candidates of a round of the coreset, and how many of them it chooses, about


@dataclass(frozen=True)
class Units:
    """CPU seconds of one core for a scan, and the operations (multiply and add are two) of what a GPU would do."""

    prepare_s: float  # read, background, patches, FPFH
    networks_s: float  # RGB and E_theta
    classifier_s: float  # C_w with its input perturbation
    networks_flop: float
    classifier_flop: float
    core_gflops: float  # float32 matrix product


def measure(weights: str, scan: Path) -> Units:
    """Unit costs, on one thread, of the paper's networks at its size."""
    from threedzal import ThreeDZAL
    from threedzal.data.readers import read_rgb, read_xyz
    from threedzal.data.scan import ScanPreparation, ScanRecord, collate_scans, prepare_scan

    torch.set_num_threads(1)
    rgb_file = scan.parent.parent / "rgb" / f"{scan.stem}.png"
    record = ScanRecord("scan", "predict", "", "scan", scan, rgb_file)
    model = ThreeDZAL(rgb_weights=weights).eval().requires_grad_(False)
    model.load_pretrained()
    preparation = ScanPreparation()

    def prepare():
        one = prepare_scan(read_xyz(scan), read_rgb(rgb_file), None, preparation=preparation, record=record)
        return collate_scans([one])

    prepared = prepare()  # what is compiled, is compiled now
    with torch.no_grad():
        stages = (prepare, lambda: model.features(prepared), lambda: model.abnormality(prepared, eta=0.1))
        seconds = [min(_cpu_seconds(stage) for _ in range(2)) for stage in stages]
        forward = [_flop(stages[1]), _flop(lambda: model.abnormality(prepared, eta=0.0))]
    side = torch.randn(2048, 2048)
    gflops = 2 * 2048**3 / min(_cpu_seconds(lambda: side @ side) for _ in range(3)) / 1e9
    # forward to be perturbed, its gradient by the points, which counts as much, and forward again
    return Units(*seconds, forward[0], 3 * forward[1], gflops)


def _cpu_seconds(work: Callable[[], object]) -> float:
    before = resource.getrusage(resource.RUSAGE_SELF)
    work()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _flop(work: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counter:
        work()
    return float(counter.get_total_flops())


@dataclass(frozen=True)
class Bank:
    """A bank chosen from the patches of some scans."""

    scans: float
    rows: float

    @property
    def patches(self) -> float:
        return self.scans * CELLS

    @property
    def dim(self) -> int:
        return min(WIDTH, projection_dim(max(2, int(self.patches)), EPS))

    @property
    def bytes(self) -> float:
        return self.rows * WIDTH * 4

    @property
    def scratch(self) -> float:
        return self.patches * (WIDTH + self.dim) * 4

    @property
    def exact_flop(self) -> float:
        return 2 * self.patches * (self.rows * self.dim + WIDTH * self.dim)

    def composed_flop(self, group: int = 25_000) -> float:
        kept = math.ceil(min(group, 2 * group * self.rows / self.patches))
        final = Bank(2 * self.rows / CELLS, self.rows)
        return 2 * self.patches * (kept * self.dim + WIDTH * self.dim) + final.exact_flop

    @property
    def sent(self) -> float:
        """Bytes that each process sends for an exact coreset: candidates and their points, in every round."""
        return self.rows / PICKS * BLOCK * (16 + 4 * self.dim)

    @property
    def search_flop(self) -> float:
        return 2 * CELLS * self.rows * WIDTH


def report(units: Units, *, classes: int, scans: int, tflops: float, gbit: float) -> str:
    """Markdown."""
    each = scans / classes

    def gpu(flop: float) -> str:
        return _hours(flop / (tflops * 1e12))

    def core(flop: float) -> str:
        return _hours(flop / (units.core_gflops * 1e9))

    lines = [
        f"### {classes:,} classes, {scans:,} scans".replace(",", " "),
        "",
        "| every scan once | measured for one | of all |",
        "|---|---|---|",
        f"| raw scans on disk (400 x 400) | {_bytes(RAW)} | {_bytes(RAW * scans)} |",
        f"| reading them at {gbit:g} Gbit/s | | {_hours(RAW * scans * 8 / (gbit * 1e9))} |",
        f"| background, patches, FPFH | {units.prepare_s:.2f} core s | {_hours(units.prepare_s * scans)} of one core |",
        f"| RGB and E_theta | {units.networks_s:.2f} core s, {_flops(units.networks_flop)} | "
        f"{gpu(units.networks_flop * scans)} of a GPU (computed) |",
        f"| C_w and perturbation, when scored | {units.classifier_s:.2f} core s, {_flops(units.classifier_flop)} | "
        f"{gpu(units.classifier_flop * scans)} of a GPU (computed) |",
        "",
        "| bank | rows | in the file | scratch, exact | coreset, exact | sent by a process, exact | "
        "coreset, composed | a scan's search, Flat |",
        "|---|---|---|---|---|---|---|---|",
    ]
    banks = {
        "one a class, a tenth": (Bank(each, 0.1 * each * CELLS), classes),
        "one a class, 20 000 rows": (Bank(each, 20_000), classes),
        "one for all, 2 000 000 rows": (Bank(scans, 2e6), 1),
        "one for all, a tenth": (Bank(scans, 0.1 * scans * CELLS), 1),
    }
    for name, (bank, count) in banks.items():
        cells = (
            f"{count} x {bank.rows:.3g}" if count > 1 else f"{bank.rows:.3g}",
            _bytes(bank.bytes * count),
            _bytes(bank.scratch) + (" at a time" if count > 1 else ""),
            gpu(bank.exact_flop * count),
            _bytes(bank.sent),
            gpu(bank.composed_flop() * count),
            f"{core(bank.search_flop)} core, {gpu(bank.search_flop)} GPU",
        )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _bytes(count: float) -> str:
    units = ("B", "kB", "MB", "GB", "TB", "PB")
    power = min(len(units) - 1, int(math.log(max(count, 1), 1000)))
    return f"{count / 1000**power:.3g} {units[power]}"


def _flops(count: float) -> str:
    return f"{count / 1e9:.3g} GFLOP"


def _hours(seconds: float) -> str:
    if seconds < 1:
        return f"{1000 * seconds:.2g} ms"
    return f"{seconds:.3g} s" if seconds < 600 else f"{seconds / 3600:,.3g} h"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", default="units.json", help="file of the unit costs")
    parser.add_argument("--measure", metavar="WEIGHTS", help="measure them first: pretrained, random or a file")
    parser.add_argument("--scan", type=Path, help="the scan to measure on, .../xyz/000.tiff")
    parser.add_argument("--classes", type=int, default=10_000)
    parser.add_argument("--scans", type=int, default=10_000_000)
    parser.add_argument("--tflops", type=float, default=20.0, help="assumed of a GPU, sustained")
    parser.add_argument("--gbit", type=float, default=100.0, help="of the network, for all of them together")
    options = parser.parse_args()
    if options.measure:
        write_text(options.units, json.dumps(asdict(measure(options.measure, options.scan)), indent=1))
    units = Units(**json.loads(Path(options.units).read_text()))
    print(json.dumps(asdict(units)))
    print(report(units, classes=options.classes, scans=options.scans, tflops=options.tflops, gbit=options.gbit))


if __name__ == "__main__":
    main()
