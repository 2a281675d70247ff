"""Weights and thresholds: the best of all candidates, by counting."""

import math

import pytest
import torch

from threedzal import calibration


def test_weights_follow_the_branch_that_ranks_the_scans():
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    useful, noise = torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4, 0.5]), torch.tensor([9.0, 0.0, 9.0, 0.0, 9.0, 0.0])
    criterion = calibration.score_criterion(labels)
    w_d, w_c = calibration.choose_weights(useful, noise, criterion)
    assert (w_d, w_c) == (2.0, 0.0)
    assert calibration.choose_weights(noise, useful, criterion) == (0.0, 2.0)


def test_equal_worth_gives_equal_weights():
    labels = torch.tensor([0, 0, 1, 1])
    scores = torch.tensor([0.0, 1.0, 2.0, 3.0])
    assert calibration.choose_weights(scores, scores, calibration.score_criterion(labels)) == (1.0, 1.0)
    assert calibration.choose_weights(scores, scores, lambda fused: math.nan) == (1.0, 1.0)
    w_d, w_c = calibration.choose_weights(scores, scores, lambda fused: 0.0, shares=(0.0, 0.2, 0.7))
    assert (w_d, w_c) == pytest.approx((1.4, 0.6))


def test_map_weights_are_judged_on_the_object_alone():
    target = torch.zeros(1, 12, 12, dtype=torch.bool)
    target[0, 4:6, 4:6] = True
    roi = torch.zeros(1, 12, 12, dtype=torch.bool)
    roi[0, 3:9, 3:9] = True
    good = target.float() + 0.01 * torch.rand(1, 12, 12)
    good[~roi] = 50.0  # terrible off the object: must not matter
    bad = torch.rand(1, 12, 12) * 10
    everywhere = torch.ones_like(roi)
    for judged_on, expected in ((roi, (2.0, 0.0)), (everywhere, (0.0, 2.0))):
        criterion = calibration.map_criterion(target, judged_on)
        assert calibration.choose_weights(good, bad, criterion, shares=(0.0, 1.0)) == expected


def test_the_threshold_has_the_best_f1_of_all():
    generator = torch.Generator().manual_seed(0)
    labels = (torch.rand(60, generator=generator) > 0.6).long()
    scores = torch.randn(60, generator=generator) * 10 + 8.0 * labels
    threshold, f1 = calibration.best_f1_threshold(scores, labels)

    def f1_at(t):
        flagged = scores >= t
        hits = (flagged & (labels == 1)).sum().item()
        return 2 * hits / (flagged.sum().item() + labels.sum().item())

    assert f1 == pytest.approx(max(f1_at(t) for t in scores))
    assert f1_at(threshold) == pytest.approx(f1)
    assert (scores - threshold).abs().min() > 0


def test_a_threshold_without_defects_is_refused():
    with pytest.raises(ValueError, match="no defective scan"):
        calibration.best_f1_threshold(torch.rand(3), torch.zeros(3))
