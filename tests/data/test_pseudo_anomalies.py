"""Pseudo anomalies against their stated geometry, and against brute force over all points."""

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from threedzal.data.patches import cell_patches, normalise_patches
from threedzal.data.pseudo_anomalies import (
    ADDING,
    NORMAL,
    REMOVING,
    adding,
    draw_patches,
    interest_points,
    removing,
    removing_patches,
)
from threedzal.data.scan import ScanPreparation, ScanRecord, prepare_scan
from threedzal.errors import UserError

PREPARATION = ScanPreparation(image_size=64, fpfh=False)


def surface(*, side=64, seed=0):
    """A wavy, noisy surface 0.6 m away: points (side, side, 3) float32."""
    rows, columns = np.indices((side, side)) * 0.0005
    z = 0.6 + 0.002 * np.sin(500 * columns) * np.cos(300 * rows)
    noise = np.random.default_rng(seed).normal(0, 2e-5, (side, side, 3))
    return (np.stack([columns, rows, z], axis=-1) + noise).astype(np.float32)


def scan(preparation=PREPARATION):
    xyz = surface()
    foreground = np.zeros((64, 64), bool)
    foreground[8:60, 10:50] = True
    record = ScanRecord("wave", "train", "good", "000", "000.tiff")
    return prepare_scan(xyz, None, None, preparation=preparation, record=record, foreground=foreground)


def donor(count=50, seed=1):
    """A dome of 3 mm radius, 2 mm high, somewhere else."""
    plane = np.random.default_rng(seed).uniform(-0.003, 0.003, (count, 2))
    height = 0.002 - 200 * (plane**2).sum(axis=1)
    return np.column_stack([plane, 0.4 - height]) + [0.1, 0.2, 0]


def brute_force(points, centre, k=64):
    return points[np.argsort(((points - centre) ** 2).sum(axis=1), kind="stable")[:k]]


def as_set(points):
    return {tuple(point) for point in np.round(points, 9)}


@pytest.fixture
def points():
    return surface().reshape(-1, 3).astype(np.float64)


def test_adding_takes_the_nearest_of_all_points_with_the_attached_ones(points):
    rng = np.random.default_rng(0)
    for anchor in points[rng.integers(len(points), size=20)]:
        attached = donor()
        placed = attached - attached.mean(axis=0) + anchor
        centre = np.concatenate([placed, brute_force(points, anchor)]).mean(axis=0)
        expected = brute_force(np.concatenate([points, placed]), centre)
        patch = adding(points, anchor, attached, jitter=False, rng=rng)
        assert np.allclose(patch, expected, atol=1e-12)


def test_attached_points_and_surface_points_are_both_in_the_patch(points):
    rng = np.random.default_rng(0)
    tree, attached = cKDTree(points), []
    for anchor in points[rng.integers(len(points), size=50)]:
        patch = adding(tree, anchor, donor(), rng=rng)
        assert patch.shape == (64, 3) and len(as_set(patch)) == 64
        attached.append(64 - (tree.query(patch)[0] < 1e-12).sum())
    assert min(attached) >= 8 and max(attached) <= 56  # fewest at the surface's rim, where the centroid moves most
    assert np.median(attached) > 16


def test_jitter_turns_and_scales_the_attached_points_about_the_anchor(points):
    rng, tree = np.random.default_rng(1), cKDTree(points)
    attached = np.array([[0, 0, 0], [0.5, 0, 0], [0, 0.4, 0], [0, 0, 0.3]]) * 0.001 + 0.2
    sides = np.linalg.norm(attached[:, None] - attached[None], axis=-1)[np.triu_indices(4, 1)]
    scales, turned = [], []
    for anchor in points[rng.integers(len(points), size=40)]:
        patch = adding(tree, anchor, attached, rng=rng)
        placed = patch[tree.query(patch)[0] > 1e-9]  # the attached points, in an order of their own
        ours = np.linalg.norm(placed[:, None] - placed[None], axis=-1)[np.triu_indices(4, 1)]
        ratio = np.sort(ours) / np.sort(sides)
        assert placed.shape == (4, 3) and np.allclose(ratio, ratio[0])  # one scale for all: nothing is sheared
        assert np.allclose(placed.mean(axis=0), anchor)
        scales.append(ratio[0])
        turned.append(np.linalg.norm(np.sort(placed - anchor, axis=0) / ratio[0] - np.sort(attached - 0.2, axis=0)))
    assert 0.5 <= min(scales) < 0.7 and 1.3 < max(scales) <= 1.5
    assert len(np.unique(np.round(turned, 12))) == 40


