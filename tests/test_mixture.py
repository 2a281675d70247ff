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


def test_experts_weigh_by_their_usual_spread_over_that_of_the_scan(log_odds):
    odds, cells = log_odds
    usual = torch.tensor([0.5, 1.0, 2.0])
    mixed, spread = mix(odds, cells, usual), bulk_spread(odds, cells)
    for b in range(2):
        weights = [usual[e].item() / spread[b, e].item() for e in range(3)]
        expected = sum(w * odds[b, e].numpy() for e, w in enumerate(weights)) / sum(weights)
        np.testing.assert_allclose(mixed[b].numpy(), expected, rtol=1e-4, atol=1e-5)
    assert torch.allclose(mix(odds, cells), odds.mean(dim=1))


def test_an_expert_that_gets_loud_all_over_a_scan_does_not_drown_the_others(log_odds):
    odds, cells = log_odds
    louder = odds.clone()
    louder[1, 2] *= 50
    before, after = (mix(o, cells, torch.ones(3))[1].abs().amax() for o in (odds, louder))
    assert louder[1].mean(dim=0).abs().amax() > 10 * odds[1].mean(dim=0).abs().amax()  # of equal weights
    assert after < 2 * before


def test_the_scale_of_an_expert_s_usual_spread_is_all_that_its_own_scale_changes(log_odds):
    odds, cells = log_odds
    usual, scale = torch.tensor([0.5, 1.0, 2.0]), torch.tensor([1.0, 1.0, 3.0])
    scaled = mix(odds * scale[:, None], cells, usual * scale)
    weights = usual / bulk_spread(odds, cells)
    expected = (weights[..., None] * odds * scale[:, None]).sum(dim=1) / weights.sum(dim=1, keepdim=True)
    assert torch.allclose(scaled, expected, atol=1e-5)


def test_a_scan_that_is_calm_or_has_no_object_is_judged_in_finite_numbers(log_odds):
    odds, cells = log_odds
    odds[0, 0] = 0.0
    cells[1] = False
    for usual in (torch.ones(3), torch.zeros(3)):
        mixed = mix(odds, cells, usual)
        assert mixed.isfinite().all()
        assert (mixed[0].abs() <= odds[0].abs().amax(dim=0) + 1e-6).all()  # no more than the loudest says
