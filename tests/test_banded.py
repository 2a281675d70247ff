"""Products with banded matrices, block by block, against one dense product."""

import pytest
import torch

from threedzal.banded import banded_product
from threedzal.features.grid import to_grid
from threedzal.maps import gaussian_blur


@pytest.mark.parametrize("dim", [-1, -2])
@pytest.mark.parametrize("block", [1, 3, 100])
def test_blocks_give_the_dense_product(dim, block):
    generator = torch.Generator().manual_seed(0)
    matrix = torch.rand(10, 17, generator=generator, dtype=torch.float64)
    matrix *= (torch.arange(17) - 1.7 * torch.arange(10)[:, None]).abs() < 3
    maps = torch.rand(2, 3, *((5, 17) if dim == -1 else (17, 5)), generator=generator, dtype=torch.float64)
    dense = maps @ matrix.T if dim == -1 else matrix @ maps
    torch.testing.assert_close(banded_product(matrix, maps, dim=dim, block=block), dense)


def test_large_pictures_are_pooled_and_blurred_like_small_ones():
    maps = torch.rand(1, 2, 640, 640, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.avg_pool2d(maps, 3, stride=1, padding=1, count_include_pad=False)
    torch.testing.assert_close(to_grid(maps, grid=80), torch.nn.functional.adaptive_avg_pool2d(smooth, 80))
    from scipy.ndimage import gaussian_filter

    blurred = gaussian_filter(maps[0, 0].double().numpy(), 4.0, mode="reflect")
    torch.testing.assert_close(gaussian_blur(maps[0], sigma=4.0)[0], torch.from_numpy(blurred).float())
