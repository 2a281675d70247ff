"""What each part of ThreeDZALPlus is worth: docs/beyond.md's tables.

    threedzal data generate data/beyond --size 400 --train 8 --validation 4 --test_good 6 --test_per_defect 3
    python benchmarks/beyond.py data/beyond --weights resnet18.safetensors --seeds 0,1,2 [--real SAMPLE_ROOT]

Built-in data: classes are left out (`--folds 10`: one at a time); a classifier learns from the training scans of the
others, with pseudo anomalies in them, and is tested on all test scans of the classes left out. Pasted pieces come from
the others, too. `pseudo` rows judge pseudo-anomalous validation scans of the classes left out: the only figures that
may choose. `--real` (or SAMPLE_ROOT) adds the real cable gland, judged by classifiers of all ten classes. All rows are
inductive: no scan of the tested class is seen before it is judged. Views of scans and log-odds of experts are kept in
`--cache`, so that the script may be stopped and rows may share experts.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from threedzal.data.attention import RandomAttention
from threedzal.data.datasets import PseudoScanDataset, ScanAnomalies, ScanDataset
from threedzal.data.index import index_dataset, list_classes
from threedzal.data.interest import InterestPool
from threedzal.data.scan import Scan, ScanPreparation, collate_scans
from threedzal.data.variation import VARIATIONS
from threedzal.experts import balanced_loss, make_classifier, patch_labels
from threedzal.features.cache import ArrayCache
from threedzal.features.views import FrozenViews, object_cells
from threedzal.maps import foreground_map, realign
from threedzal.metrics.aupro import pro_curve
from threedzal.metrics.ranking import area, auroc, rank, sorted_scores
from threedzal.plus import ThreeDZALPlus
from threedzal.pooling import POOLINGS, excess, pool
from threedzal.progress import track

VIEWS = ("rgb", "normals", "relief", "rgb_similarity", "normals_similarity", "rgb_symmetry", "normals_symmetry")
PICTURE = ("rgb", "rgb_similarity", "rgb_symmetry")
SURFACE = ("normals", "normals_similarity", "normals_symmetry")
SCALES: dict[str, dict[str, int]] = {
    "224, 28 x 28": {},
    "448, 28 x 28": {"rgb_size": 448},
    "448, 56 x 56": {"rgb_size": 448, "patch_size": 4, "min_valid_points": 4},
}
ANOMALIES = {
    "shaded": ScanAnomalies("shaded", variation=VARIATIONS),
    "fitted": ScanAnomalies("shaded", variation=VARIATIONS, fittings=3),
    "as they are": ScanAnomalies("shaded"),
    "attended": ScanAnomalies("shaded", place="attention", variation=VARIATIONS),
    "plain": ScanAnomalies("relief", variation=VARIATIONS),
}


@dataclass(frozen=True)
class Row:
    """A line of the table: a method, and how its maps are made."""

    experts: tuple[tuple[str, ...], ...] = (PICTURE, SURFACE)
    scale: str = "448, 56 x 56"
    anomalies: str = "fitted"
    kinds: tuple[str, ...] = ("adding", "removing")
    hard: float = 0.25
    cells: str = "excess"
    blur: float = 2.0


DEFAULT = Row()
PLAIN = replace(DEFAULT, anomalies="shaded")  # what single parts are worth is measured without fittings
ROWS = {
    "ThreeDZALPlus": DEFAULT,
    "without fittings": PLAIN,
    "picture expert alone": replace(PLAIN, experts=(PICTURE,)),
    "surface expert alone": replace(PLAIN, experts=(SURFACE,)),
    "one expert sees all": replace(PLAIN, experts=((*PICTURE, *SURFACE),)),
    "without symmetry": replace(PLAIN, experts=(PICTURE[:2], SURFACE[:2])),
    "without similarity": replace(PLAIN, experts=(PICTURE[::2], SURFACE[::2])),
    "without both": replace(PLAIN, experts=(PICTURE[:1], SURFACE[:1])),
    "with relief": replace(PLAIN, experts=((*PICTURE, "relief"), (*SURFACE, "relief"))),
    "no variation of the scans": replace(PLAIN, anomalies="as they are"),
    "all normal patches alike": replace(PLAIN, hard=1.0),
    "rgb features alone": replace(PLAIN, experts=(("rgb",),)),
    "rgb features alone, not normalised": replace(PLAIN, experts=(("raw",),)),
    "adding only": replace(PLAIN, kinds=("adding",)),
    "removing only": replace(PLAIN, kinds=("removing",)),
    "placed by attention": replace(PLAIN, anomalies="attended"),
    "plain anomalies": replace(PLAIN, anomalies="plain"),
    "448, 28 x 28": replace(PLAIN, scale="448, 28 x 28"),
    "224, 28 x 28": replace(PLAIN, scale="224, 28 x 28"),
    "blur 4": replace(PLAIN, blur=4.0),
    "map of probabilities, blur 4": replace(PLAIN, cells="probability", blur=4.0),
}


@dataclass
class Maker:
    """Scans to what the classifiers see of them, once: everything goes through the package's own data and views.

    A scan is a dictionary: `class`, `donor`, `defect`; `views` {name: (n,D) float16} of its n object cells; `cells`
    (P,), `abnormal` (n,), `decided` (n,), `mask` and `object` (H,W), all bool.
    """

    root: Path
    cache: Path
    views: FrozenViews
    visits: int
    pools: dict[str, InterestPool] = field(default_factory=dict)

    def training(self, name: str, scale: str, style: str) -> list[dict[str, Any]]:
        """The training scans of a class with pseudo anomalies; of every visit another kind and another donor class."""

        def make() -> list[dict[str, Any]]:
            scans, classes = self._scans(name, "train", scale), list_classes(self.root)
            others, anomalies, seen = [c for c in classes if c != name], ANOMALIES[style], []
            masks = self._pool(name, every=True).masks if anomalies.place == "attention" else {}
            for index in range(len(scans) * self.visits):
                rng = np.random.default_rng([11, classes.index(name), index])
                donor = others[int(rng.integers(len(others)))]
                visit, row = divmod(index, len(scans))
                kind = anomalies.kinds[(visit + row) % 2]
                regions = int(rng.integers(1, anomalies.regions + 1))
                pieces = replace(self._pool(donor), masks=masks)
                scan = anomalies.insert(scans, row, pieces, kind=kind, regions=regions, rng=rng, varied=True)
                seen.append(self.look(scan, donor=donor))
            return seen

        return self._kept(f"train-{style}-{name}", scale, make)

    def judged(self, test: str, scale: str, real: Path | None) -> list[dict[str, Any]]:
        """`real`; `built-in|CLASS`, its test scans; `pseudo|CLASS`, validation scans as they are and with each kind."""
        where, _, name = test.partition("|")

        def make() -> list[dict[str, Any]]:
            if where == "pseudo":
                scans = self._scans(name, "validation", scale)
                scans = PseudoScanDataset(scans, self._pool(name), ANOMALIES["shaded"], seed=5)
            elif where == "real":
                scans = self._scans("cable_gland", "test", scale, real / "mvtec_3d")
            else:
                scans = self._scans(name, "test", scale)
            return [self.look(scans[i]) for i in range(len(scans))]

        return self._kept(test.replace("|", "-"), scale, make)

    @torch.no_grad()
    def look(self, scan: Scan, donor: str = "") -> dict[str, Any]:
        """What the frozen networks make of a scan."""
        batch = collate_scans([scan])
        cells = object_cells(batch)
        views = {name: view[cells].half() for name, view in self.views(batch, cells).items()}
        views["raw"] = self.views.picture(batch)[cells].half()
        abnormal, decided = patch_labels(batch.mask, cells, positive_share=0.25)
        return {
            "class": scan.record.class_name,
            "defect": scan.record.defect,
            "donor": donor,
            "views": views,
            "cells": cells[0],
            "abnormal": abnormal[cells],
            "decided": decided[cells],
            "mask": scan.mask[0].clone(),
            "object": scan.object.clone(),
        }

    def _scans(self, name: str, split: str, scale: str, root: Path | None = None) -> ScanDataset:
        records = index_dataset(root or self.root, classes=[name], splits=(split,))
        preparation = ScanPreparation(fpfh=False, **SCALES[scale])
        return ScanDataset(records, preparation, ArrayCache(self.cache / "arrays"))

    def _pool(self, name: str, *, every: bool = False) -> InterestPool:
        attention = RandomAttention(seed=0)
        scans = self._scans(name, "train", "224, 28 x 28")
        if name not in self.pools:
            self.pools[name] = InterestPool.build((scans[i] for i in range(min(4, len(scans)))), attention)
        if every:
            self.pools[name].attend((scans[i] for i in range(len(scans))), attention)
        return self.pools[name]

    def _kept(self, name: str, scale: str, make) -> list[dict[str, Any]]:
        path = self.cache / scale / f"{name}.pt"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(make(), path.with_suffix(".new"))
            path.with_suffix(".new").rename(path)
        return torch.load(path, weights_only=True)


def inputs(scan: dict[str, Any], names: tuple[str, ...], at: Tensor | slice = slice(None)) -> Tensor:
    """(n,D) float32."""
    return torch.cat([scan["views"][name][at] for name in names], dim=1).float()


def learn(
    scans: list[dict[str, Any]], names: tuple[str, ...], *, seed: int, epochs: int, dropout: float, hard: float
) -> torch.nn.Module:
    """An expert: AdamW, cosine, two scans a step, as `ThreeDZALPlus` learns."""
    torch.manual_seed(seed)
    rows = [(inputs(scan, names, scan["decided"]), scan["abnormal"][scan["decided"]]) for scan in scans]
    classifier = make_classifier(rows[0][0].shape[1], hidden=128, dropout=0.5, input_dropout=dropout)
    order = np.concatenate([np.random.default_rng([seed, e]).permutation(len(scans)) for e in range(epochs)])
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=len(order) // 2)
    for pair in order[: len(order) // 2 * 2].reshape(-1, 2):
        optimizer.zero_grad()
        logits = classifier(torch.cat([rows[i][0] for i in pair]))[:, 0]
        balanced_loss(logits, torch.cat([rows[i][1] for i in pair]), hard=hard).backward()
        optimizer.step()
        schedule.step()
    return classifier.eval()


@dataclass
class Experts:
    """Log-odds of every expert on every scan that it did not learn from, once."""

    maker: Maker
    real: Path | None
    folds: int
    epochs: int
    dropout: float

    def tests(self) -> list[list[str]]:
        """The classes of each fold; `real` is one of its own."""
        classes = list_classes(self.maker.root)
        return [*([["real"]] if self.real else []), *(classes[i :: self.folds] for i in range(self.folds))]

    def log_odds(self, names: tuple[str, ...], row: Row, seed: int) -> dict[str, Tensor]:
        """{test: (B,P)}, -20 outside the object."""
        key = f"{'+'.join(names)}-{row.scale}-{row.anomalies}-{'+'.join(row.kinds)}-{row.hard}-{self.folds}-{seed}"
        path = self.maker.cache / "log_odds" / f"{key}.pt"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(self._learned(names, row, seed), path)
        return torch.load(path, weights_only=True)

    def _learned(self, names: tuple[str, ...], row: Row, seed: int) -> dict[str, Tensor]:
        classes = list_classes(self.maker.root)
        training = [s for c in classes for s in self.maker.training(c, row.scale, row.anomalies)]
        training = [s for s in training if s["defect"] in row.kinds]
        odds = {}
        own = zlib.crc32("+".join(names).encode())  # experts of one method start apart
        for fold in track(self.tests(), "+".join(names)):
            mine = [s for s in training if not {s["class"], s["donor"]} & set(fold)]
            options = {"epochs": self.epochs, "dropout": self.dropout, "hard": row.hard}
            expert = learn(mine, names, seed=seed + own, **options)
            for test in ["real"] if fold == ["real"] else [f"{w}|{c}" for c in fold for w in ("built-in", "pseudo")]:
                scans = self.maker.judged(test, row.scale, self.real)
                values = torch.full((len(scans), len(scans[0]["cells"])), -20.0)
                with torch.no_grad():
                    for i, scan in enumerate(scans):
                        values[i, scan["cells"]] = expert(inputs(scan, names))[:, 0]
                odds[test] = values
        return odds


def judge(log_odds: Tensor | None, scans: list[dict[str, Any]], row: Row) -> dict[str, float]:
    """Metrics of a classifier on scans; of the floor, a constant on the object, without one."""
    mask, object, cells = (torch.stack([s[name] for s in scans]) for name in ("mask", "object", "cells"))
    probability = cells.float() if log_odds is None else log_odds.sigmoid() * cells
    size = tuple(mask.shape[1:])
    if log_odds is None:
        maps = foreground_map(cells, size=size, sigma=row.blur)
    else:
        values = excess(probability, cells) if row.cells == "excess" else probability
        maps = realign(values, size=size, sigma=row.blur)
    whole, own = pro_curve(maps, mask), pro_curve(maps, mask, roi=object)
    metrics = {
        "AUPRO 0.3": float(area(*whole, limit=0.3)),
        "AUPRO 0.05": float(area(*whole, limit=0.05)),
        "object-only 0.3": float(area(*own, limit=0.3)),
    }
    defective = mask.flatten(1).any(dim=1)
    for how in POOLINGS:
        score = pool(probability, cells, how=how, object=object)
        if log_odds is None:
            score = torch.zeros_like(score)
        metrics[f"image, {how}"] = float(auroc(rank(sorted_scores(score[~defective]), score[defective])))
    return metrics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", default="pretrained")
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--real", type=Path, default=os.environ.get("SAMPLE_ROOT"))
    parser.add_argument("--cache", type=Path, default=Path("results/beyond"))
    parser.add_argument("--visits", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--dropout", type=float, default=0.5, help="of the views")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--folds", type=int, default=10)
    parser.add_argument("--rows", nargs="*", default=list(ROWS), choices=list(ROWS), metavar="ROW")
    parser.add_argument("--where", nargs="*", default=["pseudo", "built-in", "real"])
    options = parser.parse_args()
    method = ThreeDZALPlus(experts=(VIEWS[:2],), backbone=options.backbone, rgb_weights=options.weights).eval()
    method.load_pretrained()
    method.views.wanted = VIEWS
    maker = Maker(options.data, options.cache, method.views, options.visits)
    real = Path(options.real) if options.real else None
    experts = Experts(maker, real, options.folds, options.epochs, options.dropout)
    store = options.cache / f"results-{options.folds}.json"
    results = json.loads(store.read_text()) if store.is_file() else {}
    for name in options.rows:
        row = ROWS[name]
        for seed in map(int, options.seeds.split(",")):
            each = [experts.log_odds(names, row, seed) for names in row.experts]
            for test in (test for test in each[0] if test.split("|")[0] in options.where):
                scans = maker.judged(test, row.scale, real)
                for key, odds in ((f"{name}|{seed}|{test}", sum(e[test] for e in each) / len(each)),
                                  (f"floor|0|{test}", None)):  # fmt: skip
                    if key not in results:
                        results[key] = judge(odds, scans, row)
            store.write_text(json.dumps(results, indent=1))
    print(tables(results))


def tables(results: dict[str, dict[str, float]]) -> str:
    """Markdown: rows by set, mean over classes, then mean and spread (standard deviation) over seeds; each class."""
    lines = []
    for where in ("pseudo", "built-in", "real"):
        values: dict[str, dict[int, list[dict[str, float]]]] = {}
        for key, metrics in results.items():
            row, seed, place = key.split("|", 2)
            if place.split("|")[0] == where:
                values.setdefault(row, {}).setdefault(int(seed), []).append(metrics)
        if not values:
            continue
        columns = list(next(iter(values.values()))[0][0])
        lines += ["", f"**{where}**", "", f"| classifier | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
        for row, seeds in sorted(values.items(), key=lambda item: ["floor", *ROWS].index(item[0])):
            cells = []
            for column in columns:
                means = [statistics.fmean(m[column] for m in classes) for classes in seeds.values()]
                spread = f" ± {statistics.stdev(means):.3f}" if len(means) > 1 else ""
                cells.append(f"{statistics.fmean(means):.3f}{spread}")
            lines.append(f"| {row} ({len(seeds)}) | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *by_class(results)])


def by_class(results: dict[str, dict[str, float]]) -> list[str]:
    """Object-only AUPRO and image AUROC of the default row and the floor on each built-in class, means over seeds."""
    lines = ["| class | ThreeDZALPlus | floor |", "|---|---|---|"]
    for test in sorted({key.split("|", 2)[2] for key in results if "|built-in|" in key}):
        pairs = []
        for name in ("ThreeDZALPlus", "floor"):
            found = [v for key, v in results.items() if key.split("|")[0] == name and key.endswith(f"|{test}")]
            if found:
                means = [statistics.fmean(v[m] for v in found) for m in ("object-only 0.3", "image, peak")]
                pairs.append(f"{means[0]:.3f} / {means[1]:.3f}")
        lines.append(f"| {test.split('|')[1]} | {' | '.join(pairs)} |")
    return lines


if __name__ == "__main__":
    main()
