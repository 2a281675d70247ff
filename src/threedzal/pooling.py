"""From a classifier's probabilities of the patches to one score of the scan: more than the maximum of eq. (10)."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

Pooling = Literal["max", "top", "contrast", "outlier", "area"]
POOLINGS: tuple[str, ...] = get_args(Pooling)
_TOP = 3
_SMALLEST = 1e-4  # a probability of 0 or 1 has no logit


def pool(probability: Tensor, cells: Tensor, *, how: Pooling) -> Tensor:
    """A score of each scan, higher for a defect; what it means is comparable between scans only.

    `max`: the paper's; `top`: mean of the 3 highest log-odds; `contrast`: that minus the mean log-odds of the scan's
    own object, which removes what a product makes the classifier say everywhere; `outlier`: the contrast in standard
    deviations of the scan's own log-odds; `area`: the share of the object that is judged more abnormal than not, with
    the mean probability to order scans where that is 0.

    Args:
        probability: (B,P) in [0,1]. cells: (B,P) bool, the object's cells.

    Returns:
        (B,) float32; the least a scan can have where it has no object cell.
    """
    if how not in POOLINGS:
        raise ValueError(f"pooling is one of {', '.join(POOLINGS)}, got {how!r}")
    probability = probability.float() * cells
    if how == "max":
        return probability.amax(dim=1)
    count = cells.sum(dim=1).clamp(min=1)
    if how == "area":
        return ((probability > 0.5).sum(dim=1) + probability.sum(dim=1) / count) / count
    odds = torch.logit(probability.clamp(_SMALLEST, 1 - _SMALLEST))  # the lowest outside the cells
    top = odds.topk(min(_TOP, odds.shape[1]), dim=1).values.mean(dim=1)
    if how == "top":
        return top
    mean = (odds * cells).sum(dim=1) / count
    if how == "contrast":
        return top - mean
    spread = (((odds - mean[:, None]) * cells).square().sum(dim=1) / count).sqrt()
    return (top - mean) / (spread + 1e-6)
