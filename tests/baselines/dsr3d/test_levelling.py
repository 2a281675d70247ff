"""What a levelled picture keeps of a scan, and what it does not."""

import pytest
import torch

from threedzal.baselines.dsr3d.depth_image import scan_image
from threedzal.baselines.dsr3d.levelling import level_colour, level_depth
from threedzal.data.scan import Scan


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def inside():
    y, x = torch.meshgrid(torch.arange(40), torch.arange(40), indexing="ij")
    return torch.stack([(y - 20) ** 2 + (x - 15) ** 2 < 150, (y > 3) & (x > 5) & (x < 30)])


def plane(down, right):
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(40.0), indexing="ij")
    return 0.5 + down * y + right * x


def test_a_tilt_goes_and_what_is_no_tilt_stays(inside):
    bump = torch.rand(2, 40, 40) * inside
    tilted = torch.stack([plane(0.01, 0.0), plane(-0.02, 0.03)])
    flat = level_depth(tilted, inside)
    assert flat.abs().max() < 1e-6
    torch.testing.assert_close(level_depth(tilted + bump, inside), level_depth(bump, inside), atol=1e-5, rtol=0)
    left = level_depth(bump, inside)
    assert left[~inside].abs().max() == 0
    for one, where in zip(left, inside, strict=True):
        assert one[where].mean().abs() < 1e-6 and one[where].std() > 0.2


def test_pixels_that_were_not_measured_have_no_say(inside):
    depth = torch.rand(2, 40, 40)
    other = torch.where(inside, depth, torch.full_like(depth, torch.nan))
    assert torch.equal(level_depth(depth, inside), level_depth(other, inside))
    few = torch.zeros_like(inside)
    few[0, 4, 4] = few[0, 9, 9] = True  # many planes go through two pixels, and none is needed for no pixel
    assert level_depth(depth, few).isfinite().all() and level_depth(depth, few)[0].abs().max() < 1e-6


def test_a_colour_is_level_on_the_object_whatever_its_exposure(inside):
    colour = 0.4 + 0.05 * torch.randn(2, 3, 40, 40)
    levelled = level_colour(colour, inside)
    torch.testing.assert_close(level_colour(0.6 * colour + 0.2, inside), levelled, atol=1e-4, rtol=0)
    assert (levelled.movedim(1, -1)[~inside] == 0.5).all() and levelled.min() >= 0 and levelled.max() <= 1
    for one, where in zip(levelled, inside, strict=True):
        torch.testing.assert_close(one[:, where].mean(1), torch.full((3,), 0.5), atol=0.02, rtol=0)


def test_hue_is_brought_out_and_light_has_one_contrast(inside):
    grey = (0.5 + 0.1 * torch.randn(2, 1, 40, 40)).expand(-1, 3, -1, -1)
    light = level_colour(grey, inside)
    assert light.std(1).max() < 1e-6
    assert light[0, 0][inside[0]].std().item() == pytest.approx(0.18, rel=0.03)
    stained = grey.clone()
    stained[0, :, 18:22, 14:18] += torch.tensor([0.02, 0.0, -0.02])[:, None, None]
    stain = level_colour(stained, inside)[0, :, 18:22, 14:18]
    assert (stain[0] - stain[2]).mean() / 0.04 > 1.9 * light[0, 0][inside[0]].std() / grey[0, 0][inside[0]].std()


def test_hardly_any_contrast_is_not_blown_up(inside):
    levelled = level_colour(0.5 + 0.001 * torch.randn(2, 3, 40, 40), inside)
    assert (levelled - 0.5).abs().max() < 0.1
    assert (level_colour(torch.rand(2, 3, 40, 40), torch.zeros_like(inside)) == 0.5).all()


@pytest.mark.parametrize("colour", [True, False])
def test_a_levelled_scan(inside, colour):
    depth = torch.stack([plane(0.01, 0.0), plane(-0.02, 0.03)]) + 0.05 * torch.rand(2, 40, 40)
    empty, rgb = torch.zeros(2), torch.randn(2, 3, 40, 40)
    scan = Scan(
        rgb=rgb, xyz=depth[:, None].expand(-1, 3, -1, -1), valid=inside, object=inside, mask=inside[:, None],
        label=empty, patches=empty, cells=empty, fpfh=None, size=empty, record=[],
    )  # fmt: skip
    image, before = (scan_image(scan, with_colour=colour, levelled=levelled) for levelled in (True, False))
    assert image.shape == before.shape == (2, 4 if colour else 1, 40, 40)
    for one, where in zip(image, inside, strict=True):
        assert one[0][where].min().item() == pytest.approx(0.1, abs=1e-5)
        assert one[0][where].max().item() == pytest.approx(0.9, abs=1e-5)
        assert one[0][~where].abs().max() == 0
        assert not colour or (one[1:, ~where] == 0.5).all()
    assert (image[:, 0] - before[:, 0]).abs().amax((1, 2)).min() > 0.05
