"""One scan as tensors at the network's size.

Section 4 of the paper ("we resize the original data resolution to H=W=224 and use the 8x8 patch size"). Everything
that turns a scan on disk into tensors is named in `ScanPreparation`, which travels inside the fitted file, so that
a scan at the plant is prepared exactly as those in training were.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from threedzal.data.cached import cached_fpfh, cached_object
from threedzal.data.readers.arrays import measured_pixels
from threedzal.data.record import ScanRecord
from threedzal.data.resize import resized
from threedzal.errors import UserError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ScanPreparation:
    """How a scan becomes tensors. Lengths in metres; every field is an option of the data module."""

    image_size: int = 224
    rgb_size: int | None = None  # of the picture; None: image_size
    fpfh_size: int | None = None  # FPFH at the scan's own size, this at most; None: image_size
    patch_size: int = 8
    points_per_patch: int = 64
    min_valid_points: int = 16
    background: Literal["remove", "keep"] = "remove"
    pad_to_square: bool = True
    nearest: Literal["centre", "corner"] = "centre"
    smoothing: Literal["padded", "unpadded"] = "padded"
    patch_source: Literal["neighbours", "grid"] = "neighbours"
    patch_scale: Literal["unit", "scan", "metric"] = "unit"
    normals: Literal["oriented", "raw"] = "oriented"
    fpfh: bool = True
    fpfh_backend: Literal["torch", "open3d"] = "torch"
    fpfh_radius: float = 0.25
    fpfh_neighbours: int = 100
    normal_radius: float = 0.1
    normal_neighbours: int = 30

    def __post_init__(self) -> None:
        if self.patch_size < 1 or self.image_size % self.patch_size:
            raise UserError(
                f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}: "
                "choose sizes that divide, as 224 and 8"
            )
        if self.patch_source == "grid" and self.points_per_patch != self.patch_size**2:
            raise UserError(
                f"patch_source grid has {self.patch_size**2} pixels a cell, but points_per_patch is "
                f"{self.points_per_patch}: make them equal or use patch_source neighbours"
            )

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> ScanPreparation:
        """From the options of a data module, or those that a fitted file holds: the defaults of what is not in them."""
        return cls(**{f.name: options[f.name] for f in fields(cls) if f.name in options})

    @property
    def grid(self) -> int:
        """Patches along a side, 28 in the paper."""
        return self.image_size // self.patch_size

    @property
    def nearest_mode(self) -> str:
        """torch's name for which pixel of the old scan a resized one is: the one at its centre, or its corner."""
        return {"centre": "nearest-exact", "corner": "nearest"}[self.nearest]


@dataclass
class Scan:
    """One scan, or a batch of them (then every tensor has a leading B and `record` is a list)."""

    rgb: Tensor  # (3,R,R) float32, R = rgb_size or H, ImageNet-normalised; 0, its mean, where background is removed
    xyz: Tensor  # (3,H,W) float32 metres, exactly 0 where not valid
    valid: Tensor  # (H,W) bool: measured, and not background
    object: Tensor  # (H,W) bool: the object's silhouette, its small unmeasured gaps closed
    mask: Tensor  # (1,H,W) bool: ground truth
    label: Tensor  # () int64: 1 for a defective scan
    patches: Tensor  # (P,K,3) float32: the grid cells' point patches, normalised; zeros where `cells` is False
    cells: Tensor  # (P,) bool: the cell has at least `min_valid_points` measured points
    fpfh: Tensor | None  # (33,G,G) float32, 3x3 average-pooled and resized to the grid
    size: Tensor  # (2,) int64: height and width on disk
    record: ScanRecord | list[ScanRecord]

    def to(self, device: torch.device | str, **kwargs) -> Scan:
        """The same scan with its tensors on `device`."""
        return self._map(lambda tensor: tensor.to(device, **kwargs))

    def pin_memory(self) -> Scan:
        """The same scan in page-locked memory (PyTorch's loader calls this)."""
        return self._map(Tensor.pin_memory)

    def _map(self, function) -> Scan:
        moved = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: function(v) for k, v in moved.items() if isinstance(v, Tensor)})


def collate_scans(scans: list[Scan]) -> Scan:
    """Stack scans into a batch: every tensor gets a leading B, `record` becomes a list of B records."""
    batch = {}
    for name in (f.name for f in fields(Scan)):
        values = [getattr(scan, name) for scan in scans]
        batch[name] = torch.stack(values) if isinstance(values[0], Tensor) else values
    if batch["fpfh"][0] is None:
        batch["fpfh"] = None
    return Scan(**batch)


