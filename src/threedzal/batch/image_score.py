"""One number a scan from its map: what was tried, and what held, is in docs/batch.md."""

from __future__ import annotations

import torch
from torch import Tensor

TOP = 0.005  # of the object's pixels


def top_score(maps: Tensor, object: Tensor, *, share: float = TOP) -> Tensor:
    """Mean of the highest pixels: (B,H,W) maps -> (B,) float32.

    Args:
        object: (B,H,W) bool; `share` is of its pixels, at least one. Which pixels are highest is asked of the whole
            map: the blur carries a defect on the rim over it.
    """
    scores = []
    for values, inside in zip(maps, object, strict=True):
        count = max(1, int(share * int(inside.sum())))
        scores.append(values.flatten().topk(count).values.mean())
    return torch.stack(scores) if scores else maps.new_zeros(0)
