"""What the classifiers of `beyond.py` see of scans, made once and kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from threedzal.data.attention import RandomAttention
from threedzal.data.datasets import PseudoScanDataset, ScanAnomalies, ScanDataset
from threedzal.data.generated import CLASS_NAMES
from threedzal.data.generated.products import class_number
from threedzal.data.index import index_dataset, list_classes
from threedzal.data.interest import InterestPool
from threedzal.data.patches import cell_anchors, nearest_patches, normalise_patches
from threedzal.data.scan import Scan, ScanPreparation, collate_scans
from threedzal.data.variation import VARIATIONS
from threedzal.experts import patch_labels
from threedzal.features.cache import ArrayCache
from threedzal.features.grid import as_patches
from threedzal.features.instance import instance_normalise
from threedzal.features.views import FrozenViews, object_cells

VIEWS = (
    "rgb",
    "raw_rgb",
    "normals",
    "relief",
    "rgb_similarity",
    "normals_similarity",
    "rgb_symmetry",
    "normals_symmetry",
)
SCALES: dict[str, dict[str, int]] = {
    "224, 28 x 28": {},
    "448, 28 x 28": {"rgb_size": 448},
    "448, 56 x 56": {"rgb_size": 448, "patch_size": 4, "min_valid_points": 4},
}
ANOMALIES = {
    "shaded": ScanAnomalies("shaded", variation=VARIATIONS),
    "fitted": ScanAnomalies("shaded", variation=VARIATIONS, fittings=3),
    "fitted, as they are": ScanAnomalies("shaded", fittings=3),
    "fitted, attended": ScanAnomalies("shaded", place="attention", variation=VARIATIONS, fittings=3),
    "fitted, plain": ScanAnomalies("relief", variation=VARIATIONS, fittings=3),
}
CLOUDS = {"point_cloud": 1, "wide_point_cloud": 4}  # 64 points: the nearest, or every fourth of the 256 nearest
SHIFTS = ((0, 0), (0, 2), (2, 0), (2, 2))  # pixels: half a cell of 4


@dataclass
class Maker:
    """Scans to what the classifiers see of them, once: everything goes through the package's own data and views.

    A scan is a dictionary: `class`, `donor`, `defect`; `views` {name: (n,D) float16} of its n object cells; `cells`
    (P,), `abnormal` (n,), `decided` (n,), `mask` and `object` (H,W), all bool. `more` are kept apart: `points`, which
    are `point_cloud` and `wide_point_cloud` (m,64,3) float16 of the object cells with points and which these are,
    `measured` (n,) bool; and `fpfh`, a view.
    """

    root: Path
    cache: Path
    views: FrozenViews
    roots: dict[str, Path | None]  # `real`, the folder above `mvtec_3d`; `fresh`, `last`, `products`: generated ones
    pools: dict[str, InterestPool] = field(default_factory=dict)

    def training(self, name: str, scale: str, style: str, visits: int, *, more: str = "") -> list[dict[str, Any]]:
        """The training scans of a class with pseudo anomalies; of every visit another kind and another donor class.

        A product's donors are the ten classes, too, so that it is known of every pasted piece where it is from.
        """

        def make(look: Callable[[Scan], dict[str, Any]]) -> list[dict[str, Any]]:
            root = self.root if name in CLASS_NAMES else self.roots["products"]
            scans, classes = self._scans(name, "train", scale, root, more=more), list_classes(self.root)
            others, anomalies, seen = [c for c in classes if c != name], ANOMALIES[style], []
            masks = self._pool(name, every=True).masks if anomalies.place == "attention" else {}
            for index in range(len(scans) * visits):
                rng = np.random.default_rng([11, class_number(name), index])
                donor = others[int(rng.integers(len(others)))]
                visit, row = divmod(index, len(scans))
                kind = anomalies.kinds[(visit + row) % 2]
                regions = int(rng.integers(1, anomalies.regions + 1))
                pieces = replace(self._pool(donor), masks=masks)
                scan = anomalies.insert(scans, row, pieces, kind=kind, regions=regions, rng=rng, varied=True)
                seen.append({**look(scan), "donor": donor})
            return seen

        often = "" if visits == 4 else f"-{visits}"
        return self._kept(f"train-{style}{often}-{name}", scale, make, more=more)

    def judged(self, test: str, scale: str, *, more: str = "") -> list[dict[str, Any]]:
        """`real`; `built-in|CLASS`, its test scans, and `fresh|CLASS` and `last|CLASS`, those of other data sets;
        `pseudo|CLASS`, validation scans as they are and with each kind.

        `TEST@ROWS,COLUMNS`: the same, its grid of patches moved by so many pixels.
        """
        place, _, shift = test.partition("@")
        where, _, name = place.partition("|")

        def make(look: Callable[[Scan], dict[str, Any]]) -> list[dict[str, Any]]:
            if where == "pseudo":
                scans = self._scans(name, "validation", scale, more=more)
                scans = PseudoScanDataset(scans, self._pool(name), ANOMALIES["shaded"], seed=5)
            elif where == "real":
                scans = self._scans("cable_gland", "test", scale, self.roots["real"] / "mvtec_3d", more=more)
            else:
                scans = self._scans(name, "test", scale, self.roots.get(where), more=more)
            by = tuple(map(int, shift.split(","))) if shift else (0, 0)
            return [look(moved(scans[i], by)) for i in range(len(scans))]

        return self._kept(test.replace("|", "-"), scale, make, more=more)

    @torch.no_grad()
    def look(self, scan: Scan) -> dict[str, Any]:
        """What the frozen networks make of a scan."""
        batch = collate_scans([scan])
        cells = object_cells(batch)
        views = {name: view[cells].half() for name, view in self.views(batch, cells, VIEWS).items()}
        views["raw"] = views.pop("raw_rgb")
        abnormal, decided = patch_labels(batch.mask, cells, positive_share=0.25)
        return {
            "class": scan.record.class_name,
            "defect": scan.record.defect,
            "donor": "",
            "views": views,
            "cells": cells[0],
            "abnormal": abnormal[cells],
            "decided": decided[cells],
            "mask": scan.mask[0].clone(),
            "object": scan.object.clone(),
        }

    def look_at_points(self, scan: Scan) -> dict[str, Any]:
        """The points of a scan's patches, normalised, as E_theta sees them."""
        cells = object_cells(collate_scans([scan]))[0]
        size = scan.xyz.shape[1] // round(len(cells) ** 0.5)
        anchors, measured = cell_anchors(scan.xyz, scan.valid, patch_size=size, min_valid_points=4)
        points, measured = scan.xyz[:, scan.valid].T, measured & cells
        rows = nearest_patches(points, anchors[measured], k=64 * max(CLOUDS.values()))
        clouds = {name: rows[:, ::every][:, :64] for name, every in CLOUDS.items()}
        patches = {name: normalise_patches(points[of]).half() for name, of in clouds.items()}
        return {**patches, "measured": measured[cells]}

    @torch.no_grad()
    def look_at_fpfh(self, scan: Scan) -> dict[str, Any]:
        """Oriented FPFH at the scan's resolution, z-scored like every view."""
        batch = collate_scans([scan])
        cells = object_cells(batch)
        return {"views": {"fpfh": instance_normalise(as_patches(batch.fpfh), cells)[cells].half()}}

    def _scans(self, name: str, split: str, scale: str, root: Path | None = None, *, more: str = "") -> ScanDataset:
        records = index_dataset(root or self.root, classes=[name], splits=(split,))
        fpfh = {"fpfh_size": 400, "fpfh_neighbours": 100} if more == "fpfh" else {"fpfh": False}
        preparation = ScanPreparation(**fpfh, **SCALES[scale])
        return ScanDataset(records, preparation, ArrayCache(self.cache / "arrays"))

    def _pool(self, name: str, *, every: bool = False) -> InterestPool:
        attention = RandomAttention(seed=0)
        scans = self._scans(name, "train", "224, 28 x 28")
        if name not in self.pools:
            self.pools[name] = InterestPool.build((scans[i] for i in range(min(4, len(scans)))), attention)
        if every:
            self.pools[name].attend((scans[i] for i in range(len(scans))), attention)
        return self.pools[name]

    def _kept(self, name: str, scale: str, make, *, more: str) -> list[dict[str, Any]]:
        path = self.cache / scale / f"{'-'.join([name, *more.split()])}.pt"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            look = {"": self.look, "points": self.look_at_points, "fpfh": self.look_at_fpfh}[more]
            torch.save(make(look), path.with_suffix(".new"))
            path.with_suffix(".new").rename(path)
        return torch.load(path, weights_only=True)


def moved(scan: Scan, by: tuple[int, int]) -> Scan:
    """The scan, so many pixels further up and to the left: what was at `by` is in the first pixel of the first cell."""

    def roll(image: Tensor, scale: int = 1) -> Tensor:
        return image.roll([-step * scale for step in by], dims=(-2, -1))

    if by == (0, 0):
        return scan
    images = {name: roll(getattr(scan, name)) for name in ("xyz", "valid", "object", "mask")}
    return replace(scan, rgb=roll(scan.rgb, scan.rgb.shape[-1] // scan.xyz.shape[-1]), **images)
