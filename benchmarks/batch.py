"""A batch as its own reference, measured: the tables and the learning curve of docs/batch.md.

    python benchmarks/batch.py DATA --classes cable_gland --weights resnet18.safetensors --what all --out docs
    threedzal data generate data/box --classes ring,threaded_part,lumpy_ellipsoid --size 224 --train 16 \\
        --validation 2 --test_good 14 --test_per_defect 14
    python benchmarks/batch.py data/box --classes ring,threaded_part,lumpy_ellipsoid --weights ...

Features are computed once, by the package's own data module and model, and kept in --cache; every experiment then
judges them by `threedzal.batch`. Figures are AUPRO 0.3 and 0.05, object-only AUPRO 0.3 and 0.05, image AUROC.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from threedzal import ThreeDZAL, ZeroShotDataModule
from threedzal.batch import BatchOptions, BatchReference
from threedzal.batch.fusion import Scale, late
from threedzal.batch.image_score import top_score
from threedzal.batch.search import ScanIndex, aggregate
from threedzal.batch.state import absorbed
from threedzal.calibration import score_criterion
from threedzal.files import atomic_path
from threedzal.maps import realign
from threedzal.metrics.aupro import pro_curve
from threedzal.metrics.ranking import area
from threedzal.progress import track

SIZES = (4, 8, 16, 32, 48, 64)
COLUMNS = ("AUPRO 0.3", "AUPRO 0.05", "object 0.3", "object 0.05", "image AUROC")


@dataclass
class Scans:
    """Test scans of a class: features (S,P,D), cells (S,P), mask and object (S,H,W), label (S,)."""

    name: str
    features: Tensor
    cells: Tensor
    mask: Tensor
    object: Tensor
    label: Tensor
    widths: dict[str, int]
    reference: Tensor | None = None  # (N,D), object patches of the class's good training scans

    def __len__(self) -> int:
        return len(self.label)


def read(options: argparse.Namespace, name: str) -> Scans:
    """The scans of a class, described; from the cache where they are there."""
    path = Path(options.cache) / f"{name}-{options.grid}.pt"
    if not path.exists():
        model = ThreeDZAL(
            branches=("rgb", "fpfh"),
            classifier=False,
            backbone=options.backbone,
            rgb_weights=options.weights,
            w_rd=0.0,
            grid=options.grid,
        )
        model.load_pretrained()
        data = {"patch_size": 224 // options.grid, "min_valid_points": 4 if options.grid == 56 else 16}
        data |= {"rgb_size": 448, "fpfh_size": 400, "fpfh_neighbours": 100}
        module = ZeroShotDataModule(
            root=options.data, train_classes=name, test_classes=name, protocol="in_class", num_workers=0, **data
        )
        module.setup("test")
        scans = list(track(module.test_dataloader(), name))
        module.train_records = module._index([name], "train")
        good = list(track(module._scan_loader(module.train_records), f"{name}, training"))
        with torch.no_grad():
            features = torch.cat([model.features(scan) for scan in scans])
            reference = torch.cat([model.features(scan)[scan.cells] for scan in good])
        parts = {key: torch.cat([getattr(scan, key) for scan in scans]) for key in ("cells", "object", "label")}
        mask = torch.cat([scan.mask[:, 0] for scan in scans])
        stored = {"features": features, "mask": mask, "widths": model.branch_widths, "reference": reference, **parts}
        with atomic_path(path) as part:
            torch.save(stored, part)
    return Scans(name=name, **torch.load(path, weights_only=True))


def judge(scans: Scans, **options) -> Tensor:
    """(S,P) scores of all scans as one batch."""
    batch = BatchReference(scans.widths, BatchOptions(**options))
    for i in range(len(scans)):
        batch.add(scans.features[i], scans.cells[i], key=str(i))
    return batch.judge().cells


def figures(scans: Scans, cells: Tensor, *, sigma: float = 2.0, score: Callable = top_score) -> list[float]:
    """The five figures of all scans, from scores (S,P)."""
    maps = realign(cells, size=scans.mask.shape[1:], sigma=sigma)
    everywhere, inside = pro_curve(maps, scans.mask), pro_curve(maps, scans.mask, roi=scans.object)
    auroc = score_criterion(scans.label)(score(maps, scans.object))
    return [float(area(*curve, limit=limit)) for curve in (everywhere, inside) for limit in (0.3, 0.05)] + [
        float(auroc)
    ]


def pairs(scans: Scans) -> dict[str, Tensor]:
    """{branch: (N,S)}: from each object patch to the nearest of each scan, inf to its own. All boxes follow from it."""
    starts = starts_of(scans.cells)
    own = torch.arange(len(scans))[:, None].expand_as(scans.cells)[scans.cells]
    rows, found = scans.features[scans.cells].split(list(scans.widths.values()), dim=1), {}
    for name, part in zip(scans.widths, rows, strict=True):
        found[name] = ScanIndex(part, starts).among_themselves()
        found[name][torch.arange(len(own)), own] = torch.inf
    return found


def starts_of(cells: Tensor) -> list[int]:
    return [0, *cells.sum(1).cumsum(0).tolist()]


def box_judged(scans: Scans, distances: dict[str, Tensor], box: Tensor, *, neighbours=1, own=0.5) -> Tensor:
    """(n,P): what `BatchReference` says of the scans in `box`, from `pairs`."""
    bounds, cells = starts_of(scans.cells), scans.cells[box]
    rows = torch.cat([torch.arange(bounds[i], bounds[i + 1]) for i in box.tolist()])
    values = {name: aggregate(part[rows][:, box], neighbours=neighbours) for name, part in distances.items()}
    scales = {name: Scale.measured(part) for name, part in values.items()}
    grid = torch.zeros(cells.shape)
    grid[cells] = late(values, starts_of(cells), scales, own=own)
    return grid


def in_boxes_of(scans: Scans, distances: dict[str, Tensor], size: int, seed: int) -> Tensor:
    """All scans drawn into boxes of `size`, each box judging itself: (S,P).

    What is left over is judged in a box filled up with scans that have been judged already.
    """
    order = torch.randperm(len(scans), generator=torch.Generator().manual_seed(seed))
    cells = torch.zeros(scans.cells.shape)
    for box in order.split(size):
        full = torch.cat([box, order[: size - len(box)]])
        cells[box] = box_judged(scans, distances, full)[: len(box)]
    return cells


def curve(scans: Scans, seeds: int = 2) -> dict[str, list[float]]:
    """{number of scans in a box: mean figures over the draws}, up to the class as a whole."""
    rows, distances = {}, pairs(scans)
    for size in [n for n in SIZES if n < len(scans)]:
        draws = [figures(scans, in_boxes_of(scans, distances, size, seed)) for seed in range(seeds)]
        rows[str(size)] = torch.tensor(draws).mean(0).tolist()
    rows[str(len(scans))] = figures(scans, box_judged(scans, distances, torch.arange(len(scans))))
    return rows


def choices(scans: Scans) -> dict[str, list[float]]:
    """What each choice of the default is worth, one changed at a time; the floor and banks of good scans beside."""
    distances, everyone = pairs(scans), torch.arange(len(scans))
    default = box_judged(scans, distances, everyone)
    rows = {
        "default": figures(scans, default),
        "floor": figures(scans, scans.cells.float()),
        "bank of the class's good training scans": figures(scans, in_class(scans)),
    }
    for sigma in (3.0, 4.0, 6.0):
        rows[f"blur {sigma:g}"] = figures(scans, default, sigma=sigma)
    for name, part in distances.items():
        rows[f"{name} alone"] = figures(scans, box_judged(scans, {name: part}, everyone))
    for name, changed in {
        "nearest 2": {"neighbours": 2},
        "nearest 3": {"neighbours": 3},
        "nearest 30 % (MuSc)": {"neighbours": 0.3},
        "scale of the batch alone": {"own": 0.0},
        "scale of the scan alone": {"own": 1.0},
    }.items():
        rows[name] = figures(scans, box_judged(scans, distances, everyone, **changed))
    for name, changed in {
        "early fusion": {"fusion": "early"},
        "trim 2 %": {"trim": 0.02},
        "trim 10 %": {"trim": 0.1},
    }.items():
        rows[name] = figures(scans, judge(scans, **changed))
    return rows


def in_class(scans: Scans) -> Tensor:
    """(S,P): the same distances, scales and sum, to the good training scans of the class instead."""
    cells, at, found = torch.zeros(scans.cells.shape), 0, {}
    rows = scans.features[scans.cells]
    for name, width in scans.widths.items():
        part, bank = rows[:, at : at + width], scans.reference[:, at : at + width]
        origin = bank.mean(0)
        found[name] = torch.cat([torch.cdist(p - origin, bank - origin).amin(1) for p in part.split(2048)])
        at += width
    scales = {name: Scale.measured(values) for name, values in found.items()}
    cells[scans.cells] = late(found, starts_of(scans.cells), scales, own=0.5)
    return cells


def repeated(scans: Scans, copies: int = 4, seed: int = 0) -> dict[str, list[float]]:
    """The patches of a defect stand in `copies` other scans too, at the same place: with and without trimming."""
    changed, generator = Scans(**vars(scans)), torch.Generator().manual_seed(seed)
    changed.features, changed.mask, changed.label = scans.features.clone(), scans.mask.clone(), scans.label.clone()
    side = scans.mask.shape[1]
    grid = int(scans.cells.shape[1] ** 0.5)
    cell_mask = torch.nn.functional.max_pool2d(scans.mask.float()[:, None], side // grid).flatten(1) > 0
    donors = [i for i in range(len(scans)) if scans.label[i] and cell_mask[i].sum()][:: max(1, len(scans) // 10)]
    for donor in donors:
        for at in torch.randperm(len(scans), generator=generator)[:copies].tolist():
            both = cell_mask[donor] & scans.cells[donor] & scans.cells[at]
            noise = 0.02 * scans.features[donor].std(0) * torch.randn(scans.features[donor].shape, generator=generator)
            changed.features[at, both] = (scans.features[donor] + noise)[both]
            changed.mask[at] |= (
                scans.mask[donor]
                & torch.nn.functional.interpolate(both.view(1, 1, grid, grid).float(), size=side)[0, 0].bool()
            )
            changed.label[at] = max(int(scans.label[at]), int(both.any()))
    rows = {}
    for trim in (0.0, 0.02, 0.05, 0.1, 0.2):
        rows[f"repeated defects, trim {trim:g}"] = figures(changed, judge(changed, trim=trim))
    for k in (2, 0.3):
        rows[f"repeated defects, nearest {k:g}"] = figures(changed, judge(changed, neighbours=k))
    return rows


def stream(scans: Scans, rows: int = 20000, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Scans one by one in a random order, judged as they come, and all once more at the end: two (S,P)."""
    from threedzal.batch.rows import Rows

    history = Rows(torch.zeros(0, scans.features.shape[2]))
    first, settled = torch.zeros(scans.cells.shape), torch.zeros(scans.cells.shape)
    order = torch.randperm(len(scans), generator=torch.Generator().manual_seed(seed)).tolist()
    for cells, learn in ((first, True), (settled, False)):
        for i in order:
            batch = BatchReference(scans.widths, history=history)
            batch.add(scans.features[i], scans.cells[i], key=str(i))
            cells[i] = batch.judge().cells[0]
            if learn:
                history = absorbed(history, batch.everyone, widths=scans.widths, most=rows)
    return first, settled


