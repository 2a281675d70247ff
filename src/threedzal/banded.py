"""Averages and blurs along an axis of a picture, as products with a matrix of few numbers a row."""

import torch
from torch import Tensor


def banded_product(matrix: Tensor, maps: Tensor, *, dim: int, block: int) -> Tensor:
    """Multiply along one axis of maps (..., H, W), -2 or -1, whose n values become as many as the matrix has rows.

    `block` rows of the matrix (m, n), on the CPU, are multiplied at a time, with the columns that they use. One dense
    product is as fast for small pictures, but grows with the cube of their side.
    """
    parts = []
    for rows in matrix.split(block):
        used = rows.any(0).nonzero()[:, 0]
        first, count = int(used[0]), int(used[-1] - used[0]) + 1
        band, part = rows.narrow(1, first, count).to(maps), maps.narrow(dim, first, count)
        parts.append(band @ part if dim == -2 else part @ band.T)
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)
