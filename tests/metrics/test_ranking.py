"""Areas and curves against torchmetrics, on scores in [0, 1] where it takes them as they are."""

import pytest
import torch
from torchmetrics.functional.classification import binary_auroc, binary_average_precision, binary_f1_score, binary_roc

from threedzal.metrics.ranking import area, auroc, average_precision, best_f1, curve, f1_scores, rank, sorted_scores


def ranked(scores, truth):
    return rank(sorted_scores(scores[~truth]), scores[truth])


@pytest.mark.parametrize("levels", [10_000, 20, 3])
@pytest.mark.parametrize("seed", range(3))
def test_areas_agree_with_torchmetrics(seed, levels):
    generator = torch.Generator().manual_seed(seed)
    truth = torch.rand(300, generator=generator) > 0.8
    scores = ((torch.rand(300, generator=generator) + 0.3 * truth) / 1.3 * levels).round() / levels
    ranking = ranked(scores, truth)
    assert auroc(ranking).item() == pytest.approx(binary_auroc(scores, truth.long()).item(), abs=1e-6)
    expected = binary_average_precision(scores, truth.long()).item()
    assert average_precision(ranking).item() == pytest.approx(expected, abs=1e-6)
    f1 = [binary_f1_score((scores >= t).float(), truth.long()).item() for t in scores.unique()]
    assert best_f1(ranking).item() == pytest.approx(max(f1), abs=1e-6)
    at = [binary_f1_score((scores >= t).float(), truth.long()).item() for t in ranking.thresholds]
    assert f1_scores(ranking).tolist() == pytest.approx(at, abs=1e-6)


def test_every_corner_lies_on_the_roc_curve_of_torchmetrics():
    truth = torch.rand(200) > 0.5
    scores = (torch.rand(200) * 10).round() / 10
    fpr, tpr = curve(ranked(scores, truth))
    x, y, _ = binary_roc(scores, truth.long())
    assert area(fpr, tpr).item() == pytest.approx(torch.trapezoid(y, x).item(), abs=1e-6)
    on_curve = {(round(a, 5), round(b, 5)) for a, b in zip(x.tolist(), y.tolist(), strict=True)}
    ours = {(round(a, 5), round(b, 5)) for a, b in zip(fpr[2::2].tolist(), tpr[2::2].tolist(), strict=True)}
    assert ours <= on_curve


def test_scores_far_beyond_one_keep_their_order():
    scores = torch.tensor([100.0, 200.0, 300.0, 400.0])
    truth = torch.tensor([False, False, True, True])
    assert auroc(ranked(scores, truth)).item() == 1.0
    assert average_precision(ranked(scores, truth)).item() == 1.0


def test_constant_scores_are_chance():
    truth = torch.tensor([True, False, False, True, False])
    assert auroc(ranked(torch.ones(5), truth)).item() == pytest.approx(0.5)


@pytest.mark.parametrize("truth", [[True, True], [False, False]])
def test_one_kind_alone_has_no_auroc(truth):
    assert auroc(ranked(torch.rand(2), torch.tensor(truth))).isnan()


def test_sorting_leaves_the_scores_alone():
    scores = torch.tensor([3.0, 1.0, 2.0])
    assert sorted_scores(scores).tolist() == [1.0, 2.0, 3.0] and scores.tolist() == [3.0, 1.0, 2.0]
