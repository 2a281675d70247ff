"""Exact ranking curves from one sort: how many negatives stand above each positive score.

Between two positive scores a threshold changes only the false positives, so the thresholds that matter are the distinct
positive scores. Sorting the negatives once and looking those up gives every curve and area here exactly, ties
included: ROC, precision-recall, F1 and, with weights for the positives, PRO.

torchmetrics' functions are not used for these: they take scores outside [0, 1] for logits and squash them, which makes
distances of 20 and 30 equal in float32.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Ranking:
    """Counts at each distinct positive score, highest first; V of them. A pixel is flagged where score >= threshold.

    thresholds: (V,) the distinct positive scores, descending
    above: (V,) int64, negatives with a higher score
    at_least: (V,) int64, negatives with as high a score or higher
    hits: (V,) int64, positives with as high a score or higher
    gain: (V,) float64, the positives' weights summed down to this score (equals `hits` without weights)
    negatives, positives: how many there are
    """

    thresholds: Tensor
    above: Tensor
    at_least: Tensor
    hits: Tensor
    gain: Tensor
    negatives: int
    positives: int


def sorted_scores(scores: Tensor, *, overwrite: bool = False) -> Tensor:
    """(n,) ascending. On the CPU through NumPy, whose vectorised sort without indices is ten times torch's.

    `overwrite`: nobody else needs `scores`, which spares a copy of all pixels.
    """
    if scores.device.type != "cpu":
        return scores.sort().values
    array = scores.detach().numpy()
    array = array if overwrite else array.copy()
    array.sort()
    return torch.from_numpy(array)


def _descending(scores: Tensor) -> tuple[Tensor, Tensor]:
    """(n,) in descending order, and the order; on the CPU through NumPy, which is several times as fast."""
    if scores.device.type != "cpu":
        return scores.sort(descending=True)
    order = torch.from_numpy(scores.detach().numpy().argsort()[::-1].copy())
    return scores[order], order


def select(values: Tensor, mask: Tensor) -> Tensor:
    """`values[mask]`, flat; on the CPU through NumPy, which is ten times as fast."""
    if values.device.type != "cpu":
        return values[mask]
    return torch.from_numpy(values.detach().numpy()[mask.numpy()])


def rank(negatives: Tensor | Sequence[Tensor], positives: Tensor, weights: Tensor | None = None) -> Ranking:
    """Rank scores.

    Args:
        negatives: (n,) scores in ascending order (`sorted_scores`), or several such: counts of parts add up, so that
            what is sorted once serves every union of parts.
        positives: (m,) scores in any order, same dtype and device.
        weights: (m,) what each positive counts in `gain`; None: 1.
    """
    scores, order = _descending(positives)
    ends = torch.ones(len(scores), dtype=torch.bool, device=scores.device)  # the last of each run of equal scores
    ends[:-1] = scores[1:] != scores[:-1]
    last = ends.nonzero()[:, 0]
    thresholds = scores[last]
    counted = torch.ones_like(scores) if weights is None else weights[order]
    parts = [negatives] if isinstance(negatives, Tensor) else negatives
    total = sum(len(part) for part in parts)
    return Ranking(
        thresholds=thresholds,
        above=total - sum(torch.searchsorted(part, thresholds, right=True) for part in parts),
        at_least=total - sum(torch.searchsorted(part, thresholds) for part in parts),
        hits=last + 1,
        gain=counted.double().cumsum(0)[last],
        negatives=total,
        positives=len(positives),
    )


def curve(ranking: Ranking) -> tuple[Tensor, Tensor]:
    """(False-positive rate, share of the gain) at the curve's corners from (0, 0) to (1, 1): both (2V + 2,) float64.

    With unit weights this is the ROC curve. Between corners it is straight: level where only negatives pass the
    threshold, slanted where positives and negatives are tied.
    """
    if ranking.negatives == 0 or ranking.positives == 0:
        nothing = ranking.gain.new_full((2,), torch.nan)
        return nothing, nothing.clone()
    fpr = torch.stack([ranking.above, ranking.at_least], 1).flatten().double() / ranking.negatives
    share = ranking.gain / ranking.gain[-1]
    before = torch.cat([share.new_zeros(1), share[:-1]])
    tpr = torch.stack([before, share], 1).flatten()
    zero, one = fpr.new_zeros(1), fpr.new_ones(1)
    return torch.cat([zero, fpr, one]), torch.cat([zero, tpr, one])


def area(x: Tensor, y: Tensor, *, limit: float = 1.0) -> Tensor:
    """Area under the corners of a curve from 0 to `limit`, over the limit: 0-d float64; NaN for an empty curve."""
    width = (x[1:].clamp(max=limit) - x[:-1].clamp(max=limit)).clamp(min=0.0)
    run = x[1:] - x[:-1]
    slope = torch.where(run > 0, (y[1:] - y[:-1]) / run.clamp(min=torch.finfo(x.dtype).tiny), 0.0)
    total = (width * (y[:-1] + 0.5 * slope * width)).sum() / limit
    return torch.where(x.isnan().any(), torch.nan, total)


def auroc(ranking: Ranking) -> Tensor:
    """Area under the ROC curve: 0-d float64; NaN where one kind is missing."""
    return area(*curve(ranking))


def average_precision(ranking: Ranking) -> Tensor:
    """`sum_n (R_n - R_{n-1}) P_n` over the distinct thresholds: 0-d float64; NaN where there is no positive."""
    if ranking.positives == 0:
        return ranking.gain.new_tensor(torch.nan)
    precision = ranking.hits.double() / (ranking.hits + ranking.at_least)
    found = torch.diff(ranking.hits, prepend=ranking.hits.new_zeros(1)).double()
    return (found * precision).sum() / ranking.positives


def f1_scores(ranking: Ranking) -> Tensor:
    """F1 at each threshold: (V,) float64. No threshold between positive scores can do better."""
    return 2.0 * ranking.hits.double() / (ranking.hits + ranking.at_least + ranking.positives)


def best_f1(ranking: Ranking) -> Tensor:
    """The best F1 over all thresholds: 0-d float64; NaN where there is no positive."""
    return f1_scores(ranking).max() if ranking.positives else ranking.gain.new_tensor(torch.nan)
