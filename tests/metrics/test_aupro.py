"""AUPRO against the definition: a sweep over every threshold, regions found by flood fill, the trapezoid by hand."""

import pytest
import torch

from threedzal.metrics.aupro import AUPRO, aupro, pro_curve, region_sizes


def regions_by_flood_fill(mask):
    """Lists of (row, column) for each 8-connected region of a (H, W) bool mask."""
    left = {(int(i), int(j)) for i, j in mask.nonzero()}
    regions = []
    while left:
        region, frontier = [], [left.pop()]
        while frontier:
            i, j = frontier.pop()
            region.append((i, j))
            near = {(i + a, j + b) for a in (-1, 0, 1) for b in (-1, 0, 1)} & left
            left -= near
            frontier += near
        regions.append(region)
    return regions


def aupro_by_definition(preds, target, max_fpr, roi=None):
    """Sweep all distinct scores downwards; at each, FPR over defect-free pixels and overlap averaged over regions."""
    preds, target = preds.double(), target.bool()
    counted = ~target if roi is None else ~target & roi
    regions = [(b, r) for b in range(len(preds)) for r in regions_by_flood_fill(target[b])]
    points = [(0.0, 0.0)]
    for threshold in preds.unique().flip(0):
        flagged = preds >= threshold
        fpr = (flagged & counted).sum().item() / counted.sum().item()
        overlaps = [sum(flagged[b, i, j].item() for i, j in r) / len(r) for b, r in regions]
        points.append((fpr, sum(overlaps) / len(overlaps)))
    points.append((1.0, 1.0))
    total = 0.0
    for (x0, y0), (x1, y1) in zip(points, points[1:], strict=False):
        if x1 > max_fpr:
            if x0 < max_fpr:
                y = y0 + (y1 - y0) * (max_fpr - x0) / (x1 - x0)
                total += 0.5 * (y0 + y) * (max_fpr - x0)
            break
        total += 0.5 * (y0 + y1) * (x1 - x0)
    return total / max_fpr


def random_maps(seed, *, levels=None, shape=(3, 14, 11)):
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand(shape, generator=generator) > 0.85
    preds = torch.randn(shape, generator=generator) + 0.8 * target
    if levels:
        preds = (preds * levels).round() / levels
    roi = torch.rand(shape, generator=generator) > 0.4
    return preds, target, roi


@pytest.mark.parametrize("max_fpr", [1.0, 0.3, 0.05, 0.01])
@pytest.mark.parametrize("levels", [None, 4, 1], ids=["distinct", "some ties", "many ties"])
@pytest.mark.parametrize("seed", range(3))
def test_aupro_is_its_definition(seed, levels, max_fpr):
    preds, target, roi = random_maps(seed, levels=levels)
    expected = aupro_by_definition(preds, target, max_fpr)
    assert aupro(preds, target, max_fpr).item() == pytest.approx(expected, abs=1e-6)
    object_only = aupro_by_definition(preds, target, max_fpr, roi)
    assert aupro(preds, target, max_fpr, roi=roi).item() == pytest.approx(object_only, abs=1e-6)


def test_small_and_large_regions_count_the_same():
    target = torch.zeros(1, 20, 20, dtype=torch.bool)
    target[0, 0, 0] = True
    target[0, 5:15, 5:15] = True
    preds = torch.rand(1, 20, 20) * 0.1
    preds[0, 0, 0] = 1.0
    preds[0, 5:15, 5:15] = -1.0  # the large region is never found before all of the rest
    assert aupro(preds, target, 0.3).item() == pytest.approx(0.5)


def test_regions_that_touch_at_a_corner_are_one_and_maps_do_not_touch():
    target = torch.zeros(2, 4, 4, dtype=torch.int64)
    target[0, 0, 0] = target[0, 1, 1] = 255
    target[1, 1, 1] = 7
    sizes = region_sizes(target)
    assert sizes[0, 0, 0] == sizes[0, 1, 1] == 2
    assert sizes[1, 1, 1] == 1 and sizes.sum() == 5


