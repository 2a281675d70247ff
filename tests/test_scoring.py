"""Scores against the equations written out, finite differences and SciPy."""

import math

import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from torch import nn

from threedzal import maps, scoring
from threedzal.memory import MemoryBank
from threedzal.scoring import Scores, ScoreScales, ScoreWeights


def score_by_equation_6(features, bank_rows, b, temperature):
    """One scan's object score in float64, straight from eqs. (4) to (6)."""
    f, m = features.double(), bank_rows.double()
    distances = torch.cdist(f, m)
    nearest = distances.min(1)
    worst = nearest.values.argmax()
    star = nearest.indices[worst]
    around = torch.cdist(m[star][None], m)[0].topk(b, largest=False).indices
    assert star in around
    t = math.sqrt(f.shape[1]) if temperature == "sqrt_dim" else 1.0
    total = sum(math.exp(distances[worst, i].item() / t) for i in around)
    weight = 1.0 - math.exp(distances[worst, star].item() / t) / total
    return weight * nearest.values[worst].item()


@pytest.mark.parametrize("temperature", ["sqrt_dim", "one"])
@pytest.mark.parametrize("b", [2, 3, 9])
def test_the_object_score_is_equations_4_to_6(b, temperature):
    features, rows = torch.randn(3, 16, 10), torch.randn(50, 10)
    got = scoring.distance_scores(
        features, MemoryBank.build(rows), size=(32, 32), neighbours=b, reweight_temperature=temperature
    )[1]
    expected = [score_by_equation_6(f, rows, b, temperature) for f in features]
    assert got.tolist() == pytest.approx(expected, rel=1e-5)


def test_reweighting_does_not_overflow_or_saturate_to_nan():
    features, rows = torch.randn(2, 4, 6) * 1e4, torch.randn(20, 6)
    score = scoring.distance_scores(features, MemoryBank.build(rows), size=(8, 8), reweight_temperature="one")[1]
    assert score.isfinite().all() and (score >= 0).all()


def test_one_neighbour_means_no_reweighting():
    features, rows = torch.randn(2, 4, 6), torch.randn(20, 6)
    score = scoring.distance_scores(features, MemoryBank.build(rows), size=(8, 8), neighbours=1)[1]
    torch.testing.assert_close(score, torch.cdist(features, rows[None]).min(2).values.amax(1))


def test_only_object_cells_compete_for_the_object_score():
    features, bank = torch.randn(2, 4, 6), MemoryBank.build(torch.randn(20, 6))
    cells = torch.tensor([[True, True, False, False], [False] * 4])
    features[0, 3] += 100.0
    map_, score = scoring.distance_scores(features, bank, size=(8, 8), cells=cells)
    alone = scoring.distance_scores(features[:1, [0, 1, 0, 1]], bank, size=(8, 8))[1]
    assert score[0] == alone[0] and score[1] == 0.0
    assert map_[0].max() > 20.0


def test_the_distance_map_is_resized_then_blurred():
    features, rows = torch.randn(2, 49, 5), torch.randn(30, 5)
    got = scoring.distance_scores(features, MemoryBank.build(rows), size=(56, 63))[0]
    grid = torch.cdist(features, rows[None]).min(2).values.view(2, 1, 7, 7)
    resized = F.interpolate(grid, size=(56, 63), mode="bilinear")[:, 0]
    expected = torch.stack([torch.from_numpy(gaussian_filter(m.double().numpy(), 4.0)) for m in resized])
    torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-5)


def small_classifier(dtype=torch.float64):
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 2)).to(dtype)
    return layers.eval()


def test_the_perturbation_is_equation_8_by_finite_differences():
    classifier = small_classifier()
    points = torch.randn(5, 4, 3, dtype=torch.float64)

    def log_confidence(x):
        p = classifier(x[None]).softmax(1)[0, 1].item()
        return math.log(max(p, 1.0 - p))

    expected = points.clone()
    step = 1e-6
    for n in range(5):
        for i in range(4):
            for axis in range(3):
                up, down = points[n].clone(), points[n].clone()
                up[i, axis] += step
                down[i, axis] -= step
                slope = (log_confidence(up) - log_confidence(down)) / (2 * step)
                expected[n, i, axis] += 0.3 * -slope
    got = scoring.perturb(points, classifier, eta=0.3, chunk=2)
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-8)


def test_the_perturbation_makes_the_classifier_less_sure():
    classifier = small_classifier()
    points = torch.randn(200, 4, 3, dtype=torch.float64)
    before, after = (
        scoring.abnormal_probability(x, classifier).sub(0.5).abs()
        for x in (points, scoring.perturb(points, classifier, eta=0.01))
    )
    assert (after <= before).all() and (after < before).any()


