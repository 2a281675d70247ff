"""What is chosen on validation scans, never on the test class: the weights of eqs. (11) and (12), the threshold."""

import math
from collections.abc import Callable, Sequence

from torch import Tensor

from threedzal.metrics.aupro import aupro
from threedzal.metrics.ranking import auroc, f1_scores, rank, sorted_scores


def choose_weights(
    distance: Tensor,
    classification: Tensor,
    criterion: Callable[[Tensor], Tensor | float],
    *,
    shares: Sequence[float] = tuple(i / 10 for i in range(11)),
    tolerance: float = 1e-6,
) -> tuple[float, float]:
    """The pair `(w_d, w_c)`, of sum 2, whose fused score is best on pseudo-anomalous validation scans.

    Args:
        distance, classification: scaled maps or scaled object scores, any common shape.
        criterion: what a fused score is worth, higher better (`map_criterion`, `score_criterion`); NaN is worst.
        shares: candidates for `w_d / (w_d + w_c)`.
        tolerance: criteria this close are equal; among equals the weights nearest to each other win.

    Returns:
        (w_d, w_c); (1, 1) where no candidate has a criterion.
    """
    worth = {share: float(criterion(share * distance + (1.0 - share) * classification)) for share in shares}
    worth = {share: value for share, value in worth.items() if not math.isnan(value)}
    if not worth:
        return 1.0, 1.0
    best = max(worth.values())
    share = min((s for s, value in worth.items() if value >= best - tolerance), key=lambda s: abs(s - 0.5))
    return 2.0 * share, 2.0 * (1.0 - share)


def map_criterion(target: Tensor, roi: Tensor, *, max_fpr: float = 0.3) -> Callable[[Tensor], Tensor]:
    """Object-only AUPRO against truth (B, H, W), with the object's pixels (B, H, W) bool, for `choose_weights`."""
    return lambda maps: aupro(maps, target, max_fpr, roi=roi)


def score_criterion(labels: Tensor) -> Callable[[Tensor], Tensor]:
    """Image AUROC against labels (B,), non-zero where defective, for `choose_weights`."""
    defective = labels.ne(0)
    return lambda scores: auroc(rank(sorted_scores(scores[~defective]), scores[defective]))


def best_f1_threshold(scores: Tensor, labels: Tensor) -> tuple[float, float]:
    """The threshold with the best F1 of `score >= threshold`, and that F1.

    It stands midway between the lowest score it flags and the highest it lets pass, so that neither is on the edge.

    Args:
        scores: (n,). labels: (n,), non-zero where defective.

    Raises:
        ValueError: no defective scan.
    """
    defective = labels.ne(0)
    if not defective.any():
        raise ValueError("best_f1_threshold: got no defective scan; a threshold needs at least one.")
    ranking = rank(sorted_scores(scores[~defective]), scores[defective])
    f1 = f1_scores(ranking)
    best = int(f1.argmax())
    lowest = ranking.thresholds[best].item()
    passed = scores[scores < lowest]
    return (lowest + passed.max().item()) / 2 if len(passed) else lowest, f1[best].item()
