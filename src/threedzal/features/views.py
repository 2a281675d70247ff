"""What frozen functions say of each patch of a scan, against the rest of the same scan: the inputs of `ThreeDZALPlus`.

Plain torch, nothing is learned here.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from threedzal.data.scan import Scan
from threedzal.features.grid import as_patches
from threedzal.features.instance import SIMILARITY_WIDTH, instance_normalise, self_similarity
from threedzal.features.relief import RELIEF_WIDTH, relief_features, surface_normals
from threedzal.features.rgb import RGBFeatures
from threedzal.features.symmetry import symmetric_similarity

IMAGES = ("rgb", "normals")  # what the image network looks at
FPFH_WIDTH = 33
NORMALS_CONTRAST = 2.0  # normals span -1 to 1, an ImageNet-normalised picture about -2 to 2
OBJECT_SHARE = 0.25  # of a cell's pixels that must be object, measured or not: a hole has no measurement
OVERLAP = 1 / 14  # of the grid: patches this near see the same pixels


class FrozenViews(nn.Module):
    """Views of the patches of a scan, each but `raw_rgb` z-scored over the scan's own object.

    `rgb`: features of the picture; `raw_rgb`: the same as they are; `normals`: of the same network on a picture of the
    normals, as large as that; `relief`: bands of depth, bending, gaps; `fpfh`; `rgb_similarity` and
    `normals_similarity`: distances to the most similar other patches of the scan, by every layer; `rgb_symmetry` and
    `normals_symmetry`: the same in any turn and mirroring of the scan.

    Args:
        backbone: Any timm model with `features_only`. layers: Its feature levels.
        normalise: `instance`, or `none`, for the ablation.
    """

    def __init__(
        self,
        *,
        backbone: str,
        layers: tuple[int, ...],
        normalise: Literal["instance", "none"] = "instance",
    ) -> None:
        super().__init__()
        self.normalise = normalise
        self.network = RGBFeatures(backbone=backbone, layers=layers, weights="checkpoint")
        channels = self.network.network.feature_info.channels()
        self.level_widths: dict[int, int] = dict(zip(layers, channels, strict=True))
        self._seen: tuple[Tensor, Tensor] | None = None  # a picture and its features: bank and classifier both ask

    def width(self, name: str) -> int:
        """Numbers a patch of a view."""
        if name in (*IMAGES, "raw_rgb"):
            return sum(self.level_widths.values())
        if name.endswith(("similarity", "symmetry")):
            return SIMILARITY_WIDTH * len(self.level_widths)
        return {"relief": RELIEF_WIDTH, "fpfh": FPFH_WIDTH}[name]

    @torch.no_grad()
    def forward(self, scan: Scan, cells: Tensor, wanted: Collection[str]) -> dict[str, Tensor]:
        """The wanted views by name, each (B,P,D) float32, 0 outside `cells` (B,P) bool, the object's."""
        grid, views = math.isqrt(scan.cells.shape[1]), {}
        for image in IMAGES:
            if image in wanted or f"{image}_similarity" in wanted:
                features = self.picture(scan) if image == "rgb" else self._of_normals(scan)
                views[image] = self._normalised(features, cells)
            if f"{image}_symmetry" in wanted:
                directions = image == "normals"
                shown = _normals_picture(scan) if directions else scan.rgb
                views[f"{image}_symmetry"] = symmetric_similarity(
                    self.network, shown, scan.object, cells, widths=[*self.level_widths.values()], directions=directions
                )
            if f"{image}_similarity" in wanted:
                reach = max(1, round(OVERLAP * grid))
                levels = [self_similarity(part, cells, reach=reach) for part in self.levels(views[image]).values()]
                views[f"{image}_similarity"] = torch.cat(levels, 2)
        if "raw_rgb" in wanted:
            views["raw_rgb"] = self.picture(scan).float() * cells[..., None]
        if "relief" in wanted:
            relief = relief_features(scan.xyz, scan.valid, scan.object, grid=grid)
            views["relief"] = self._normalised(as_patches(relief), cells)
        if "fpfh" in wanted:
            views["fpfh"] = self._normalised(as_patches(scan.fpfh), cells)
        return {name: views[name] for name in wanted}

    def picture(self, scan: Scan) -> Tensor:
        """Features of the picture as they are, (B,P,sum of the levels' channels); the last picture's are kept."""
        if self._seen is None or self._seen[0] is not scan.rgb:
            self._seen = (scan.rgb, as_patches(self.network(scan.rgb, grid=math.isqrt(scan.cells.shape[1]))))
        return self._seen[1]

    def levels(self, features: Tensor) -> dict[int, Tensor]:
        """{layer: (B,P,channels)} of an image's features, which stand side by side."""
        return dict(zip(self.level_widths, features.split(list(self.level_widths.values()), dim=2), strict=True))

    def _of_normals(self, scan: Scan) -> Tensor:
        picture = _normals_picture(scan)
        if scan.rgb.shape[2:] != picture.shape[2:]:
            picture = F.interpolate(picture, size=scan.rgb.shape[2:], mode="bilinear", align_corners=False)
        return as_patches(self.network(picture, grid=math.isqrt(scan.cells.shape[1])))

    def _normalised(self, features: Tensor, cells: Tensor) -> Tensor:
        if self.normalise == "instance":
            return instance_normalise(features, cells)
        return features.float() * cells[..., None]


def _normals_picture(scan: Scan) -> Tensor:
    return NORMALS_CONTRAST * surface_normals(scan.xyz, scan.valid, scan.object)


def object_cells(scan: Scan) -> Tensor:
    """(B,P) bool: the cells of which at least a quarter is object. `Scan.cells` are those with measured points."""
    grid = math.isqrt(scan.cells.shape[1])
    return F.adaptive_avg_pool2d(scan.object[:, None].float(), grid).flatten(1) >= OBJECT_SHARE
