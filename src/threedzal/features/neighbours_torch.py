"""The search of `neighbours.py` in torch, for a GPU: windows with the same proof, all distances for the rest."""

import torch
import torch.nn.functional as F
from torch import Tensor

from threedzal.features.window_proof import distance_beyond

WINDOW = 7  # pixels each way
POINTS_AT_ONCE = 16_384  # their candidates in windows: 30 MB an axis
DISTANCES_AT_ONCE = 2**25  # between points without proof and all others: 268 MB


def nearest_on_grid(xyz: Tensor, valid: Tensor, *, count: int) -> tuple[Tensor, Tensor]:
    """Arguments and result of `neighbours.nearest_neighbours`, on any device."""
    points = xyz[:, valid].T.contiguous()  # [N, 3]
    rows = points.new_zeros(len(points), count, dtype=torch.int64)
    squared = points.new_full((len(points), count), torch.inf)
    unproved = torch.ones(len(points), dtype=torch.bool, device=xyz.device)
    window = WINDOW
    if min(len(points) - 1, (2 * window + 1) ** 2 - 1) >= count > 0 and bool((points[:, 2] > 0).all()):
        number = F.pad((valid.flatten().cumsum(0).view(valid.shape) - 1) * valid, [window] * 4).flatten()
        axes = F.pad(torch.where(valid, xyz, torch.inf), [window] * 4, value=torch.inf).flatten(1)
        pixel_row, pixel_column = valid.nonzero(as_tuple=True)
        stride = valid.shape[1] + 2 * window
        home = (pixel_row + window) * stride + pixel_column + window
        steps = torch.arange(-window, window + 1, device=xyz.device)
        offsets = (steps[:, None] * stride + steps).flatten()
        bound = distance_beyond(points, pixel_row, pixel_column, size=tuple(valid.shape), window=window)
        for start in range(0, len(points), POINTS_AT_ONCE):
            part = slice(start, start + POINTS_AT_ONCE)
            candidates = home[part, None] + offsets
            distances = sum(
                (axis[candidates] - here[:, None]).square_() for axis, here in zip(axes, points[part].T, strict=True)
            )
            distances[:, len(offsets) // 2] = torch.inf  # the point itself
            squared[part], columns = distances.topk(count, largest=False, sorted=False)
            rows[part] = number[candidates.gather(1, columns)]
            unproved[part] = ~(squared[part].amax(1) <= bound[part] ** 2)
    pending = unproved.nonzero()[:, 0]
    rows[pending], squared[pending] = _among_all(points, pending, count=count)
    return rows, squared


def _among_all(points: Tensor, pending: Tensor, *, count: int) -> tuple[Tensor, Tensor]:
    k = min(count, max(len(points) - 1, 0))
    rows = points.new_zeros(len(pending), count, dtype=torch.int64)
    squared = points.new_full((len(pending), count), torch.inf)
    step = max(1, DISTANCES_AT_ONCE // max(1, len(points)))
    for start in range(0, len(pending) if k else 0, step):
        chunk = slice(start, start + step)
        block = pending[chunk]
        distances = sum((points[block, axis, None] - points[:, axis]).square_() for axis in range(3))
        distances.scatter_(1, block[:, None], torch.inf)
        squared[chunk, :k], rows[chunk, :k] = distances.topk(k, largest=False, sorted=False)
    return rows, squared
