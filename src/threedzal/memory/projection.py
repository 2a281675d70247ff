"""Sparse random projection: rows made short enough to be compared by the thousand, distances nearly kept."""

import math

import torch
from torch import Tensor

from threedzal.errors import UserError

EPS = 0.9  # distortion that the coreset allows: 300 numbers for 200 000 rows
CHUNK_ELEMENTS = 1_000_000  # float32 numbers of rows shifted at a time (4 MB)


def projection_dim(rows: int, eps: float) -> int:
    """Dimensions that keep all pairwise distances of `rows` points within `1 +- eps` (Johnson-Lindenstrauss).

    `4 ln(rows) / (eps^2 / 2 - eps^3 / 3)`, cut to an integer: the number that scikit-learn computes.
    """
    return int(4.0 * math.log(rows) / (eps**2 / 2.0 - eps**3 / 3.0))


def sparse_projection(width: int, dim: int, *, generator: torch.Generator) -> Tensor:
    """Very sparse random signs (Li, Hastie and Church 2006): `(width, dim)` float32, density `1 / sqrt(width)`.

    Entries are `+-sqrt(1 / (density * dim))`, so that squared lengths are kept on average.
    """
    density = 1.0 / math.sqrt(width)
    draw = torch.rand(width, dim, generator=generator)
    signs = (draw < density / 2).float() - (draw >= 1.0 - density / 2).float()
    return signs * math.sqrt(1.0 / (density * dim))


def draw_projection(rows: int, width: int, *, generator: torch.Generator, eps: float | None = EPS) -> Tensor | None:
    """The matrix (width, d) for that many rows; None where it would not shorten them (or eps is None)."""
    dim = width if eps is None else projection_dim(rows, eps)
    return sparse_projection(width, dim, generator=generator) if 0 < dim < width else None


def project(rows: Tensor, origin: Tensor, matrix: Tensor | None) -> Tensor:
    """Rows (n,D) -> (n,d) float32, shifted by `origin` (D,) so that products round less (see distances.py).

    Raises:
        UserError: a value is not finite.
    """
    matrix = None if matrix is None else matrix.to(rows.device)
    points = torch.empty(len(rows), rows.shape[1] if matrix is None else matrix.shape[1], device=rows.device)
    step = max(1, CHUNK_ELEMENTS // rows.shape[1])
    for first in range(0, len(rows), step):
        shifted = rows[first : first + step].float() - origin
        short = shifted if matrix is None else shifted @ matrix
        if not torch.isfinite(short).all():
            raise UserError("greedy_coreset: the features hold NaN or infinite values; check the scans they came from.")
        points[first : first + step] = short
    return points