def test_a_removed_hole_is_absent_contiguous_and_leaves_64_of_the_surface(points):
    rng, tree = np.random.default_rng(0), cKDTree(points)
    for anchor in points[rng.integers(len(points), size=50)]:
        patch = removing(tree, anchor, rng=rng)
        assert len(as_set(patch)) == 64
        assert tree.query(patch)[0].max() < 1e-12  # all of them are points of the surface
        reach = np.linalg.norm(patch - anchor, axis=1)
        assert (np.diff(reach) >= 0).all()  # the common sampler's order
        around = brute_force(points, anchor, 128)
        within = around[np.linalg.norm(around - anchor, axis=1) <= reach.max()]
        gone = np.array([point for point in within if tuple(np.round(point, 9)) not in as_set(patch)])
        # A ball round one of the points holds all that are gone and none that are kept.
        inner = np.linalg.norm(around[:, None] - gone[None], axis=-1).max(axis=1)
        outer = np.linalg.norm(around[:, None] - patch[None], axis=-1).min(axis=1)
        assert 0 < len(gone) <= 64 and (inner < outer).any()


def test_the_hole_is_what_brute_force_takes_away(points):
    """Two nearest-neighbour queries by sorting: the neighbourhood of the anchor, and in it of the hole's centre."""
    anchor = points[2000]
    patch = removing(points, anchor, rng=np.random.default_rng(5))
    rng = np.random.default_rng(5)
    hole = int(rng.integers(16, 65, size=(1, 1))[0, 0])
    around = brute_force(points, anchor, 64 + hole)
    centre = around[int(rng.random(1)[0] * (64 + hole))]
    expected = as_set(around) - as_set(brute_force(around, centre, hole))
    assert as_set(patch) == expected and len(expected) == 64


def test_random_removal_thins_the_neighbourhood(points):
    rng = np.random.default_rng(0)
    anchors = points[rng.integers(len(points), size=200)]
    patches = removing_patches(cKDTree(points), anchors, k=64, removal="random", rng=rng)
    reach = np.linalg.norm(patches - anchors[:, None], axis=-1).max(axis=1)
    for patch, anchor, radius in zip(patches[:20], anchors, reach, strict=False):
        within = (np.linalg.norm(points - anchor, axis=1) <= radius).sum()
        assert 64 < within <= 128 and len(as_set(patch)) == 64
    with pytest.raises(UserError, match="'hole' or 'random'"):
        removing(points, anchors[0], removal="half", rng=rng)


def test_a_scan_of_fewer_points_than_a_patch_repeats_them():
    rng = np.random.default_rng(0)
    few = rng.normal(size=(20, 3))
    for removal in ("hole", "random"):
        patch = removing(few, few[0], removal=removal, rng=rng)
        assert patch.shape == (64, 3) and 4 <= len(as_set(patch)) < 20


def test_local_interest_points_lie_round_one_top_pixel():
    one = scan()
    top = torch.tensor([20 * 64 + 20, 40 * 64 + 40])
    seen = set()
    for seed in range(8):
        local = interest_points(one.xyz, one.valid, top, count=50, mode="local", rng=np.random.default_rng(seed))
        assert local.shape == (50, 3) and local.dtype == np.float32 and len(as_set(local)) == 50
        centre = local[0]
        seen.add(tuple(centre))
        assert np.linalg.norm(local - centre, axis=1).max() < 0.003  # 50 pixels of 0.5 mm are a disc of 2 mm
        measured = one.xyz[:, one.valid].T.numpy()
        assert as_set(local) == as_set(brute_force(measured, centre, 50))
    assert seen == {tuple(one.xyz.flatten(1)[:, i].tolist()) for i in top} or len(seen) == 2


def test_global_interest_points_are_the_top_pixels_themselves():
    one = scan()
    top = torch.nonzero(one.valid.flatten())[::40, 0]
    chosen = interest_points(one.xyz, one.valid, top, count=len(top), mode="global", rng=np.random.default_rng(0))
    assert as_set(chosen) == as_set(one.xyz.flatten(1)[:, top].T.numpy())
    more = interest_points(one.xyz, one.valid, top[:3], count=50, mode="global", rng=np.random.default_rng(0))
    assert more.shape == (50, 3) and len(as_set(more)) <= 3
    with pytest.raises(ValueError, match="at least one"):
        interest_points(one.xyz, one.valid, top[:0], rng=np.random.default_rng(0))


def draw(one=None, *, preparation=PREPARATION, seed=0, **options):
    options = {"positives": 8, **options}
    rng = np.random.default_rng(seed)
    return draw_patches(one or scan(preparation), [donor(), donor(40, 2)], preparation=preparation, rng=rng, **options)


