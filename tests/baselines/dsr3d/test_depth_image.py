"""A scan's depth as a picture."""

import numpy as np
import pytest
import torch
from scipy.ndimage import generic_filter

from threedzal.baselines.dsr3d.depth_image import depth_image, fill_missing


def test_missing_depth_becomes_the_mean_of_its_known_neighbours():
    rng = np.random.default_rng(0)
    depth = rng.uniform(0.1, 0.9, (20, 20)).astype(np.float32)
    depth[rng.random((20, 20)) < 0.5] = 0
    depth[6:13, 6:13] = 0  # wider than two fillings close
    expected = depth
    for _ in range(2):
        mean = generic_filter(expected, lambda v: v[v > 0].mean() if (v > 0).any() else 0.0, 3, mode="constant")
        expected = np.where(expected == 0, mean, expected)
    filled = fill_missing(torch.from_numpy(depth)[None, None], torch.from_numpy(depth == 0)[None, None])
    np.testing.assert_allclose(filled[0, 0].numpy(), expected, atol=1e-6)
    assert filled[0, 0, 9, 9] == 0


def test_known_depth_and_what_is_not_to_be_filled_stay_as_they_are():
    depth = torch.rand(1, 1, 8, 8) * (torch.rand(1, 1, 8, 8) > 0.4)
    missing = (depth == 0) & (torch.arange(8) < 4)
    filled = fill_missing(depth, missing)
    assert torch.equal(filled[~missing], depth[~missing])


def test_the_object_spans_a_tenth_to_nine_tenths_and_nothing_is_around_it():
    depth = 0.6 + 0.1 * torch.rand(2, 16, 16)
    object = torch.zeros(2, 16, 16, dtype=torch.bool)
    object[:, 4:12, 4:12] = True
    measured = object.clone()
    measured[:, 7, 7] = False
    image = depth_image(depth, measured, object)
    for one, inside, known in zip(image[:, 0], object, measured, strict=True):
        assert one[known].min().item() == pytest.approx(0.1, abs=1e-5)
        assert one[known].max().item() == pytest.approx(0.9, abs=1e-5)
        assert one[~inside].abs().max() == 0 and one[7, 7] > 0


def test_a_flat_object_and_no_object():
    square = torch.ones(1, 4, 4, dtype=torch.bool)
    torch.testing.assert_close(depth_image(torch.full((1, 4, 4), 0.5), square, square), torch.full((1, 1, 4, 4), 0.1))
    assert depth_image(torch.full((1, 4, 4), 0.5), ~square, ~square).abs().max() == 0
