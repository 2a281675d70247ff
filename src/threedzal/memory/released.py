"""The coreset of PatchCore's and BTF's released code, row by row: what its half precision does decides its numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from threedzal.memory.coreset import Coreset, Progress

CHUNK_ELEMENTS = 262_144  # 1 MB: what is worked on stays in the cache


@torch.no_grad()
def farthest_first_in_half(features: Tensor, size: int, *, progress: Progress | None = None) -> Coreset:
    """`size` of the rows (N,D), from row 0 on, each the farthest from those before, by distances in half precision.

    The features, their differences and the distances are rounded, which makes thousands of ties; of these the lowest
    row wins. Sums are in float32, as in torch's norm of half tensors. The first distances are of rows not yet rounded.
    """
    columns = features.half().float().T.contiguous()  # [D, N]
    distance = torch.linalg.vector_norm(features.float() - features[0].float(), dim=1).half().float()
    step, chosen, pick = max(1, CHUNK_ELEMENTS // len(columns)), [], 0
    while len(chosen) < size:
        chosen.append(pick)
        distance[pick] = -1.0  # below any distance: no row twice
        picked = columns[:, pick, None]
        for part, known in zip(columns.split(step, dim=1), distance.split(step), strict=True):
            apart = (part - picked).half().float().square_().sum(0).sqrt_().half().float()
            torch.minimum(known, apart, out=known)
        pick = int(distance.argmax())
        if progress is not None and len(chosen) % 100 == 0:
            progress(len(chosen), size)
    return Coreset(torch.tensor(chosen), max(0.0, float(distance[pick])))
