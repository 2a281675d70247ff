"""What is slow to find out about a scan, computed once for the same points where there is a cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from threedzal.data.scan import ScanPreparation


def cached_object(xyz: np.ndarray, cache) -> tuple[np.ndarray, np.ndarray]:
    """(h,w,3) float32 -> `find_foreground` and the `silhouette` of it, (h,w) bool each, computed once for the same
    points where there is a cache."""
    from threedzal.data.background import find_foreground, silhouette

    def compute() -> dict[str, np.ndarray]:
        foreground = find_foreground(xyz)
        return {"bits": np.packbits(foreground), "outline": np.packbits(silhouette(foreground))}

    if cache is None:
        stored = compute()
    else:
        from threedzal.features.cache import digest

        stored = cache.get_or_compute(digest("foreground 3", xyz), compute)
    bits = (np.unpackbits(stored[name], count=xyz.shape[0] * xyz.shape[1]) for name in ("bits", "outline"))
    return tuple(bit.reshape(xyz.shape[:2]).astype(bool) for bit in bits)


def cached_foreground(xyz: np.ndarray, cache) -> np.ndarray:
    """(h,w,3) float32 -> (h,w) bool, the former of `cached_object`."""
    return cached_object(xyz, cache)[0]


def cached_fpfh(points: Tensor, valid: Tensor, preparation: ScanPreparation, cache) -> Tensor:
    """Points (3,S,S), valid (S,S) -> (33,G,G): FPFH on the grid, computed once for the same points where a cache is."""
    options = {
        "backend": preparation.fpfh_backend,
        "normals": preparation.normals,
        "radius": preparation.fpfh_radius,
        "neighbours": preparation.fpfh_neighbours,
        "normal_radius": preparation.normal_radius,
        "normal_neighbours": preparation.normal_neighbours,
    }

    def compute() -> dict[str, np.ndarray]:
        from threedzal.features import fpfh, fpfh_grid

        maps = fpfh(points[None], valid[None], **options)
        return {"fpfh": fpfh_grid(maps, grid=preparation.grid, smoothing=preparation.smoothing)[0].numpy()}

    if cache is None:
        return torch.from_numpy(compute()["fpfh"])
    from threedzal.features.cache import digest

    key = digest("fpfh", preparation.grid, preparation.smoothing, repr(sorted(options.items())), points.numpy())
    return torch.from_numpy(cache.get_or_compute(key, compute)["fpfh"])
