"""From a classifier's probabilities of the patches to a map's values and one score of the scan, beyond eq. (10)."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

Pooling = Literal["max", "top", "contrast", "outlier", "area", "tail", "peak", "peaks"]
POOLINGS: tuple[str, ...] = get_args(Pooling)
_TOP = 3
_SMALLEST = 1e-4  # a probability of 0 or 1 has no logit
_PEAK_SHARES = {"peak": (0.05,), "peaks": (0.02, 0.05, 0.1, 0.2)}  # of the object's cells
_TAIL = (0.8, 0.97)  # between these quantiles a scan's own values tell how fast its tail falls
_LEAST_FALL = 0.3  # log-odds: a tail that falls faster is not told from one that falls so


def excess(probability: Tensor, cells: Tensor) -> Tensor:
    """Log-odds above the scan's own median: (B,P) in [0,1], (B,P) bool of the object -> (B,P), at least 0.

    What a product makes the classifier say of all its patches is gone; 0 on the background and on half of the object,
    so that the blur of a map draws no step at the object's rim.
    """
    above = torch.zeros_like(probability, dtype=torch.float32)
    for row, values, inside in zip(above, _log_odds(probability.float()), cells, strict=True):
        if inside.any():
            row[inside] = (values[inside] - values[inside].median()).clamp(min=0)
    return above


def pool(probability: Tensor, cells: Tensor, *, how: Pooling) -> Tensor:
    """A score of each scan, higher for a defect; what it means is comparable between scans only.

    - `max`: the paper's.
    - `top`: mean of the 3 highest log-odds.
    - `contrast`: that minus the mean log-odds of the scan's own object.
    - `outlier`: the contrast in standard deviations of the scan's own log-odds.
    - `area`: the share of the object that is judged more abnormal than not, with the mean probability to order scans
      where that is 0.
    - `tail`: the 3 highest log-odds in units of the fall of the scan's own tail (the mean excess over its 80 %
      quantile, as of an exponential tail): extreme-value statistics.
    - `peak`: mean of the highest 5 % of the object's `excess`: not so few that one corner of a good part decides.
    - `peaks`: the mean of that for 2, 5, 10 and 20 %, for defects are small and large.

    Args:
        probability: (B,P) in [0,1]. cells: (B,P) bool, the object's.

    Returns:
        (B,) float32; the least a scan can have where it has no object cell.
    """
    if how not in POOLINGS:
        raise ValueError(f"pooling is one of {', '.join(POOLINGS)}, got {how!r}")
    probability = probability.float() * cells
    if how == "max":
        return probability.amax(dim=1)
    if how in _PEAK_SHARES:
        return _highest(excess(probability, cells), cells, _PEAK_SHARES[how])
    count = cells.sum(dim=1).clamp(min=1)
    if how == "area":
        return ((probability > 0.5).sum(dim=1) + probability.sum(dim=1) / count) / count
    odds = _log_odds(probability)  # the lowest outside the cells
    top = odds.topk(min(_TOP, odds.shape[1]), dim=1).values.mean(dim=1)
    if how == "top":
        return top
    if how == "tail":
        return _beyond_tail(odds, cells, top)
    mean = (odds * cells).sum(dim=1) / count
    if how == "contrast":
        return top - mean
    spread = (((odds - mean[:, None]) * cells).square().sum(dim=1) / count).sqrt()
    return (top - mean) / (spread + 1e-6)


def _log_odds(probability: Tensor) -> Tensor:
    return torch.logit(probability.clamp(_SMALLEST, 1 - _SMALLEST))


def _highest(values: Tensor, cells: Tensor, shares: tuple[float, ...]) -> Tensor:
    """(B,): the mean of the highest `shares` of a scan's cells, at least one, and the mean of these means."""
    scores = torch.zeros_like(values[:, 0])
    for i, (row, inside) in enumerate(zip(values, cells, strict=True)):
        own = row[inside].sort(descending=True).values
        if len(own):
            scores[i] = torch.stack([own[: max(1, int(share * len(own)))].mean() for share in shares]).mean()
    return scores


def _beyond_tail(odds: Tensor, cells: Tensor, top: Tensor) -> Tensor:
    scores = torch.zeros_like(top)
    for i, (values, inside) in enumerate(zip(odds, cells, strict=True)):
        own = values[inside].sort().values
        if len(own):
            low, high = (min(int(share * len(own)), len(own) - 1) for share in _TAIL)
            fall = (own[low : high + 1] - own[low]).mean()
            scores[i] = (top[i] - own[low]) / (fall + _LEAST_FALL)
    return scores
