import numpy as np
import pytest
import torch

from threedzal.mixture import bulk_spread, mix


@pytest.fixture
def log_odds():
    """(2,3,200) of three experts, the third loud on the first scan; (2,200) bool."""
    generator = torch.Generator().manual_seed(0)
    odds = torch.randn(2, 3, 200, generator=generator)
    odds[0, 2] *= 5
    return odds, torch.rand(2, 200, generator=generator) > 0.3


def test_the_spread_is_between_numpy_s_quantiles_of_the_patches_that_count(log_odds):
    odds, cells = log_odds
    spread = bulk_spread(odds, cells)
    for b in range(2):
        for e in range(3):
            values = odds[b, e, cells[b]].numpy()
            assert spread[b, e].item() == pytest.approx(np.quantile(values, 0.8) - np.median(values), rel=1e-5)
    assert bulk_spread(odds, cells & False).equal(torch.zeros(2, 3))


def test_experts_weigh_by_the_inverse_root_of_their_spread_over_the_scan(log_odds):
    odds, cells = log_odds
    mixed = mix(odds, cells)
    for b in range(2):
        values = odds[b][:, cells[b]].numpy()
        weights = (np.quantile(values, 0.8, axis=1) - np.median(values, axis=1)) ** -0.5
        expected = weights @ odds[b].numpy() / weights.sum()
        np.testing.assert_allclose(mixed[b].numpy(), expected, rtol=1e-4, atol=1e-5)


def test_an_expert_that_gets_loud_all_over_a_scan_does_not_drown_the_others(log_odds):
    odds, cells = log_odds
    louder = odds.clone()
    louder[1, 2] *= 100
    equal = [o[1].mean(dim=0).abs().amax() for o in (odds, louder)]
    mixed = [mix(o, cells)[1].abs().amax() for o in (odds, louder)]
    assert mixed[1] / mixed[0] < 0.3 * equal[1] / equal[0]


def test_a_scan_is_mixed_for_itself_and_experts_that_are_alike_are_as_one(log_odds):
    odds, cells = log_odds
    assert torch.allclose(mix(odds, cells)[1], mix(odds[1:], cells[1:])[0])
    assert torch.allclose(mix(odds[:, :1].repeat(1, 3, 1), cells), odds[:, 0], atol=1e-6)


def test_a_scan_that_is_calm_or_has_no_object_is_judged_in_finite_numbers(log_odds):
    odds, cells = log_odds
    odds[0, 0] = 0.0
    cells[1] = False
    mixed = mix(odds, cells)
    assert mixed.isfinite().all()
    assert (mixed[0].abs() <= odds[0].abs().amax(dim=0) + 1e-6).all()  # no more than the loudest says
