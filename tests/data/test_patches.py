"""Patches against brute force and against their stated geometry."""

import math

import pytest
import torch

from threedzal.data.patches import (
    METRIC_SCALE,
    cell_anchors,
    grid_patches,
    nearest_patches,
    normalise_patches,
    untile,
)
from threedzal.data.scan import ScanPreparation

SMALL = {"image_size": 32, "fpfh": False}


def surface(*, side=32, missing=0.3, seed=0):
    """A wavy surface 0.6 m away with an object in the middle: xyz (3, side, side), valid (side, side)."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    y, x = rows * 0.0005, columns * 0.0005
    xyz = torch.stack([x, y, 0.6 + 0.002 * torch.sin(800 * x) * torch.cos(600 * y)])
    xyz = xyz + 1e-5 * torch.randn(xyz.shape, generator=generator)
    valid = torch.rand(side, side, generator=generator) > missing
    valid[:, : side // 4] = False
    return xyz * valid, valid


def test_nearest_patches_are_those_of_brute_force_the_nearest_first():
    generator = torch.Generator().manual_seed(0)
    points, anchors = torch.rand(500, 3, generator=generator), torch.rand(40, 3, generator=generator)
    expected = torch.cdist(anchors.double(), points.double()).argsort(dim=1)[:, :64]
    rows = nearest_patches(points, anchors, k=64)
    assert rows.dtype == torch.int64
    assert torch.equal(rows, expected)


def test_few_points_are_repeated_from_the_nearest_on():
    points = torch.tensor([[0.0, 0, 0], [1, 0, 0], [3, 0, 0]])
    rows = nearest_patches(points, torch.tensor([[0.9, 0, 0]]), k=8)
    assert rows.tolist() == [[1, 0, 2, 1, 0, 2, 1, 0]]
    assert nearest_patches(points, torch.zeros(0, 3), k=8).shape == (0, 8)
    assert nearest_patches(points[:1], torch.zeros(2, 3), k=1).tolist() == [[0], [0]]
    with pytest.raises(ValueError, match="at least one point"):
        nearest_patches(points[:0], points, k=8)


def test_an_anchor_is_the_measured_point_of_its_cell_closest_to_the_centroid():
    xyz, valid = surface()
    anchors, cells = cell_anchors(xyz, valid, patch_size=8, min_valid_points=16)
    assert cells.shape == (16,) and anchors.shape == (16, 3)
    for cell in range(16):
        rows, columns = slice(cell // 4 * 8, cell // 4 * 8 + 8), slice(cell % 4 * 8, cell % 4 * 8 + 8)
        points = xyz[:, rows, columns][:, valid[rows, columns]].T  # [n, 3]
        assert cells[cell] == (len(points) >= 16)
        if cells[cell]:
            expected = points[(points - points.mean(0)).norm(dim=1).argmin()]
            assert torch.equal(anchors[cell], expected)
        else:
            assert anchors[cell].abs().sum() == 0
    assert 0 < cells.sum() < 16


def test_a_unit_patch_touches_the_unit_sphere_and_is_centred():
    patches = 0.6 + 0.003 * torch.randn(7, 64, 3, generator=torch.Generator().manual_seed(0)).double()
    scaled = normalise_patches(patches)
    assert torch.allclose(scaled.mean(dim=1), torch.zeros(7, 3, dtype=torch.float64), atol=1e-9)
    assert torch.allclose(scaled.norm(dim=-1).amax(dim=1), torch.ones(7, dtype=torch.float64))
    assert torch.allclose(scaled, normalise_patches(5 * patches + 3))  # neither place nor size is left


def test_the_scales_keep_what_they_say():
    sizes = torch.tensor([1, 2, 3, 4, 9.0])[:, None, None] * 0.001
    patches = 0.6 + sizes * torch.randn(5, 64, 3, generator=torch.Generator().manual_seed(0)).double()
    centred = patches - patches.mean(dim=1, keepdim=True)
    radii = centred.norm(dim=-1).amax(dim=1)
    assert torch.allclose(normalise_patches(patches, scale="metric"), centred * METRIC_SCALE)
    assert torch.allclose(normalise_patches(patches, scale="scan"), centred / radii.median())
    assert torch.allclose(normalise_patches(patches, scale="scan", radius=0.002), centred / 0.002)
    with pytest.raises(ValueError, match="patch_scale"):
        normalise_patches(patches, scale="feet")


def test_a_patch_of_one_point_becomes_zeros_not_nan():
    patch = torch.full((1, 64, 3), 0.6)
    for scale in ("unit", "scan"):
        assert normalise_patches(patch, scale=scale).abs().sum() == 0


@pytest.mark.parametrize("scale", ["unit", "scan", "metric"])
def test_grid_patches_are_the_nearest_points_of_the_anchors(scale):
    xyz, valid = surface()
    preparation = ScanPreparation(**SMALL, patch_scale=scale)
    patches, cells = grid_patches(xyz, valid, preparation=preparation)
    assert patches.shape == (16, 64, 3) and patches.dtype == torch.float32
    anchors, expected_cells = cell_anchors(xyz, valid, patch_size=8, min_valid_points=16)
    points = xyz[:, valid].T
    rows = torch.cdist(anchors[cells].double(), points.double()).argsort(dim=1)[:, :64]
    assert torch.equal(cells, expected_cells)
    expected = normalise_patches(points[rows].double(), scale=scale)
    assert torch.allclose(patches[cells].double(), expected, atol=1e-6)
    assert patches[~cells].abs().sum() == 0


def test_a_patch_of_the_grid_holds_its_cells_measured_points_and_no_other():
    xyz, valid = surface()
    preparation = ScanPreparation(**SMALL, patch_source="grid", patch_scale="metric")
    patches, cells = grid_patches(xyz, valid, preparation=preparation)
    for cell in torch.nonzero(cells)[:, 0].tolist():
        rows, columns = slice(cell // 4 * 8, cell // 4 * 8 + 8), slice(cell % 4 * 8, cell % 4 * 8 + 8)
        own = xyz[:, rows, columns][:, valid[rows, columns]].T
        # Repeated points move the centroid: compare the differences to the first point, metres again.
        shape = (patches[cell] - patches[cell][:1]) / METRIC_SCALE
        distance = torch.cdist(shape, own - own[:1], compute_mode="donot_use_mm_for_euclid_dist")
        assert distance.amin(dim=1).max() < 1e-6  # every point of the patch is measured
        assert distance.amin(dim=0).max() < 1e-6  # every measured point is in the patch


def test_an_empty_scan_has_no_cells_and_zero_patches():
    patches, cells = grid_patches(
        torch.zeros(3, 32, 32), torch.zeros(32, 32, dtype=torch.bool), preparation=ScanPreparation(**SMALL)
    )
    assert not cells.any() and patches.abs().sum() == 0 and not math.isnan(float(patches.sum()))


def test_untile_puts_a_value_where_its_cell_is():
    xyz = torch.zeros(3, 32, 32)
    valid = torch.zeros(32, 32, dtype=torch.bool)
    valid[8:16, 24:32] = True  # cell (1, 3)
    _, cells = cell_anchors(xyz, valid, patch_size=8, min_valid_points=16)
    grid = untile(cells[None].float(), 4)
    assert grid.shape == (1, 1, 4, 4)
    assert grid[0, 0, 1, 3] == 1 and grid.sum() == 1
    with pytest.raises(ValueError, match=r"\(B, 16\)"):
        untile(torch.zeros(1, 15), 4)


def test_an_image_that_is_no_whole_number_of_cells_is_named():
    with pytest.raises(ValueError, match="30x32 pixels"):
        cell_anchors(torch.zeros(3, 30, 32), torch.zeros(30, 32).bool(), patch_size=8, min_valid_points=16)