def streaming(scans: Scans) -> dict[str, list[float]]:
    """As they came and settled, over three orders, with and without a tight bound of the coreset."""
    table, total = {}, int(scans.cells.sum())
    for name, bound in {"no bound": total + 1, "half of the patches": total // 2, "a tenth": total // 10}.items():
        runs = [stream(scans, bound, seed) for seed in range(3)]
        for what, number in (("as they came", 0), ("settled", 1)):
            values = torch.tensor([figures(scans, run[number]) for run in runs])
            table[f"stream, {name}, {what}"] = values.mean(0).tolist()
            table[f"stream, {name}, {what}, largest less smallest of 3 orders"] = (
                values.amax(0) - values.amin(0)
            ).tolist()
    return table


def images(scans: Scans) -> dict[str, list[float]]:
    """Image AUROC of ways to make one number of a scan (the maps stay the default's)."""
    distances, everyone = pairs(scans), torch.arange(len(scans))
    cells = box_judged(scans, distances, everyone)
    maps = {sigma: realign(cells, size=scans.mask.shape[1:], sigma=sigma) for sigma in (2.0, 4.0, 6.0)}
    ways = {
        f"top {share:.1%} of the object": top_score(maps[2.0], scans.object, share=share) for share in (0.005, 0.02)
    }
    ways |= {f"maximum, blur {sigma:g}": values.flatten(1).amax(1) for sigma, values in maps.items()}
    ways |= {f"mean of the top {n} cells": cells.topk(n, dim=1).values.mean(1) for n in (1, 3, 10)}
    branches = [box_judged(scans, {name: part}, everyone).amax(1) for name, part in distances.items()]
    ways["branches z-scored over the scans"] = sum((score - score.mean()) / score.std() for score in branches)
    base, rows = ways["top 0.5% of the object"], starts_of(scans.cells)
    apart = sum(
        torch.stack([part[a:b].mean(0) for a, b in zip(rows[:-1], rows[1:], strict=True)])
        / part[part.isfinite()].mean()
        for part in distances.values()
    )
    for neighbours in (1, 2, 4):  # MuSc's RsCIN, on the distance between scans
        near, which = (apart + apart.T).topk(neighbours, dim=1, largest=False)
        weights = near[:, :1] / near
        ways[f"averaged with the {neighbours} most similar"] = (base + (weights * base[which]).sum(1)) / (
            1 + weights.sum(1)
        )
    auroc = score_criterion(scans.label)
    return {name: [float(auroc(score))] for name, score in ways.items()}


EXPERIMENTS = {"curve": curve, "choices": choices, "repeated": repeated, "streaming": streaming, "images": images}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--classes", required=True)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--weights", required=True, help="of the backbone: a file, pretrained or random")
    parser.add_argument("--grid", type=int, default=56, help="56 as in configs/batch.yaml, or 28, ten times faster")
    parser.add_argument("--what", default="all", help=f"all, or some of {','.join(EXPERIMENTS)}")
    parser.add_argument("--cache", default="results/batch/cache")
    parser.add_argument("--out", default="results/batch", help="folder of CLASS.json, which batch_plot.py reads")
    options = parser.parse_args()
    for name in options.classes.split(","):
        scans = read(options, name)
        path = Path(options.out) / f"{name}-{options.grid}.json"
        results = json.loads(path.read_text()) if path.exists() else {}
        for what in EXPERIMENTS if options.what == "all" else options.what.split(","):
            results[what] = EXPERIMENTS[what](scans)
            columns = COLUMNS if what != "images" else COLUMNS[-1:]
            print(f"\n{name}, {what}\n\n| | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
            for row, values in results[what].items():
                print(f"| {row} | {' | '.join(f'{value:.3f}' for value in values)} |", flush=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