def prepare_scan(
    xyz: np.ndarray,
    rgb: np.ndarray | None,
    mask: np.ndarray | None,
    *,
    preparation: ScanPreparation,
    record: ScanRecord,
    foreground: np.ndarray | None = None,
    cache=None,
) -> Scan:
    """Bring one scan to the network's size.

    Args:
        xyz: (h,w,3) float32 metres, (0,0,0) or NaN where there is no measurement.
        rgb: (h,w,3) uint8, or None: the picture is then ImageNet's mean everywhere.
        mask: (h,w) bool ground truth, or None: no pixel is defective.
        foreground: (h,w) bool, the object's measured pixels; found by `find_foreground` where None is given.
        cache: `threedzal.features.cache.ArrayCache` for what is slow (background, FPFH), or None.
    """
    from threedzal.data.background import silhouette
    from threedzal.data.patches import grid_patches

    if rgb is not None and rgb.shape[:2] != xyz.shape[:2]:
        raise UserError(
            f"{record.rgb}: is {rgb.shape[1]}x{rgb.shape[0]} pixels, but {record.xyz} is {xyz.shape[1]}x{xyz.shape[0]}"
        )
    height, width = xyz.shape[:2]
    xyz = np.nan_to_num(xyz, nan=0.0, posinf=0.0, neginf=0.0)
    measured = measured_pixels(xyz)
    if preparation.background == "keep":
        foreground, outline = measured, np.ones_like(measured)
    else:
        foreground, outline = cached_object(xyz, cache) if foreground is None else (foreground, silhouette(foreground))

    fit = partial(resized, size=preparation.image_size, pad=preparation.pad_to_square)
    nearest = preparation.nearest_mode
    valid = fit(torch.from_numpy(foreground & measured)[None].float(), mode=nearest)[0] > 0
    outline = torch.from_numpy(outline)[None].float()
    picture_fit = partial(fit, size=preparation.rgb_size or preparation.image_size)
    picture = _normalise(rgb, picture_fit, picture_fit(outline, mode="nearest-exact")[0] > 0)
    outline = fit(outline, mode="nearest-exact")[0] > 0
    points = fit(torch.from_numpy(xyz).permute(2, 0, 1), mode=nearest) * valid
    truth = torch.zeros(height, width) if mask is None else torch.from_numpy(mask).float()
    patches, cells = grid_patches(points, valid, preparation=preparation)
    return Scan(
        rgb=picture,
        xyz=points,
        valid=valid,
        object=outline,
        mask=fit(truth[None], mode="nearest-exact") > 0,
        label=torch.tensor(record.label),
        patches=patches,
        cells=cells,
        fpfh=cached_fpfh(*_fpfh_points(xyz, foreground & measured, points, valid, preparation), preparation, cache)
        if preparation.fpfh
        else None,
        size=torch.tensor([height, width]),
        record=record,
    )


def _normalise(rgb: np.ndarray | None, fit, outline: Tensor) -> Tensor:
    if rgb is None:
        return torch.zeros(3, *outline.shape)
    picture = torch.from_numpy(np.array(rgb)).permute(2, 0, 1).float() / 255
    mean, std = torch.tensor(IMAGENET_MEAN)[:, None, None], torch.tensor(IMAGENET_STD)[:, None, None]
    # clamped: bicubic overshoots; the padding of a non-square scan is outside the outline, hence ImageNet's mean too
    return (fit(picture, mode="bicubic").clamp(0, 1) - mean) / std * outline


def _fpfh_points(xyz, foreground, points: Tensor, valid: Tensor, preparation: ScanPreparation) -> tuple[Tensor, Tensor]:
    """The points (3,S,S) and their validity (S,S) that FPFH is made of: never more than were measured."""
    if preparation.fpfh_size is None:
        return points, valid
    side = max(xyz.shape[:2]) if preparation.pad_to_square else preparation.fpfh_size
    size, pad = min(side, preparation.fpfh_size), preparation.pad_to_square
    fit = partial(resized, size=size, pad=pad, mode=preparation.nearest_mode)
    inside = fit(torch.from_numpy(foreground)[None].float())[0] > 0
    return fit(torch.from_numpy(xyz).permute(2, 0, 1)) * inside, inside
