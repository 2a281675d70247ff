"""From pixels to patches: how every map of a branch comes to the patch grid."""

from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from threedzal.banded import banded_product

BLOCK = 32  # cells along an axis: the paper's 28 are one product
Smoothing = Literal["padded", "unpadded"]


def to_grid(maps: Tensor, *, grid: int, smoothing: Smoothing = "padded") -> Tensor:
    """maps (B, C, H, W) -> (B, C, grid, grid): 3x3 average (stride 1), then adaptive average, as BTF resizes.

    **Reading**: the 3x3 average is padded by 1 and counts only pixels inside the picture, so that a cell of the grid
    stays where it is in the picture and its rim is not darkened. `unpadded` is BTF's released code, which loses a pixel
    at each side and so stretches the map. A map coarser than the grid is repeated, a finer one averaged.
    """
    with torch.autocast(maps.device.type, enabled=False):  # means keep the precision of what they average
        rows, columns = (_averages(size, grid, smoothing) for size in maps.shape[2:])
        maps = banded_product(columns, maps, dim=-1, block=BLOCK)
        return banded_product(rows, maps, dim=-2, block=BLOCK)


def as_patches(maps: Tensor) -> Tensor:
    """(B, C, grid, grid) -> (B, P, C), the grid's cells in row-major order."""
    return maps.flatten(2).transpose(1, 2)


@lru_cache(maxsize=32)
def _averages(size: int, grid: int, smoothing: Smoothing) -> Tensor:
    """Both averages along one axis as one matrix (grid, size): two small products are ten times faster than pooling."""
    padding = 1 if smoothing == "padded" else 0
    with torch.inference_mode(False):
        each = torch.eye(size, dtype=torch.float64)
        smooth = F.avg_pool1d(each, 3, stride=1, padding=padding, count_include_pad=False)
        return F.adaptive_avg_pool1d(smooth, grid).T