def test_a_draw_holds_sixteen_negatives_a_positive_half_of_each_kind_with_64_points():
    batch = draw()
    assert batch.points.shape == (136, 64, 3) and batch.points.dtype == torch.float32
    assert torch.bincount(batch.kind).tolist() == [8, 64, 64]
    assert batch.kind[:8].eq(NORMAL).all() and batch.kind.dtype == torch.int64
    assert torch.allclose(batch.points.norm(dim=-1).amax(dim=1), torch.ones(136), atol=1e-5)
    assert torch.bincount(draw(kinds=("adding",)).kind, minlength=3).tolist() == [8, 128, 0]
    assert torch.bincount(draw(kinds=("removing",)).kind, minlength=3).tolist() == [8, 0, 128]
    odd = draw(positives=3, negatives_per_positive=3).kind
    assert [(odd == kind).sum().item() for kind in (NORMAL, ADDING, REMOVING)] == [3, 5, 4]


def test_normal_patches_are_the_common_samplers_and_carry_the_fpfh_of_their_anchors_cell():
    one = scan()
    one.fpfh = torch.arange(64.0).reshape(1, 8, 8).repeat(33, 1, 1)  # every cell has its number
    batch = draw(one, positives=32, preparation=ScanPreparation(image_size=64, fpfh=False, patch_scale="metric"))
    assert batch.fpfh.shape == (32 * 17, 33) and batch.fpfh[32:].abs().sum() == 0
    points = one.xyz[:, one.valid].T.double()
    candidates = normalise_patches(points[torch.cdist(points, points).argsort(dim=1)[:, :64]], scale="metric")
    rows, columns = torch.nonzero(one.valid, as_tuple=True)
    for patch, cell in zip(batch.points[:32], batch.fpfh[:32, 0], strict=True):
        match = (candidates - patch).abs().amax(dim=(1, 2)).argmin()
        assert torch.allclose(candidates[match].float(), patch, atol=1e-5)
        assert cell == rows[match] // 8 * 8 + columns[match] // 8
        assert one.cells[int(cell)]  # anchored in an object cell
    assert draw(scan()).fpfh.abs().sum() == 0  # a scan without FPFH


def test_with_the_grid_as_source_normal_patches_are_cells_and_the_scale_is_the_scans():
    preparation = ScanPreparation(image_size=64, fpfh=False, patch_source="grid", patch_scale="metric")
    one = scan(preparation)
    one.fpfh = torch.arange(64.0).reshape(1, 8, 8).repeat(33, 1, 1)
    batch = draw(one, preparation=preparation)
    cells = batch.fpfh[:8, 0].long()
    expected = normalise_patches(cell_patches(one.xyz, one.valid, cells, patch_size=8, k=64), scale="metric")
    assert torch.allclose(batch.points[:8], expected, atol=1e-5)


def test_the_scan_scale_divides_normal_and_pseudo_patches_by_the_grids_median_radius():
    preparation = ScanPreparation(image_size=64, fpfh=False, patch_scale="scan")
    scaled = draw(scan(preparation), preparation=preparation)
    metric = draw(preparation=ScanPreparation(image_size=64, fpfh=False, patch_scale="metric"))
    ratio = scaled.points.norm(dim=-1).amax(dim=1) / metric.points.norm(dim=-1).amax(dim=1)
    assert torch.allclose(ratio, ratio[:1].expand_as(ratio), rtol=1e-4)
    grid = scan(preparation)
    assert grid.patches[grid.cells].norm(dim=-1).amax(dim=1).median().item() == pytest.approx(1, abs=1e-4)


def test_the_same_seed_draws_the_same_patches_and_the_global_state_is_left_alone():
    np.random.seed(0)
    torch.manual_seed(0)
    state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()
    first, second, other = draw(seed=1), draw(seed=1), draw(seed=2)
    assert torch.equal(first.points, second.points) and not torch.equal(first.points, other.points)
    assert np.array_equal(state, np.random.get_state()[1]) and torch.equal(torch_state, torch.get_rng_state())


def test_what_cannot_be_drawn_is_said():
    with pytest.raises(UserError, match="'adding' and 'removing'"):
        draw(kinds=("melting",))
    with pytest.raises(UserError, match="auxiliary class"):
        draw_patches(scan(), [], positives=1, preparation=PREPARATION, rng=np.random.default_rng(0))
    empty = scan()
    empty.cells[:] = False
    with pytest.raises(UserError, match=r"000\.tiff.*background: keep"):
        draw(empty)
