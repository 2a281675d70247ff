"""Likeness in any turn and mirroring: against real turns of the input, and parts with known symmetries."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from threedzal.features.relief import surface_normals
from threedzal.features.symmetry import invariant_features, symmetric_similarity, turned

EIGHT = [(quarters, mirror) for mirror in (False, True) for quarters in range(4)]


class Lopsided(torch.nn.Module):
    """Convolutions without any symmetry."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = torch.nn.Conv2d(3, 6, 5, padding=2), torch.nn.Conv2d(6, 8, 3, padding=1)

    def forward(self, picture: torch.Tensor, *, grid: int) -> torch.Tensor:
        return F.adaptive_avg_pool2d(self.second(self.first(picture).relu()), grid)


def part(side: int = 96) -> tuple[torch.Tensor, torch.Tensor]:
    """A picture of a plate that its middle column mirrors, with structure, and its silhouette."""
    torch.manual_seed(1)
    half = F.interpolate(torch.rand(1, 3, 12, 6), size=(side, side // 2), mode="bilinear", align_corners=False)
    picture = torch.cat([half, half.flip(3)], dim=3)
    object = torch.zeros(1, side, side, dtype=torch.bool)
    object[:, 8:-8, 16:-16] = True
    return picture * object[:, None], object


@pytest.mark.parametrize(("quarters", "mirror"), EIGHT)
def test_the_features_of_a_turned_picture_are_the_turned_features(quarters, mirror):
    picture, network = part()[0] + torch.rand(1, 3, 96, 96), Lopsided()
    here = invariant_features(network, picture, 12)
    there = invariant_features(network, turned(picture, quarters, mirror), 12)
    torch.testing.assert_close(there, turned(here, quarters, mirror), rtol=1e-4, atol=1e-5)
    plain = network(turned(picture, quarters, mirror), grid=12) - turned(network(picture, grid=12), quarters, mirror)
    assert (quarters, mirror) == (0, False) or plain.abs().max() > 0.05  # which the network's own are not


@pytest.mark.parametrize(("quarters", "mirror"), EIGHT)
def test_normals_turn_as_those_of_the_turned_surface_do(quarters, mirror):
    side = 48
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    z = 0.5 + 0.02 * torch.sin(rows / 7) + 0.03 * torch.cos(columns / 5)
    xyz = torch.stack([(columns - 23.5) / 100 * z, (rows - 23.5) / 100 * z, z])[None].float()
    everywhere = torch.ones(1, side, side, dtype=torch.bool)
    normals = surface_normals(xyz, everywhere, everywhere)
    moved = surface_normals(turned(xyz, quarters, mirror, directions=True), everywhere, everywhere)
    torch.testing.assert_close(moved, turned(normals, quarters, mirror, directions=True), rtol=1e-3, atol=1e-4)


def test_damage_on_one_side_of_a_mirrored_part_is_alone_and_the_sound_corners_are_not():
    picture, object = part()
    cells = F.adaptive_avg_pool2d(object[:, None].float(), 12).flatten(1) >= 0.25
    nearest = lambda p: symmetric_similarity(Lopsided(), p, object, cells, widths=[8])[0, :, 0].view(12, 12)  # noqa: E731
    sound = nearest(picture)
    away = sound.clone()
    away[:, 4:8] = 0  # along the axis a patch and its mirror image overlap
    assert away.max() < 1e-3  # rounding of distances
    picture[:, :, 24:32, 24:32] = 1 - picture[:, :, 24:32, 24:32]  # the cell in row 3, column 3
    damaged = nearest(picture)
    damaged[:, 4:8] = 0
    assert damaged[3, 3] > 0.2 and damaged[3, 8] > 0.2  # it, and the place that it was like
    assert damaged[9:, :].max() < 0.05  # far from the damage nothing changes much


def test_scans_of_a_batch_do_not_see_one_another_and_nothing_is_said_outside_the_cells():
    picture, object = part()
    other, whole = torch.rand(1, 3, 96, 96), torch.ones(1, 96, 96, dtype=torch.bool)
    pictures, objects = torch.cat([picture, other]), torch.cat([object, whole])
    cells = F.adaptive_avg_pool2d(objects[:, None].float(), 24).flatten(1) >= 0.25
    both = symmetric_similarity(Lopsided(), pictures, objects, cells, widths=[3, 5])
    alone = symmetric_similarity(Lopsided(), other, whole, cells[1:], widths=[3, 5])
    assert both.shape == (2, 576, 12) and torch.isfinite(both).all()
    torch.testing.assert_close(both[1:], alone, rtol=1e-4, atol=1e-5)
    assert not both[~cells].any()
    assert not symmetric_similarity(Lopsided(), picture, object & False, cells[:1] & False, widths=[8]).any()
