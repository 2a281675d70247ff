"""From pixels to patches: how every map of a branch comes to the patch grid."""

import torch
import torch.nn.functional as F
from torch import Tensor


def to_grid(maps: Tensor, *, grid: int) -> Tensor:
    """maps (B, C, H, W) -> (B, C, grid, grid): 3x3 average (stride 1), then adaptive average, as BTF resizes.

    **Reading**: the 3x3 average is padded by 1 and counts only pixels inside the picture, so that a cell of the grid
    stays where it is in the picture and its rim is not darkened (BTF's code does not pad, which stretches the map by
    a pixel at each side). A map coarser than the grid is repeated, a finer one averaged.
    """
    with torch.autocast(maps.device.type, enabled=False):  # means keep the precision of what they average
        rows, columns = (_averages(size, grid).to(maps) for size in maps.shape[2:])
        return rows @ (maps @ columns.T)


def _averages(size: int, grid: int) -> Tensor:
    """Both averages along one axis as one matrix (grid, size): two small products are ten times faster than pooling."""
    smooth = F.avg_pool1d(torch.eye(size, dtype=torch.float64), 3, stride=1, padding=1, count_include_pad=False)
    return F.adaptive_avg_pool1d(smooth, grid).T
