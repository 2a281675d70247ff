"""Cells to maps against SciPy, PyTorch and the definition."""

import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter

from threedzal.maps import foreground_map, gaussian_blur, realign, rim_weight


@pytest.mark.parametrize("shape", [(2, 40, 56), (1, 5, 3), (1, 1, 1)], ids=str)
@pytest.mark.parametrize("sigma", [0.7, 4.0])
def test_the_blur_is_that_of_scipy_also_where_the_kernel_is_longer_than_the_map(shape, sigma):
    maps = torch.randn(shape, dtype=torch.float64)
    expected = [torch.from_numpy(gaussian_filter(m.numpy(), sigma)) for m in maps]
    torch.testing.assert_close(gaussian_blur(maps, sigma=sigma), torch.stack(expected), rtol=0, atol=1e-12)


def test_the_blur_is_not_quantised_and_sigma_zero_is_none():
    maps = torch.rand(1, 30, 30) * 1e-6
    assert len(gaussian_blur(maps).unique()) > 500
    assert torch.equal(gaussian_blur(maps, sigma=0), maps)


def test_cells_land_where_they_were_cut():
    values = torch.zeros(1, 16)
    values[0, 1 * 4 + 2] = 1.0  # grid row 1, column 2
    peak = realign(values, size=(32, 32), sigma=1.0)[0].argmax().item()
    row, column = divmod(peak, 32)
    assert row // 8 == 1 and column // 8 == 2


def test_the_foreground_map_is_the_cells_through_the_same_resize_and_blur():
    cells = torch.rand(2, 49) > 0.5
    map_ = foreground_map(cells, size=(56, 56))
    resized = F.interpolate(cells.float().view(2, 1, 7, 7), size=(56, 56), mode="bilinear")[:, 0]
    torch.testing.assert_close(map_, torch.stack([torch.from_numpy(gaussian_filter(m.numpy(), 4.0)) for m in resized]))


def test_the_foreground_map_is_one_value_where_the_background_is_out_of_reach():
    map_ = foreground_map(torch.ones(1, 56 * 56), size=(224, 224), sigma=2.0)
    assert map_.dtype == torch.float32 and torch.equal(map_, torch.ones(1, 224, 224))
    cells = torch.zeros(56, 56)
    cells[10:46, 13:49] = 1.0
    inside = foreground_map(cells.view(1, -1), size=(224, 224), sigma=2.0)[0, 52:172, 64:184]
    assert torch.equal(inside, torch.ones(120, 120))


def test_cells_that_make_no_square_are_refused():
    with pytest.raises(ValueError, match="square"):
        realign(torch.rand(1, 12), size=(8, 8))


def test_the_rim_weighs_less_than_the_middle_and_the_background_nothing():
    object = torch.zeros(1, 64, 64, dtype=torch.bool)
    object[0, 16:48, 16:48] = True
    weight = rim_weight(object, sigma=3.0)[0]
    assert weight[32, 32] > 0.99 > 0.6 > weight[32, 16] > weight[32, 12] and weight[0, 0] < 1e-6
    expected = gaussian_filter(object[0].double().numpy(), 3.0, mode="reflect")
    assert abs(weight.numpy() - expected).max() < 1e-5
