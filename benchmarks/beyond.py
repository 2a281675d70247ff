"""What each part of ThreeDZALPlus is worth: docs/beyond.md's tables.

    threedzal data generate data/beyond --size 400 --train 8 --validation 4 --test_good 6 --test_per_defect 3
    python benchmarks/beyond.py data/beyond --weights resnet18.safetensors --seeds 0,1,2 [--real SAMPLE_ROOT]

Built-in data, leave one class out: for every class, a classifier learns from the training scans of the nine others,
with pseudo anomalies in them, and is tested on all test scans of the class. Pasted pieces come from the nine, too.
`pseudo` rows judge pseudo-anomalous validation scans of the class that is left out: the only figures that may choose.
`--real` (or SAMPLE_ROOT) adds the real cable gland, judged by classifiers of all ten classes. All rows are inductive:
no scan of the tested class is seen before it is judged. What the frozen networks make of a scan is kept in `--cache`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from threedzal.data.attention import RandomAttention
from threedzal.data.datasets import PseudoScanDataset, ScanAnomalies, ScanDataset
from threedzal.data.index import index_dataset, list_classes
from threedzal.data.interest import InterestPool
from threedzal.data.scan import Scan, ScanPreparation, ScanRecord, collate_scans
from threedzal.features.cache import ArrayCache
from threedzal.metrics.aupro import pro_curve
from threedzal.metrics.ranking import area, auroc, rank, sorted_scores
from threedzal.plus import ThreeDZALPlus, balanced_loss, make_classifier, object_cells, patch_labels
from threedzal.pooling import POOLINGS, pool
from threedzal.progress import track
from threedzal.scoring import foreground_map, realign

PREPARATION = ScanPreparation(fpfh=False)
RGB_SIMILARITY = 18  # numbers of the similarity block that come from the picture, for three layers
ALL = ("rgb", "normals", "relief", "similarity")
CHOSEN, BOTH = ("rgb", "rgb similarity", "relief"), ("adding", "removing")
ROWS: dict[str, tuple[tuple[str, ...], str, tuple[str, ...]]] = {  # name: inputs, style, kinds
    "rgb + similarity + relief": (CHOSEN, "shaded", BOTH),
    "the same, adding only": (CHOSEN, "shaded", ("adding",)),
    "the same, removing only": (CHOSEN, "shaded", ("removing",)),
    "the same, plain anomalies": (CHOSEN, "relief", BOTH),
    "rgb + similarity": (("rgb", "rgb similarity"), "shaded", BOTH),
    "rgb": (("rgb",), "shaded", BOTH),
    "rgb, not normalised": (("raw",), "shaded", BOTH),
    "relief": (("relief",), "shaded", BOTH),
    "geometry alone": (("normals", "relief"), "shaded", BOTH),
    "all": (ALL, "shaded", BOTH),
}


@dataclass
class Seen:
    """A scan as the classifier sees it: blocks (n,D) float16 of its n object cells."""

    record: ScanRecord
    blocks: dict[str, Tensor]
    cells: Tensor  # (P,) bool
    abnormal: Tensor  # (n,) bool
    decided: Tensor  # (n,) bool
    mask: Tensor  # (H,W) bool
    object: Tensor  # (H,W) bool
    donor: str = ""

    def inputs(self, names: tuple[str, ...]) -> Tensor:
        """(n,D) float32."""
        return torch.cat([self.blocks[name] for name in names], dim=1).float()


@dataclass
class Maker:
    """Scans to `Seen`, once: everything goes through the package's own data and method."""

    root: Path
    cache: Path
    method: ThreeDZALPlus
    visits: int
    pools: dict[str, InterestPool] = field(default_factory=dict)

    def training(self, name: str, style: str) -> list[Seen]:
        """The training scans of a class with pseudo anomalies; of every visit another kind and another donor class."""

        def make() -> list[Seen]:
            scans, others = self._scans(name, "train"), [c for c in list_classes(self.root) if c != name]
            anomalies, seen = ScanAnomalies(style), []
            for index in range(len(scans) * self.visits):
                rng = np.random.default_rng([11, list_classes(self.root).index(name), index])
                donor = others[int(rng.integers(len(others)))]
                visit, row = divmod(index, len(scans))
                kind = anomalies.kinds[(visit + row) % 2]
                regions = int(rng.integers(1, anomalies.regions + 1))
                scan = anomalies.insert(scans, row, self._pool(donor), kind=kind, regions=regions, rng=rng)
                seen.append(self.look(scan, donor=donor))
            return seen

        return self._kept(f"train-{style}-{name}", make)

    def pseudo(self, name: str) -> list[Seen]:
        """Validation scans of a class, as they are and with each kind."""

        def make() -> list[Seen]:
            pool = self._pool(name)
            dataset = PseudoScanDataset(self._scans(name, "validation"), pool, ScanAnomalies("shaded"), seed=5)
            return [self.look(dataset[i]) for i in range(len(dataset))]

        return self._kept(f"pseudo-{name}", make)

    def test(self, name: str, root: Path | None = None) -> list[Seen]:
        """All test scans of a class."""
        scans = self._scans(name, "test", root)
        return self._kept(f"test-{name}", lambda: [self.look(scans[i]) for i in range(len(scans))])

    def scans(self, test: str, real: Path | str | None) -> list[Seen]:
        """`real`, `built-in|CLASS` or `pseudo|CLASS`."""
        if test == "real":
            return self.test("cable_gland", Path(real) / "mvtec_3d")
        where, name = test.split("|")
        return self.test(name) if where == "built-in" else self.pseudo(name)

    @torch.no_grad()
    def look(self, scan: Scan, donor: str = "") -> Seen:
        """What the frozen networks make of a scan."""
        batch = collate_scans([scan])
        cells = object_cells(batch)
        blocks = {name: block[cells].half() for name, block in self.method.blocks(batch, cells).items()}
        blocks["raw"] = self.method._picture_features(batch)[cells].half()
        blocks["rgb similarity"] = blocks["similarity"][:, :RGB_SIMILARITY]
        abnormal, decided = patch_labels(batch.mask, cells, positive_share=0.25)
        labels = abnormal[cells], decided[cells]
        return Seen(scan.record, blocks, cells[0], *labels, scan.mask[0].clone(), scan.object.clone(), donor)

    def _scans(self, name: str, split: str, root: Path | None = None) -> ScanDataset:
        records = index_dataset(root or self.root, classes=[name], splits=(split,))
        return ScanDataset(records, PREPARATION, ArrayCache(self.cache / "arrays"))

    def _pool(self, name: str) -> InterestPool:
        if name not in self.pools:
            scans = self._scans(name, "train")
            some = (scans[i] for i in range(min(4, len(scans))))
            self.pools[name] = InterestPool.build(some, RandomAttention(seed=0))
        return self.pools[name]

    def _kept(self, name: str, make) -> list[Seen]:
        path = self.cache / f"{name}.pt"
        if not path.is_file():
            made = make()
            torch.save(made, path.with_suffix(".new"))
            path.with_suffix(".new").rename(path)
        return torch.load(path, weights_only=False)  # written above, by this script