def test_the_perturbation_works_in_inference_mode_and_leaves_parameters_without_gradients():
    classifier = small_classifier(torch.float32)
    points = torch.randn(7, 4, 3)
    expected = scoring.perturb(points, classifier)
    with torch.inference_mode():
        got = scoring.perturb(points.clone(), classifier)
        assert not torch.is_grad_enabled()
    assert torch.equal(got, expected)
    assert all(p.grad is None for p in classifier.parameters())


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_chunks_do_not_change_the_scores(chunk):
    classifier = small_classifier(torch.float32)
    patches, cells = torch.randn(2, 9, 4, 3), torch.rand(2, 9) > 0.3
    one = scoring.cell_probabilities(patches, cells, classifier, chunk=chunk)
    whole = scoring.cell_probabilities(patches, cells, classifier, chunk=18)
    torch.testing.assert_close(one, whole)


def test_a_classifier_in_training_mode_is_refused():
    with pytest.raises(ValueError, match="eval"):
        scoring.perturb(torch.rand(2, 4, 3), small_classifier(torch.float32).train())


def test_the_classifier_s_object_score_is_its_largest_probability_and_cells_without_points_score_zero():
    classifier = small_classifier(torch.float32)
    patches = torch.randn(2, 16, 4, 3)
    cells = torch.zeros(2, 16, dtype=torch.bool)
    cells[0, 5] = cells[0, 9] = True
    probabilities = scoring.cell_probabilities(patches, cells, classifier)
    map_, score = maps.realign(probabilities, size=(32, 32), sigma=0), probabilities.amax(1)
    moved = scoring.perturb(patches[0, [5, 9]], classifier, eta=0.1)
    expected = classifier(moved).softmax(1)[:, 1]
    torch.testing.assert_close(score, torch.stack([expected.max().detach(), torch.tensor(0.0)]))
    grid = torch.zeros(2, 16)
    grid[0, 5], grid[0, 9] = expected.detach()
    torch.testing.assert_close(map_, F.interpolate(grid.view(2, 1, 4, 4), size=(32, 32), mode="bilinear")[:, 0])


def test_no_perturbation_leaves_the_plain_probability():
    classifier = small_classifier(torch.float32)
    patches, cells = torch.randn(1, 4, 4, 3), torch.ones(1, 4, dtype=torch.bool)
    score = scoring.cell_probabilities(patches, cells, classifier, eta=0.0).amax(1)
    torch.testing.assert_close(score, classifier(patches[0]).softmax(1)[:, 1].max()[None].detach())


def random_scores():
    return Scores(torch.rand(3, 6, 6) * 20, torch.rand(3) * 30, torch.rand(3, 6, 6), torch.rand(3))


def test_fusion_is_equations_11_and_12_over_the_scales():
    s = random_scores()
    weights, scales = ScoreWeights(map=(0.6, 1.4), score=(2.0, 0.5)), ScoreScales(10.0, 15.0, 0.5, 0.25)
    fused_map, fused = scoring.fuse(s, weights=weights, scales=scales)
    torch.testing.assert_close(fused_map, 0.6 * s.distance_map / 10.0 + 1.4 * s.classification_map / 0.5)
    torch.testing.assert_close(fused, 2.0 * s.distance / 15.0 + 0.5 * s.classification / 0.25)


def test_scales_bring_the_mean_of_good_scans_to_one():
    s = random_scores()
    scaled = ScoreScales.measured(s).apply(s)
    for name in ("distance_map", "distance", "classification_map", "classification"):
        assert getattr(scaled, name).mean().item() == pytest.approx(1.0, rel=1e-5)


def test_a_score_that_is_zero_on_good_scans_keeps_its_scale():
    s = random_scores()
    silent = Scores(s.distance_map, s.distance, torch.zeros(3, 6, 6), torch.zeros(3))
    scales = ScoreScales.measured(silent)
    assert scales.classification_map == scales.classification == 1.0


def test_the_spread_of_maps_is_measured_on_the_object_and_that_of_scores_over_scans():
    scores, object = random_scores(), torch.rand(3, 6, 6) > 0.5
    scales = ScoreScales.spread(scores, object)
    assert scales.distance_map == pytest.approx(scores.distance_map.numpy()[object.numpy()].std(), rel=1e-5)
    assert scales.distance == pytest.approx(scores.distance.numpy().std(), rel=1e-5)
    assert ScoreScales.spread(scores, torch.zeros_like(object)).distance_map == 1.0
