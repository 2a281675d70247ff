"""What geometry alone shows of a patch: relief at several scales, bending, gaps; and a picture of the normals.

All of it is relative to the scan's own smooth surface, so that pose and product matter little. Plain torch, any device.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from threedzal.maps import gaussian_blur

SCALES = (0.7, 1.5, 3.0, 6.0, 12.0)  # sigmas in pixels of a scan of 224 a side; others in proportion
NORMAL_SIGMA, AROUND_SIGMA = 1.5, 4.0
RELIEF_WIDTH = 2 * 6 + 5 + 4  # numbers a cell
_REFERENCE_SIDE = 224
_NO_WEIGHT = 1e-3


def relief_features(xyz: Tensor, valid: Tensor, object: Tensor, *, grid: int) -> Tensor:
    """Numbers of the surface in every grid cell.

    The distance from the camera is band-passed at four scales (millimetres); `bending` is how far a normal is from the
    mean normal around it; `gap` is object without a measurement. Of each cell: means, mean magnitudes, and the largest
    (bands, bending) and smallest values (bands).

    Args:
        xyz: (B,3,H,W) metres, 0 where not valid. valid, object: (B,H,W) bool. grid: cells along a side.

    Returns:
        (B,21,grid,grid) float32, not normalised.
    """
    unit = xyz.shape[-1] / _REFERENCE_SIDE
    distance = 1000 * xyz.norm(dim=1)  # [B,H,W]
    measured = valid & object
    # from the scan's own mean on, so that float32 is exact to micrometres
    middle = (distance * measured).sum(dim=(1, 2), keepdim=True) / measured.sum(dim=(1, 2), keepdim=True).clamp(min=1)
    levels = _levels(((distance - middle) * measured)[:, None], measured, [unit * s for s in SCALES])
    bands = torch.cat([fine - coarse for fine, coarse in zip(levels[:-1], levels[1:], strict=True)], 1)  # [B,4,H,W]
    normals = surface_normals(xyz, valid, object)
    around = _levels(normals, object, [AROUND_SIGMA * unit])[0]
    bending = (normals - around).norm(dim=1, keepdim=True)
    gap = (object & ~valid)[:, None].float()
    maps = torch.cat([bands, bending, gap], 1) * object[:, None]  # [B,6,H,W]
    mean = F.adaptive_avg_pool2d(maps, grid)
    size = F.adaptive_avg_pool2d(maps.abs(), grid)
    highest = F.adaptive_max_pool2d(maps[:, :5], grid)
    lowest = -F.adaptive_max_pool2d(-maps[:, :4], grid)
    return torch.cat([mean, size, highest, lowest], 1)


def surface_normals(xyz: Tensor, valid: Tensor, object: Tensor) -> Tensor:
    """Unit normals (B,3,H,W) of the smoothed surface, towards the camera; 0 outside `object (B,H,W)` bool.

    A picture of the surface that no light has part in: what a frozen image network can look at.
    """
    unit, measured = xyz.shape[-1] / _REFERENCE_SIDE, valid & object
    points = _levels(xyz * measured[:, None], measured, [NORMAL_SIGMA * unit])[0]
    rows, columns = torch.gradient(points, dim=(2, 3))
    normals = F.normalize(torch.linalg.cross(rows, columns, dim=1), dim=1, eps=1e-20)
    outwards = (normals * points).sum(dim=1, keepdim=True) > 0
    return torch.where(outwards, -normals, normals) * object[:, None]


def _levels(maps: Tensor, known: Tensor, sigmas: list[float]) -> list[Tensor]:
    """maps (B,C,H,W), 0 where not known (B,H,W): the mean of what is known around each pixel, at every sigma.

    A pixel with nothing known near takes the next coarser level's mean.
    """
    batch, channels = maps.shape[:2]
    levels: list[Tensor] = []
    for sigma in sorted(sigmas, reverse=True):
        weight = gaussian_blur(known.float(), sigma=sigma)[:, None]
        total = gaussian_blur(maps.flatten(0, 1), sigma=sigma).view(batch, channels, *maps.shape[2:])
        mean = total / weight.clamp(min=_NO_WEIGHT)
        levels.insert(0, torch.where(weight > _NO_WEIGHT, mean, levels[0]) if levels else mean)
    return levels
