"""Greedy k-center coreset: the minimax facility location of section 3.3, on a sparse random projection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from threedzal.errors import UserError
from threedzal.memory.distances import full_precision
from threedzal.memory.farthest import PointSet, farthest_first
from threedzal.memory.numbering import Numbering
from threedzal.memory.projection import EPS, draw_projection, project

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Coreset:
    """Rows that were chosen, (M,) int64 numbers in the order of choice, on the CPU, and how well they stand for all.

    `radius`: the L2 distance, after projection, from the row that is farthest from them to the nearest of them.
    """

    chosen: Tensor
    radius: float


def greedy_coreset(
    features: Tensor,
    size: int,
    *,
    seed: int = 0,
    projection_eps: float | None = EPS,
    progress: Progress | None = None,
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
    matrix = draw_projection(len(features), features.shape[1], generator=generator, eps=projection_eps)
    return choose(features, size, start=start, matrix=matrix, progress=progress).chosen.to(features.device)


@torch.no_grad()
def choose(
    features: Tensor, size: int, *, start: int, matrix: Tensor | None, progress: Progress | None = None
) -> Coreset:
    """`size` of the rows (N,D), from row `start` on, each the farthest from those before once `matrix` is applied."""
    device = features.device
    with full_precision(device):
        points = project(features, features[start].float(), matrix)
        whole = PointSet([points], Numbering.alone([len(points)]), width=points.shape[1], device=device)
        return Coreset(*farthest_first(whole, size, start=start, progress=progress))


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
