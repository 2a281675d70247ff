"""Simulated depth and the pictures beside it."""

import numpy as np
import pytest
import torch
from PIL import Image

from threedzal.data.simulated_depth import (
    SimulatedDepthDataset,
    list_pictures,
    procedural_texture,
    simulated_depth,
)
from threedzal.errors import UserError


def test_depth_spans_a_random_range_within_zero_and_one():
    generator = torch.Generator().manual_seed(0)
    depths = torch.stack([simulated_depth(24, generator=generator) for _ in range(60)])
    low, high = depths.flatten(1).amin(1), depths.flatten(1).amax(1)
    assert (low >= -1e-6).all() and (high <= 1 + 1e-6).all()
    assert (high - low).std() > 0.2 and low.std() > 0.1  # both the range and where it lies are drawn


def test_textures_are_pictures_of_many_colours_and_contrasts():
    generator = torch.Generator().manual_seed(0)
    textures = torch.stack([procedural_texture(24, generator=generator) for _ in range(20)])
    assert textures.shape == (20, 3, 24, 24)
    assert textures.min() >= 0 and textures.max() <= 1
    assert textures.mean((2, 3)).std(0).min() > 0.1
    assert textures.std((2, 3)).mean() > 0.05


def test_levelled_textures_are_nearly_grey_in_the_mean_and_have_as_much_hue_as_light():
    generator = torch.Generator().manual_seed(0)
    natural, levelled = (
        torch.stack([procedural_texture(24, levelled=levelled, generator=generator) for _ in range(100)])
        for levelled in (False, True)
    )
    assert levelled.shape == (100, 3, 24, 24) and levelled.min() >= 0 and levelled.max() <= 1
    assert (levelled.mean((0, 2, 3)) - 0.5).abs().max() < 0.05
    assert levelled.mean((1, 2, 3)).std() < 0.6 * natural.mean((1, 2, 3)).std()

    def hue_by_light(textures):
        light = textures.mean(1, keepdim=True)
        return (textures - light).std((2, 3)).mean() / light.std((2, 3)).mean()

    assert hue_by_light(natural) < 0.5 < 0.7 < hue_by_light(levelled) < 1.5
    item = SimulatedDepthDataset(1, 16, levelled=True)[0, 0]
    assert torch.equal(item[0], SimulatedDepthDataset(1, 16)[0, 0][0])  # the depth beside it is the same
    assert not torch.equal(item[1:], SimulatedDepthDataset(1, 16)[0, 0][1:])


def test_an_item_is_a_function_of_seed_epoch_and_index():
    one, other = SimulatedDepthDataset(8, 16, seed=1), SimulatedDepthDataset(8, 16, seed=2)
    assert one[0, 3].shape == (4, 16, 16)
    assert torch.equal(one[0, 3], one[0, 3]) and torch.equal(one[3], one[0, 3])
    for different in (one[1, 3], one[0, 4], other[0, 3]):
        assert not torch.equal(one[0, 3], different)
    assert SimulatedDepthDataset(8, 16, colour=False)[0, 0].shape == (1, 16, 16)


def test_pictures_of_a_folder_stand_beside_the_depth(tmp_path):
    colour = np.array([10, 120, 240], np.uint8)
    (tmp_path / "deep").mkdir()
    Image.fromarray(np.broadcast_to(colour, (9, 7, 3)).copy()).save(tmp_path / "deep" / "one.png")
    item = SimulatedDepthDataset(1, 16, pictures=list_pictures(tmp_path))[0, 0]
    np.testing.assert_allclose(item[1:].flatten(1).T.numpy(), np.tile(colour / 255, (256, 1)), atol=1e-6)


def test_a_pattern_stands_for_several_folders(tmp_path):
    for name in ("one/good/a.png", "two/good/b.png", "two/bad/c.png", "od[d]/good/d.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    assert [path.name for path in list_pictures(tmp_path / "*" / "good")] == ["d.png", "a.png", "b.png"]
    assert [path.name for path in list_pictures(tmp_path / "od[d]")] == ["d.png"]
    with pytest.raises(UserError, match="holds no picture"):
        list_pictures(tmp_path / "*" / "none")


def test_a_folder_without_pictures_or_with_a_broken_one(tmp_path):
    with pytest.raises(UserError, match="holds no picture"):
        list_pictures(tmp_path)
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(UserError, match="broken.jpg"):
        SimulatedDepthDataset(1, 16, pictures=list_pictures(tmp_path))[0, 0]
