"""What is chosen on validation scans, never on the test class: the weights of eqs. (11) and (12), the threshold."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from torch import Tensor

from threedzal.metrics.aupro import aupro
from threedzal.metrics.ranking import auroc, f1_scores, rank, sorted_scores
from threedzal.scoring import ScoreScales, ScoreWeights
from threedzal.threshold import RateThreshold, threshold_at_rate


@dataclass(frozen=True)
class Calibration:
    """What was measured on validation scans of the classes that may be seen: never on a test class."""

    scales: ScoreScales = ScoreScales()
    weights: ScoreWeights = ScoreWeights()
    threshold: float = float("inf")  # a fused score of a scan from here on is a defect
    map_threshold: float | None = None  # a fused map from here on is unlike 99 % of a good object's pixels
    normal_scores: dict[str, tuple[float, ...]] = field(default_factory=dict)  # fused, of normal scans, by class
    false_positive_rate: float | None = None  # that the threshold was set for; None: best F1 on pseudo anomalies

    @property
    def pooled_scores(self) -> tuple[float, ...]:
        """The normal scores of all classes."""
        return tuple(score for scores in self.normal_scores.values() for score in scores)

    def at_rate(self, rate: float) -> tuple[Calibration, RateThreshold]:
        """The same with its threshold at a false-positive rate, and how sure that is.

        Raises:
            UserError: there are no normal scores (a file fitted by an earlier version).
        """
        found = threshold_at_rate(self.pooled_scores, rate)
        return replace(self, threshold=found.threshold, false_positive_rate=rate), found

    def without_scores(self) -> Calibration:
        """The same without normal scores: those that were kept are of other options."""
        return replace(self, normal_scores={}, false_positive_rate=None)

    def with_weights(self, weights: Sequence[float]) -> Calibration:
        """The same with w_d, w_c given, for maps and object scores alike."""
        return replace(self, weights=ScoreWeights(tuple(weights), tuple(weights)))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, for a checkpoint."""
        weights = {"map": list(self.weights.map), "score": list(self.weights.score)}
        thresholds = {"threshold": self.threshold, "map_threshold": self.map_threshold}
        normal = {"normal_scores": {name: list(scores) for name, scores in self.normal_scores.items()}}
        rate = {"false_positive_rate": self.false_positive_rate}
        return {"scales": asdict(self.scales), "weights": weights, **thresholds, **normal, **rate}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Calibration:
        """The inverse of `to_dict`; earlier files have no normal scores."""
        weights = ScoreWeights(**{name: tuple(pair) for name, pair in values["weights"].items()})
        normal = {name: tuple(scores) for name, scores in values.get("normal_scores", {}).items()}
        thresholds = (values["threshold"], values["map_threshold"])
        return cls(ScoreScales(**values["scales"]), weights, *thresholds, normal, values.get("false_positive_rate"))


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
