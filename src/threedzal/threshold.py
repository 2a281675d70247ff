"""A threshold at a chosen false-positive rate, from the scores of normal scans alone; assumes nothing of their shape.

Order statistics: above the k-th lowest of n scores of exchangeable scans lies a new one with a probability that is
Beta(n + 1 - k, k) distributed over the draws of these n (David and Nagaraja, Order Statistics, 2003, section 2.1). Its
mean, (n + 1 - k) / (n + 1), is kept at or below the chosen rate: what a new normal scan is flagged with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from threedzal.errors import UserError


@dataclass(frozen=True)
class RateThreshold:
    """A threshold for `score >= threshold` and how sure it is."""

    threshold: float
    rate: float  # the false-positive rate that was asked for
    scans: int  # normal scans that it was set on
    flagged: int  # of them
    confidence: float
    rate_interval: tuple[float, float]  # in which the rate of new normal scans lies
    threshold_interval: tuple[float, float]  # in which the exact threshold lies; infinite where the scans cannot say

    @property
    def enough(self) -> bool:
        """Whether there are scans enough for the rate."""
        return self.scans >= scans_needed(self.rate)

    def __str__(self) -> str:
        """One sentence for whoever runs the plant."""
        sure = f"with {self.confidence:.0%} confidence"
        if not self.enough:
            return (
                f"{self.scans} normal scans are too few for a false-positive rate of {self.rate:.3g}, which takes at "
                f"least {scans_needed(self.rate)}: the threshold {self.threshold:.4g} stands just above the highest of "
                f"them, and {sure} it flags up to {self.rate_interval[1]:.1%} of good scans like these"
            )
        low, high = self.threshold_interval
        between = f"at least {low:.4g}" if math.isinf(high) else f"{low:.4g} to {high:.4g}"
        between = f"at most {high:.4g}" if math.isinf(low) and math.isfinite(high) else between
        return (
            f"threshold {self.threshold:.4g} for a false-positive rate of {self.rate:.3g}, set on {self.scans} normal "
            f"scans, {self.flagged} of them above it: {sure} it flags {self.rate_interval[0]:.1%} to "
            f"{self.rate_interval[1]:.1%} of good scans like these; the exact threshold is {between}"
        )


def scans_needed(rate: float) -> int:
    """How many normal scans a threshold at this false-positive rate takes: 99 for 1 %, 19 for 5 %."""
    return math.ceil(1 / rate - 1e-9) - 1


def threshold_at_rate(scores: Sequence[float], rate: float, *, confidence: float = 0.95) -> RateThreshold:
    """The lowest threshold that flags a new normal scan with a probability of at most `rate`.

    Where there are too few scores for that, the threshold stands just above the highest (`enough` is False).

    Args:
        scores: of n normal scans, float32 values.
        rate: between 0 and 1.

    Raises:
        UserError: no score, or a rate that is none.
    """
    from scipy.stats import beta, quantile_test

    if not 0 < rate < 1:
        raise UserError(f"the false-positive rate is {rate}, but wanted a share of the good scans, above 0 and below 1")
    if len(scores) == 0:
        raise UserError(
            "there are no scores of normal scans to set a threshold at a false-positive rate on: the file was fitted "
            "before these were kept, or options of memory_bank were given that change scores"
        )
    ordered = np.sort(np.asarray(scores, dtype=np.float32))
    n = len(ordered)
    flagged = min(n - 1, max(0, math.floor(rate * (n + 1) + 1e-9) - 1))
    threshold = float(np.nextafter(ordered[n - 1 - flagged], np.float32(np.inf)))
    tail = (1 - confidence) / 2
    rates = beta(flagged + 1, n - flagged).ppf([tail, 1 - tail])
    exact = quantile_test(ordered, p=1 - rate).confidence_interval(confidence)
    low, high = (
        float(bound) if np.isfinite(bound) else none
        for bound, none in zip((exact.low, exact.high), (-math.inf, math.inf), strict=True)
    )
    return RateThreshold(
        threshold, rate, n, int((ordered >= threshold).sum()), confidence, tuple(map(float, rates)), (low, high)
    )


def percentile_of(score: float, scores: Sequence[float]) -> float | None:
    """Percent of the normal scores that are below this one; None where there are none to compare with."""
    return 100.0 * float(np.mean(np.asarray(scores) < score)) if len(scores) else None
