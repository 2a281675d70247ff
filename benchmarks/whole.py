"""BTF's fit and test on one class, whole, against the released code's way; and the same again with features kept.

    threedzal data generate data/whole --classes ring --size 800 --train 244 --validation 22 --test_good 22 --test_per_defect 22
    python -m benchmarks.whole data/whole --json results/whole.json

Ours are the commands as they are typed, CPU seconds of all their processes, with an empty cache and then with a full
one. The reference is the straightforward stages of benchmarks/reference one after another: what is done for each scan is
measured on a few of them and multiplied, the coreset is its first steps multiplied; both are marked. Reading files,
resizing and the image network are in both. Random weights: they take as long as trained ones.
"""  # noqa: E501

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from benchmarks.reference import bank as reference_bank
from benchmarks.reference import descriptors as reference
from benchmarks.reference import metrics as reference_metrics
from benchmarks.speed.bank import STEPS
from benchmarks.speed.data import patch_features
from threedzal.data.background import find_foreground
from threedzal.data.cached import cached_fpfh
from threedzal.data.index import index_dataset
from threedzal.data.readers import read_picture, read_points, read_truth
from threedzal.data.record import ScanRecord
from threedzal.data.scan import ScanPreparation, prepare_scan
from threedzal.features.rgb import RGBFeatures
from threedzal.files import write_text
from threedzal.maps import realign
from threedzal.memory import MemoryBank
from threedzal.memory.coreset import choose
from threedzal.memory.projection import draw_projection, project
from threedzal.metrics.aupro import rank_regions, split_pixels
from threedzal.metrics.ranking import area, auroc, curve, rank, sorted_scores
from threedzal.scoring import reweighted_score

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "btf.yaml"
SIZE, GRID, BLUR = 224, 28, 4.0
READING = "reading, resizing; ours: outline, patches of points"