def learn(scans: list[Seen], names: tuple[str, ...], *, seed: int, epochs: int) -> torch.nn.Module:
    """A classifier: AdamW, cosine, two scans a step, as `ThreeDZALPlus` learns."""
    torch.manual_seed(seed)
    width = scans[0].inputs(names).shape[1]
    classifier = make_classifier(width, hidden=128, dropout=0.5, input_dropout=0.2)
    order = np.concatenate([np.random.default_rng([seed, e]).permutation(len(scans)) for e in range(epochs)])
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=len(order) // 2)
    for pair in order[: len(order) // 2 * 2].reshape(-1, 2):
        inputs = torch.cat([scans[i].inputs(names)[scans[i].decided] for i in pair])
        abnormal = torch.cat([scans[i].abnormal[scans[i].decided] for i in pair])
        optimizer.zero_grad()
        balanced_loss(classifier(inputs)[:, 0], abnormal).backward()
        optimizer.step()
        schedule.step()
    return classifier.eval()


@torch.no_grad()
def judge(classifier: torch.nn.Module | None, scans: list[Seen], names: tuple[str, ...]) -> dict[str, float]:
    """Metrics of a classifier on scans; of the floor, a constant on the object, without one."""
    mask, object, cells = (torch.stack([getattr(s, name) for s in scans]) for name in ("mask", "object", "cells"))
    probability = torch.zeros(cells.shape)
    for row, scan in enumerate(scans):
        probability[row, scan.cells] = 1.0 if classifier is None else classifier(scan.inputs(names))[:, 0].sigmoid()
    size = mask.shape[-2:]
    maps = foreground_map(cells, size=size) if classifier is None else realign(probability, size=size)
    whole, own = pro_curve(maps, mask), pro_curve(maps, mask, roi=object)
    metrics = {
        "AUPRO 0.3": float(area(*whole, limit=0.3)),
        "AUPRO 0.05": float(area(*whole, limit=0.05)),
        "object-only 0.3": float(area(*own, limit=0.3)),
    }
    defective = torch.tensor([scan.record.label for scan in scans]).bool()
    for how in POOLINGS:
        score = pool(probability, cells, how=how)
        metrics[f"image, {how}"] = float(auroc(rank(sorted_scores(score[~defective]), score[defective])))
    return metrics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", default="pretrained")
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--real", type=Path, default=os.environ.get("SAMPLE_ROOT"))
    parser.add_argument("--cache", type=Path, default=Path("results/beyond"))
    parser.add_argument("--visits", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--rows", nargs="*", default=list(ROWS))
    parser.add_argument("--built-in", choices=["yes", "no"], default="yes")
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    method = ThreeDZALPlus(backbone=options.backbone, rgb_weights=options.weights, inputs=ALL).eval()
    method.load_pretrained()
    maker = Maker(options.data, options.cache, method, options.visits)
    classes, seeds = list_classes(options.data), [int(s) for s in options.seeds.split(",")]
    store = options.cache / "results.json"
    results = json.loads(store.read_text()) if store.is_file() else {}

    for name in options.rows:
        inputs, style, kinds = ROWS[name]
        training = [s for c in track(classes, name) for s in maker.training(c, style) if s.record.defect in kinds]
        for seed in seeds:
            for fold in [*(["real"] if options.real else []), *(classes if options.built_in == "yes" else [])]:
                wanted = ["real"] if fold == "real" else [f"built-in|{fold}", f"pseudo|{fold}"]
                if all(f"{name}|{seed}|{test}" in results for test in wanted):
                    continue
                mine = [s for s in training if fold not in (s.record.class_name, s.donor)]
                classifier = learn(mine, inputs, seed=seed, epochs=options.epochs)
                for test in wanted:
                    scans = maker.scans(test, options.real)
                    results[f"{name}|{seed}|{test}"] = judge(classifier, scans, inputs)
                    if f"floor|0|{test}" not in results:
                        results[f"floor|0|{test}"] = judge(None, scans, inputs)
                store.write_text(json.dumps(results, indent=1))
    print(tables(results))


def tables(results: dict[str, dict[str, float]]) -> str:
    """Markdown: rows by set, mean over classes, then mean and spread (standard deviation) over seeds."""
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
    return "\n".join(lines)


if __name__ == "__main__":
    main()
