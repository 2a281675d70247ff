"""Proof that the nearest neighbours of a pixel's point lie in a window of pixels around it."""

import torch
from torch import Tensor


def distance_beyond(
    points: Tensor,
    pixel_row: Tensor,
    pixel_column: Tensor,
    *,
    size: tuple[int, int],
    window: int,
    of: Tensor | None = None,
) -> Tensor:
    """For each point, or each of the rows `of`, a lower bound of its distance to all points outside its window.

    points (N, 3) float64 with z > 0, at pixel_row and pixel_column (N,) int64 of a grid of `size`; on any device.
    """
    across = _beyond(points[:, 0], points[:, 2], pixel_column, size=size[1], window=window, of=of)
    along = _beyond(points[:, 1], points[:, 2], pixel_row, size=size[0], window=window, of=of)
    return torch.minimum(across, along) * (1 - 1e-9)  # rounding must not make a proof


def _beyond(x: Tensor, z: Tensor, position: Tensor, *, size: int, window: int, of: Tensor | None) -> Tensor:
    """The same along one axis of the grid: x (or y) and z (N,), position (N,) their column (or row) of `size`.

    Points from some column on have slopes x/z in an interval, hence lie between two planes through the camera, whatever
    its calibration.
    """
    slope = x / z
    low = slope.new_full((size,), torch.inf).scatter_reduce_(0, position, slope, "amin")
    high = slope.new_full((size,), -torch.inf).scatter_reduce_(0, position, slope, "amax")
    if of is not None:
        x, z, position = x[of], z[of], position[of]
    nothing = slope.new_full((window + 1,), torch.inf)  # no point lies beyond the rim of the grid
    after = (
        torch.cat([low.flip(0).cummin(0).values.flip(0), nothing])[position + window + 1],
        torch.cat([high.flip(0).cummax(0).values.flip(0), -nothing])[position + window + 1],
    )
    before = (
        torch.cat([nothing, low.cummin(0).values])[position],
        torch.cat([-nothing, high.cummax(0).values])[position],
    )
    bounds = []
    for low, high in (after, before):
        empty = low.isinf()
        low, high = low.masked_fill(empty, 0), high.masked_fill(empty, 0)
        under = (low * z - x) / (1 + low * low).sqrt()
        over = (x - high * z) / (1 + high * high).sqrt()
        bounds.append(torch.maximum(under, over).clamp(min=0).masked_fill(empty, torch.inf))
    return torch.minimum(*bounds)
