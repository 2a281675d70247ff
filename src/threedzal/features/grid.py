"""From pixels to patches: how every map of a branch comes to the patch grid."""

import torch.nn.functional as F
from torch import Tensor


def to_grid(maps: Tensor, *, grid: int) -> Tensor:
    """maps (B, C, H, W) -> (B, C, grid, grid): 3x3 average (stride 1), then adaptive average, as BTF resizes.

    **Reading**: the 3x3 average is padded by 1 and counts only pixels inside the picture, so that a cell of the grid
    stays where it is in the picture and its rim is not darkened (BTF's code does not pad, which stretches the map by
    a pixel at each side). A map coarser than the grid is repeated, a finer one averaged.
    """
    return F.adaptive_avg_pool2d(F.avg_pool2d(maps, 3, stride=1, padding=1, count_include_pad=False), grid)
