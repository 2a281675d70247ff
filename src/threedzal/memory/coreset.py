"""Greedy k-center coreset: the minimax facility location of section 3.3, on a sparse random projection."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from threedzal.errors import UserError
from threedzal.memory.distances import full_precision, partial_squared_distances

BLOCK_ROWS = 2048  # candidates that are compared with one another before all rows are brought up to date
CHUNK_ELEMENTS = 8_000_000  # float32 entries of a distance matrix held at a time (32 MB)


def greedy_coreset(
    features: Tensor,
    size: int,
    *,
    seed: int = 0,
    projection_eps: float | None = 0.9,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Choose rows one after the other, each the row farthest from all chosen before (PatchCore's selection).

    The first row is drawn from the seed. Distances are L2 after a sparse random projection to
    `projection_dim(N, eps)` numbers; the projection is skipped where it would not shorten the rows.

    Args:
        features: (N, D) floating point, finite, on any device; the work is done there.
        size: number of rows to choose, 1 to N.
        seed: draws the projection and the first row; the same on every device.
        projection_eps: distortion of the Johnson-Lindenstrauss bound, between 0 and 1; None: no projection.
        progress: called as `progress(chosen, size)` a few times during the selection.

    Returns:
        (size,) int64 distinct row numbers on the features' device, in the order of choice.

    Raises:
        UserError: wrong shape or dtype, a value that is not finite, `size` or `projection_eps` out of range.
    """
    _validate(features, size, projection_eps)
    generator = torch.Generator().manual_seed(seed)  # on the CPU: a GPU must choose the same rows
    start = int(torch.randint(len(features), (1,), generator=generator))
    with torch.no_grad(), full_precision(features.device):
        points = _projected(features, start, projection_eps, generator)
        if not torch.isfinite(points).all():
            raise UserError("greedy_coreset: the features hold NaN or infinite values; check the scans they came from.")
        return _farthest_first(points, size, start=start, progress=progress)


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


def _projected(features: Tensor, start: int, eps: float | None, generator: torch.Generator) -> Tensor:
    """Features (N, D) -> (N, d) float32, d <= D, shifted so that the start row is the origin (see distances.py)."""
    rows, width = features.shape
    dim = width if eps is None else projection_dim(rows, eps)
    origin = features[start].float()
    if not 0 < dim < width:
        return features.float() - origin
    matrix = sparse_projection(width, dim, generator=generator).to(features.device)
    points = torch.empty(rows, dim, device=features.device)
    step = max(1, CHUNK_ELEMENTS // width)
    for first in range(0, rows, step):
        torch.mm(features[first : first + step].float() - origin, matrix, out=points[first : first + step])
    return points


def _farthest_first(points: Tensor, size: int, *, start: int, progress: Callable[[int, int], None] | None) -> Tensor:
    """The greedy choice, exact, in blocks.

    Distances to the chosen set only ever fall, so a row's last known distance bounds its present one from above.
    Take the rows with the largest known distances, choose among them alone for as long as the best is not below the
    largest bound outside, then bring all rows up to date with one matrix product. Equal distances go to the lower row.
    """
    norms = points.square().sum(1)
    distance = _fall(torch.full_like(norms, math.inf), points, norms, [start])
    chosen = [start]
    while len(chosen) < size:
        order = torch.sort(distance, descending=True, stable=True).indices
        rows = order[:BLOCK_ROWS].sort().values
        outside = int(order[BLOCK_ROWS]) if len(order) > BLOCK_ROWS else len(order)
        bound = float(distance[outside]) if outside < len(order) else -math.inf
        block = points[rows]
        pairwise = partial_squared_distances(block, block, norms[rows]).add_(norms[rows, None]).clamp_(min=0.0)
        picks = _choose_in_block(
            distance[rows].cpu().numpy(),
            pairwise.cpu().numpy(),
            rows.cpu().numpy(),
            bound=bound,
            outside=outside,
            budget=size - len(chosen),
        )
        chosen += picks
        distance = _fall(distance, points, norms, picks)
        if progress is not None:
            progress(len(chosen), size)
    return torch.tensor(chosen, dtype=torch.int64, device=points.device)


def _choose_in_block(
    distance: np.ndarray, pairwise: np.ndarray, rows: np.ndarray, *, bound: float, outside: int, budget: int
) -> list[int]:
    """Greedy steps among `rows` (ascending) that no row outside, with squared distance at most `bound`, can beat."""
    distance = distance.copy()
    picks: list[int] = []
    while len(picks) < budget:
        best = int(distance.argmax())
        if distance[best] < bound or (distance[best] == bound and rows[best] > outside):
            break
        picks.append(int(rows[best]))
        np.minimum(distance, pairwise[best], out=distance)
        distance[best] = -1.0
    return picks


def _fall(distance: Tensor, points: Tensor, norms: Tensor, picks: list[int]) -> Tensor:
    """Squared distances (N,) to the chosen set after `picks` joined it; -1 marks the chosen, below any distance."""
    picked = torch.tensor(picks, device=points.device)
    centres, centre_norms = points[picked], norms[picked]
    step = max(1, CHUNK_ELEMENTS // len(picks))
    for first in range(0, len(points), step):
        part = slice(first, first + step)
        nearest = partial_squared_distances(points[part], centres, centre_norms).amin(1)
        distance[part] = torch.minimum(distance[part], nearest.add_(norms[part]).clamp_(min=0.0))
    distance[picked] = -1.0
    return distance


def _validate(features: Tensor, size: int, eps: float | None) -> None:
    if features.ndim != 2 or not features.is_floating_point() or 0 in features.shape:
        raise UserError(
            f"greedy_coreset: got features of shape {tuple(features.shape)} and {features.dtype}; "
            "wanted a floating-point matrix (rows, numbers) with at least one of each."
        )
    if not 1 <= size <= len(features):
        raise UserError(f"greedy_coreset: got size {size} for {len(features)} rows; wanted 1 to {len(features)}.")
    if eps is not None and not 0.0 < eps < 1.0:
        raise UserError(f"greedy_coreset: got projection_eps {eps}; wanted a number between 0 and 1, or None.")
