"""From values of grid cells to maps of pixels, eqs. (7) and (10): resize and blur; and two maps that know no defect.

Shapes: B scans, P = G * G grid cells in row-major order, H x W pixels a map.
"""

import math
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from threedzal.banded import banded_product
from threedzal.memory.distances import full_precision

BLOCK = 256  # pixels along an axis that are blurred at a time: the paper's 224 are one product


def realign(
    values: Tensor, *, size: tuple[int, int], sigma: float = 4.0, precision: Literal["float", "8bit"] = "float"
) -> Tensor:
    """`B(R(box(values)))` of eqs. (7) and (10): (B, P) cell values -> bilinear resize -> Gaussian blur: (B, H, W).

    `precision` 8bit is BTF's released code: see `blur_in_8_bits`.
    """
    grid = math.isqrt(values.shape[1])
    if grid * grid != values.shape[1]:
        raise ValueError(f"realign: got {values.shape[1]} cells a scan; wanted a square number.")
    tiles = values.view(-1, 1, grid, grid)
    maps = F.interpolate(tiles, size=size, mode="bilinear", align_corners=False)[:, 0]
    return blur_in_8_bits(maps, radius=sigma) if precision == "8bit" else gaussian_blur(maps, sigma=sigma)


def gaussian_blur(maps: Tensor, *, sigma: float = 4.0) -> Tensor:
    """Blur (B, H, W) floating-point maps; the kernel is cut at 4 sigma, edges mirror (`d c b a | a b c d | d c b a`).

    As a product with one matrix a side: the numbers of `scipy.ndimage.gaussian_filter` in float, on any device.
    """
    if sigma == 0:
        return maps
    rows, columns = (_blur_matrix(length, sigma) for length in maps.shape[1:])
    with full_precision(maps.device):
        maps = banded_product(rows, maps, dim=-2, block=BLOCK)
        return banded_product(columns, maps, dim=-1, block=BLOCK)


def blur_in_8_bits(maps: Tensor, *, radius: float = 4.0) -> Tensor:
    """Blur maps (B, H, W), not negative, as pictures: each in 256 steps of its maximum, by Pillow's three box blurs.

    What PatchCore's and BTF's released code does; it moves a map by up to half a percent of its maximum.
    """
    from PIL import Image, ImageFilter

    kernel, peaks = ImageFilter.GaussianBlur(radius), maps.amax(dim=(1, 2), keepdim=True)
    steps = (255 * maps / peaks.where(peaks > 0, 1.0)).byte().cpu().numpy()  # rounded down
    blurred = [np.asarray(Image.fromarray(picture).filter(kernel)) for picture in steps]
    return torch.from_numpy(np.stack(blurred)).to(maps) / 255 * peaks if len(maps) else maps


def foreground_map(cells: Tensor, *, size: tuple[int, int], sigma: float = 4.0) -> Tensor:
    """The floor of every table: 1 on the object's cells (B, P), 0 elsewhere, through the same resize and blur.

    In float64 on the way, so that what is 1 is 1 exactly. Float32 leaves 1e-7 between equal pixels, always in the same
    places: a ranking that knows where on an object defects tend to lie.
    """
    return realign(cells.double(), size=size, sigma=sigma).float()


def rim_weight(object: Tensor, *, sigma: float) -> Tensor:
    """How much of a pixel's surroundings is object: the silhouette (B, H, W) bool, blurred, in [0, 1].

    A cell at the rim sees the background too, and a product never seen has a rim never seen: distance and classifier
    are both high there, while defects seldom lie there. Not in the paper.
    """
    return gaussian_blur(object.float(), sigma=sigma)


@lru_cache(maxsize=16)
def _blur_matrix(length: int, sigma: float) -> Tensor:
    """(length, length) float64: row i holds the kernel around i, what falls off the edge mirrored back."""
    radius = int(4.0 * sigma + 0.5)
    with torch.inference_mode(False):
        offset = torch.arange(-radius, radius + 1)
        kernel = torch.exp(-0.5 * (offset.double() / sigma) ** 2)
        at = (torch.arange(length)[:, None] + offset) % (2 * length)  # the mirrored line repeats every 2 * length
        at = torch.where(at < length, at, 2 * length - 1 - at)
        matrix = torch.zeros(length, length, dtype=torch.float64)
        return matrix.scatter_add_(1, at, (kernel / kernel.sum()).expand(length, -1))