@dataclass
class Row:
    """CPU seconds of one stage for the whole class."""

    stage: str
    times: int  # how often it is done
    reference: float
    ours: float
    measured: str  # on what

    @classmethod
    def scaled(cls, stage: str, times: int, slow: Clock, fast: Clock, scans: int) -> Row:
        """What some scans took, for as many as there are."""
        each = [clock.seconds[stage] * times / scans for clock in (slow, fast)]
        return cls(stage, times, *each, f"{scans} scans")

    def __str__(self) -> str:
        ratio = f"{self.reference / self.ours:.1f}" if self.ours else ""
        return f"| {self.stage} | {self.times} | {self.reference:.1f} | {self.ours:.1f} | {ratio} | {self.measured} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a data set of one class")
    parser.add_argument("--backbone", default="wide_resnet50_2")
    parser.add_argument("--scans", type=int, default=2, help="that the reference's stages are measured on")
    parser.add_argument("--steps", type=int, default=STEPS, help="of the reference's coreset")
    parser.add_argument(
        "--json", type=Path, help="file for the figures; those of the commands in it are not measured again"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    index = index_dataset(options.data)
    train, test = ([r for r in index if r.split == split] for split in ("train", "test"))
    print(f"{len(train)} training and {len(test)} test scans; CPU seconds of the commands, all processes:")
    before = json.loads(options.json.read_text()) if options.json and options.json.exists() else {}
    runs = before.get("commands", {})
    for name, seconds in runs.items() or commands(options.data, train[0].class_name, options.backbone):
        runs = {**runs, name: seconds}
        print(f"  {name}: {seconds:.1f}", flush=True)
    if options.json:
        write_text(options.json, json.dumps({"commands": runs}, indent=1))
    network = RGBFeatures(backbone=options.backbone, weights="random")
    print("\n| stage | times | reference, CPU s | ours, CPU s | ratio | measured on |\n|---|---|---|---|---|---|")
    rows = []
    for row in stages(train, test, network, scans=options.scans, steps=options.steps):
        rows.append(row)
        print(row, flush=True)
    ours = runs["fit, nothing kept"] + runs["test, nothing kept"]
    rest = ours - sum(row.ours for row in rows)
    rows.append(Row("all else: start-up, checks, validation, report", 1, 0.0, rest, "the difference"))
    total = sum(row.reference for row in rows)
    rows.append(Row("whole of fit and test", 1, total, ours, "the commands"))
    cleaning = next(row.reference for row in rows if row.stage == "background")
    rows.append(Row("the same, had the reference cleaned its scans before", 1, total - cleaning, ours, ""))
    print(*rows[-3:], sep="\n")
    if options.json:
        write_text(options.json, json.dumps({"commands": runs, "stages": [asdict(row) for row in rows]}, indent=1))


def commands(data: Path, name: str, backbone: str) -> Iterator[tuple[str, float]]:
    """CPU seconds of `fit` and `test`, twice with one cache."""
    with tempfile.TemporaryDirectory() as folder:
        for when in ("nothing kept", "features kept"):
            version = f"--trainer.logger.init_args.version={when.split()[0]}"
            common = [
                f"--config={CONFIG}", f"--data.root={data.resolve()}", f"--data.train_classes=[{name}]",
                f"--data.test_classes=[{name}]", "--data.protocol=in_class", "--data.cache_dir=cache",
                "--trainer.accelerator=cpu", version,
            ]  # fmt: skip
            networks = [f"--model.init_args.backbone={backbone}", "--model.init_args.rgb_weights=random"]
            fitted = f"--ckpt_path=lightning_logs/{when.split()[0]}/fitted.ckpt"
            yield f"fit, {when}", cpu_of_command(["fit", *common, *networks], folder)
            yield f"test, {when}", cpu_of_command(["test", *common, fitted], folder)


def cpu_of_command(args: list[str], folder: str) -> float:
    """CPU seconds of a command and of all processes that it started and waited for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-m", "threedzal", *args], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


class Clock:
    """CPU seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.process_time()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.process_time() - start


def stages(train: list[ScanRecord], test: list[ScanRecord], network: RGBFeatures, *, scans: int, steps: int):
    """A `Row` of each stage, as it is measured."""
    import open3d  # noqa: F401 - what is loaded and compiled at first use is no part of a stage

    our_features(test[0], network, Clock())
    some, slow, fast = test[:: max(1, len(test) // scans)][:scans], Clock(), Clock()
    features = [our_features(record, network, fast) for record in some]
    wide = [reference_features(record, network, slow) for record in some]
    for stage in fast.seconds:
        yield Row.scaled(stage, len(train) + len(test), slow, fast, len(some))
    width = features[0].shape[1]
    rows = patch_features(len(train), width)  # drawn: either way takes as long for any rows
    wanted = round(0.1 * len(rows))
    yield from _bank(rows, wanted, min(steps, wanted), slow, fast)
    bank, wide_rows = MemoryBank.build(rows[:wanted]), rows[:wanted].double()
    for own, other in zip(features, wide, strict=True):
        our_test(own, bank, fast)
        reference_test(other, wide_rows, slow)
    for stage in ("nearest rows", "reweighting", "map"):
        yield Row.scaled(stage, len(test), slow, fast, len(some))
    yield _metrics(test, slow, fast)


def reference_features(record: ScanRecord, network: RGBFeatures, clock: Clock) -> torch.Tensor:
    """(784, D) float64: from the files of a scan to what BTF's bank is made of."""
    with clock(READING):
        xyz, rgb = reference.read_scan(record.xyz, record.rgb)
    with clock("background"):
        xyz = reference.remove_background(xyz)
    with clock(READING):
        points, picture = reference.resize(xyz, rgb, size=SIZE)
    with clock("FPFH and pooling"):
        measured = points[0].any(0)
        maps = torch.zeros(1, 33, SIZE, SIZE, dtype=torch.float64)
        maps[0][:, measured] = torch.from_numpy(reference.fpfh_of_cloud(points[0][:, measured].T.numpy())).T
        shape = reference.pool_and_resize(maps, grid=GRID)
    with clock("image network and pooling"), torch.no_grad():
        levels = [reference.pool_and_resize(level, grid=GRID) for level in network.network(picture)]
    return torch.cat([*(level.double() for level in levels), shape], 1).flatten(2)[0].T.contiguous()


def our_features(record: ScanRecord, network: RGBFeatures, clock: Clock) -> torch.Tensor:
    """(784, D) float32."""
    with clock(READING):
        xyz, rgb = read_points(record), read_picture(record)
    with clock("background"):
        foreground = find_foreground(xyz)
    with clock(READING):
        preparation = ScanPreparation(fpfh=False)
        scan = prepare_scan(xyz, rgb, None, preparation=preparation, record=record, foreground=foreground)
    with clock("FPFH and pooling"):
        shape = cached_fpfh(scan.xyz, scan.valid, ScanPreparation(), None)
    with clock("image network and pooling"):
        colour = network(scan.rgb[None])[0]
    return torch.cat([colour, shape]).flatten(1).T.contiguous()


def _bank(rows: torch.Tensor, wanted: int, steps: int, slow: Clock, fast: Clock):
    matrix = draw_projection(len(rows), rows.shape[1], generator=torch.Generator().manual_seed(0))
    with slow("projection"):
        reference_bank.sparse_projection(rows, eps=0.9, seed=0)
    with fast("projection"):
        points = project(rows, rows[0], matrix)
    with slow("coreset"):
        reference_bank.greedy_one_at_a_time(points, steps, start=0)
    slow.seconds["coreset"] *= wanted / steps
    with fast("coreset"):
        choose(points, wanted, start=0, matrix=None)
    yield Row("projection", 1, slow.seconds["projection"], fast.seconds["projection"], f"{len(rows)} drawn rows")
    part = f"{steps} of {wanted} steps of the reference"
    yield Row("coreset", 1, slow.seconds["coreset"], fast.seconds["coreset"], part)


def reference_test(features: torch.Tensor, bank: torch.Tensor, clock: Clock) -> None:
    with clock("nearest rows"):
        distances, rows = reference_bank.nearest_rows(features, bank)
    with clock("reweighting"):
        reference_bank.reweighted(features, distances, rows, bank, neighbours=3)
    with clock("map"):
        reference_bank.anomaly_map(distances, size=SIZE, sigma=BLUR)


def our_test(features: torch.Tensor, bank: MemoryBank, clock: Clock) -> None:
    with clock("nearest rows"):
        distances, rows = (found.T for found in bank.search(features, 1))  # [1, P]
    with clock("reweighting"):
        reweighted_score(features[None], distances, rows, bank, neighbours=3)
    with clock("map"):
        realign(distances, size=(SIZE, SIZE), sigma=BLUR)


def _metrics(test: list[ScanRecord], slow: Clock, fast: Clock) -> Row:
    """Of drawn maps that are higher on the true defects."""
    truth = torch.zeros(len(test), SIZE, SIZE, dtype=torch.bool)
    for mask, record in zip(truth, test, strict=True):
        if record.label:
            found = torch.from_numpy(read_truth(record))[None, None].float()
            mask |= torch.nn.functional.interpolate(found, size=(SIZE, SIZE), mode="nearest-exact")[0, 0] > 0
    maps = torch.rand(truth.shape, generator=torch.Generator().manual_seed(0)) + 0.5 * truth
    with slow("metrics"):
        reference_metrics.aupro(maps.numpy(), truth.numpy(), max_fpr=0.3)
        reference_metrics.pixel_auroc(maps.numpy(), truth.numpy())
    with fast("metrics"):
        normal, defective, sizes = split_pixels(maps, truth)
        normal = sorted_scores(normal)
        area(*curve(rank_regions(normal, defective, sizes)), limit=0.3)
        auroc(rank(normal, defective))
    return Row("AUPRO, pixel AUROC", 1, slow.seconds["metrics"], fast.seconds["metrics"], f"{len(test)} drawn maps")


if __name__ == "__main__":
    main()
