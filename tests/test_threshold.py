"""Thresholds at a false-positive rate, against simulation, scipy's exact intervals and the definition."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from threedzal.errors import UserError
from threedzal.threshold import percentile_of, scans_needed, threshold_at_rate


@pytest.mark.parametrize(("scans", "rate"), [(19, 0.05), (60, 0.05), (60, 0.1), (200, 0.01), (37, 0.2)])
def test_new_normal_scans_are_flagged_at_most_at_the_rate(scans, rate):
    rng = np.random.default_rng(0)
    thresholds = [threshold_at_rate(rng.normal(size=scans), rate).threshold for _ in range(1000)]
    flagged = norm.sf(thresholds)
    assert flagged.mean() < rate * 1.05 + 0.001
    assert flagged.mean() > rate - 1.2 / (scans + 1)  # and no lower than the next order statistic allows


@pytest.mark.parametrize(("scans", "rate"), [(60, 0.05), (60, 0.2), (10, 0.05)])
def test_the_interval_holds_the_true_rate_as_often_as_it_says(scans, rate):
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(1500):
        found = threshold_at_rate(rng.normal(size=scans), rate)
        inside += found.rate_interval[0] <= norm.sf(found.threshold) <= found.rate_interval[1]
    assert inside / 1500 == pytest.approx(0.95, abs=0.02)


def test_the_interval_of_the_threshold_holds_the_true_quantile():
    rng = np.random.default_rng(2)
    found = [threshold_at_rate(rng.normal(size=200), 0.05) for _ in range(500)]
    inside = [f.threshold_interval[0] <= norm.isf(0.05) <= f.threshold_interval[1] for f in found]
    assert np.mean(inside) > 0.94  # order statistics are discrete: 95 % at least, but for chance


def test_the_upper_end_is_clopper_pearson_s():
    found = threshold_at_rate(np.arange(60), 0.1)
    assert found.flagged == (np.arange(60) >= found.threshold).sum() == 5
    exact = binomtest(found.flagged, 60).proportion_ci(0.95, method="exact")
    assert found.rate_interval[1] == pytest.approx(exact.high)
    assert found.rate_interval[0] >= exact.low


@pytest.mark.parametrize(("rate", "needed"), [(0.01, 99), (0.05, 19), (0.1, 9), (0.3, 3)])
def test_too_few_scans_are_said_in_one_sentence(rate, needed):
    assert scans_needed(rate) == needed
    scores = np.linspace(1, 2, needed - 1)
    few, enough = threshold_at_rate(scores, rate), threshold_at_rate(np.linspace(1, 2, needed), rate)
    assert not few.enough and enough.enough
    assert few.flagged == 0 and few.threshold == pytest.approx(2) and few.threshold > np.float32(2)
    text = str(few)
    assert text.startswith(f"{needed - 1} normal scans are too few") and f"at least {needed}" in text
    assert "\n" not in text and "too few" not in str(enough)


def test_scores_on_the_threshold_are_flagged_and_the_highest_good_one_is_not():
    found = threshold_at_rate([np.float32(0.1), np.float32(0.7)], 0.05)
    assert float(np.float32(0.7)) < found.threshold < 0.7001
    assert math.isinf(found.threshold_interval[1])


@pytest.mark.parametrize("rate", [0, 1, -0.1, 5])
def test_a_rate_that_is_none_is_refused(rate):
    with pytest.raises(UserError, match="false-positive rate is"):
        threshold_at_rate([1.0], rate)


def test_without_scores_there_is_no_threshold():
    with pytest.raises(UserError, match="no scores of normal scans"):
        threshold_at_rate([], 0.1)


def test_the_percentile_counts_what_is_below():
    assert percentile_of(2.0, (1.0, 2.0, 3.0, 4.0)) == 25
    assert percentile_of(9.0, (1.0, 2.0)) == 100 and percentile_of(0.0, (1.0,)) == 0
    assert percentile_of(1.0, ()) is None