def test_perfect_maps_score_one_and_constant_maps_half_the_limit():
    _, target, _ = random_maps(0)
    assert aupro(target.float(), target, 0.3).item() == pytest.approx(1.0)
    assert aupro(torch.ones(target.shape), target, 0.3).item() == pytest.approx(0.15)


def test_only_false_positives_are_restricted_to_the_object():
    target = torch.zeros(1, 6, 6, dtype=torch.bool)
    target[0, :2, :2] = True
    roi = torch.zeros(1, 6, 6, dtype=torch.bool)
    roi[0, 3:, 3:] = True  # the region lies outside the object: it still counts
    preds = torch.zeros(1, 6, 6)
    preds[0, :2, :2] = 1.0
    preds[0, 2] = 5.0  # false positives off the object
    assert aupro(preds, target, 0.3, roi=roi).item() == pytest.approx(1.0)
    assert aupro(preds, target, 0.1).item() < 1.0


def test_the_curve_runs_from_corner_to_corner_and_holds_every_threshold():
    preds, target, _ = random_maps(1, levels=2)
    fpr, pro = pro_curve(preds, target)
    assert (fpr[0], pro[0], fpr[-1], pro[-1]) == (0.0, 0.0, 1.0, 1.0)
    assert (fpr.diff() >= 0).all() and (pro.diff() >= 0).all()
    weights = 1.0 / region_sizes(target)[target].double()
    for threshold in preds[target].unique():  # where the overlap changes
        share = (preds[~target] >= threshold).double().mean()
        overlap = weights[preds[target] >= threshold].sum() / weights.sum()
        assert ((fpr - share).abs() + (pro - overlap).abs()).min() < 1e-9


@pytest.mark.parametrize("value", [0, 1])
def test_without_defects_or_without_anything_else_aupro_is_nan_and_says_so(value):
    target = torch.full((1, 3, 3), value)
    with pytest.warns(UserWarning, match="not defined"):
        assert aupro(torch.rand(1, 3, 3), target).isnan()
    with pytest.warns(UserWarning, match="not defined"):
        metric = AUPRO()
        metric.update(torch.rand(1, 3, 3), target)
        assert metric.compute().isnan()


def test_the_metric_adds_up_batches_of_different_sizes():
    metric = AUPRO(max_fpr=0.2)
    first, second = random_maps(0, levels=3), random_maps(1, levels=3)
    metric.update(*first)
    metric.update(*second)
    together = [torch.cat(pair) for pair in zip(first, second, strict=True)]
    expected = aupro(together[0], together[1], 0.2, roi=together[2])
    assert metric.compute() == expected and metric.compute().ndim == 0
    metric.reset()
    metric.update(*random_maps(2, shape=(1, 30, 20))[:2])
    metric.update(*random_maps(3)[:2])
    assert 0.0 < metric.compute() < 1.0


def test_the_metric_works_in_inference_mode_and_in_half_precision():
    preds, target, _ = random_maps(0, levels=4)
    with torch.inference_mode():
        metric = AUPRO()
        metric.update(preds.half(), target)
        assert metric.compute() == aupro(preds, target)


@pytest.mark.parametrize(
    ("preds", "target", "limit"),
    [
        (torch.rand(2, 3, 3), torch.zeros(2, 3, 4), 0.3),
        (torch.rand(3, 3), torch.zeros(3, 3), 0.3),
        (torch.full((1, 2, 2), torch.nan), torch.zeros(1, 2, 2), 0.3),
        (torch.zeros(1, 2, 2, dtype=torch.int64), torch.zeros(1, 2, 2), 0.3),
        (torch.rand(1, 2, 2), torch.zeros(1, 2, 2), 0.0),
        (torch.rand(1, 2, 2), torch.zeros(1, 2, 2), 1.1),
    ],
)
def test_wrong_arguments_get_a_sentence(preds, target, limit):
    with pytest.raises(ValueError, match="aupro"):
        aupro(preds, target, limit)
