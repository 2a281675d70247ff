"""The coreset of PatchCore's and BTF's released code, row by row: what its half precision does decides its numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from threedzal.memory.coreset import Coreset, Progress
from threedzal.memory.distances import full_precision

REACH = 1.004  # halves are so near the true numbers, squared: a row farther off than that cannot have come nearer
ROUNDING = 1e-5  # of the largest squared length: what float32 loses in a squared distance by products


@torch.no_grad()
def farthest_first_in_half(features: Tensor, size: int, *, progress: Progress | None = None) -> Coreset:
    """`size` of the rows (N,D), from row 0 on, each the farthest from those before, by distances in half precision.

    The features, their differences and the distances are rounded, which makes thousands of ties; of these the lowest
    row wins. Sums are in float32, as in torch's norm of half tensors. The first distances are of rows not yet rounded.
    Only rows that a choice may have come nearer to are measured; which these are, one matrix product says.
    """
    points = features.half().float()
    squares = points.square().sum(1)
    slack = ROUNDING * float(squares.max())
    distance = torch.linalg.vector_norm(features.float() - features[0].float(), dim=1).half().float()
    chosen, pick = [], 0
    while len(chosen) < size:
        chosen.append(pick)
        distance[pick] = -1.0  # below any distance: no row twice
        with full_precision(points.device):
            about = squares + squares[pick] - 2 * torch.mv(points, points[pick])
        near = (about <= REACH * distance.square() + slack).nonzero()[:, 0]
        apart = (points[near] - points[pick]).half().float().square_().sum(1).sqrt_().half().float()
        distance[near] = torch.minimum(distance[near], apart)
        pick = int(distance.argmax())
        if progress is not None and len(chosen) % 100 == 0:
            progress(len(chosen), size)
    return Coreset(torch.tensor(chosen), max(0.0, float(distance[pick])))
