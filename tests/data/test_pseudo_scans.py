"""Whole pseudo-anomalous scans: the truth is exactly what changed, and it changed along the viewing rays."""

import numpy as np
import pytest
from scipy import ndimage

from threedzal.data.pseudo_scans import RELIEF, draw_region, insert_pseudo_anomalies
from threedzal.errors import UserError


def scene(height=224, width=224, *, seed=0):
    """A dome seen by a pinhole camera: xyz, rgb, foreground; a tenth of it is not measured."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((height, width))
    side = max(height, width)
    v, u = (rows - height / 2) / side, (columns - width / 2) / side
    z = 0.65 - 0.02 * np.clip(1 - 8 * (u**2 + v**2), 0, None)
    xyz = np.stack([0.2 * u * z, 0.2 * v * z, z], axis=-1).astype(np.float32)
    measured = rng.random((height, width)) > 0.1
    xyz[~measured] = 0
    rgb = rng.integers(60, 200, (height, width, 3)).astype(np.uint8)
    return xyz, rgb, measured & (u**2 + v**2 < 0.1)


def interest(seed=0):
    return np.random.default_rng(seed).normal(0, (0.002, 0.002, 0.0005), (50, 3)) + [0.1, 0, 0.6]


@pytest.mark.parametrize("kind", ["adding", "removing"])
@pytest.mark.parametrize("seed", range(6))
def test_the_mask_is_exactly_the_points_that_changed(kind, seed):
    xyz, rgb, foreground = scene()
    before = xyz.copy(), rgb.copy()
    rng = np.random.default_rng(seed)
    new_xyz, new_rgb, mask = insert_pseudo_anomalies(
        xyz, rgb, foreground, interest=interest(seed), kind=kind, rng=rng, regions=1 + seed % 2
    )
    assert np.array_equal(mask, (new_xyz != xyz).any(axis=-1)) and mask.dtype == bool
    assert not (mask & ~foreground).any()
    assert not ((new_rgb != rgb).any(axis=-1) & ~mask).any()
    assert ((new_rgb != rgb).any(axis=-1) & mask).sum() > 0.3 * mask.sum()
    assert new_xyz.dtype == np.float32 and new_rgb.dtype == np.uint8
    assert np.array_equal(before[0], xyz) and np.array_equal(before[1], rgb)  # the inputs are left alone


def insert_many(kind, count=40, **options):
    xyz, rgb, foreground = scene()
    rng = np.random.default_rng(1)
    return xyz, [insert_pseudo_anomalies(xyz, rgb, foreground, kind=kind, rng=rng, **options) for _ in range(count)]


def along_the_ray(xyz, new_xyz, mask):
    """Metres each changed point moved away from the camera; fails where one left its viewing ray."""
    old, new = xyz[mask].astype(np.float64), new_xyz[mask].astype(np.float64)
    length = np.linalg.norm(old, axis=1)
    assert np.abs(np.cross(old, new)).max() < 1e-6
    return np.linalg.norm(new, axis=1) - length


@pytest.mark.parametrize("points", [None, interest()])
def test_adding_raises_the_surface_towards_the_camera_by_up_to_five_millimetres(points):
    xyz, scans = insert_many("adding", interest=points)
    heights = [-along_the_ray(xyz, new, mask) for new, _, mask in scans]
    assert all(h.min() > 0 and RELIEF[0] * 0.3 < h.max() <= RELIEF[1] + 1e-6 for h in heights)
    assert max(h.max() for h in heights) > 0.003


def test_removing_leaves_no_measurement_or_goes_deeper():
    xyz, scans = insert_many("removing")
    missing = [new for new, _, mask in scans if not new[mask].any()]
    deeper = [along_the_ray(xyz, new, mask) for new, _, mask in scans if new[mask].any()]
    assert len(missing) > 10 and len(deeper) > 10 and len(missing) + len(deeper) == len(scans)
    assert all(d.min() > 0 and d.max() <= RELIEF[1] + 1e-6 for d in deeper)


def test_a_hole_is_darker_than_before():
    _, scans = insert_many("removing", count=10)
    _, rgb, _ = scene()
    assert all(new[mask].mean() < rgb[mask].mean() for _, new, mask in scans)


def test_the_colour_can_be_left_alone_or_be_absent():
    xyz, rgb, foreground = scene()
    rng = np.random.default_rng(0)
    _, same, _ = insert_pseudo_anomalies(xyz, rgb, foreground, kind="adding", rng=rng, colour=False)
    assert np.array_equal(same, rgb)
    _, none, mask = insert_pseudo_anomalies(xyz, None, foreground, kind="removing", rng=rng)
    assert none is None and mask.any()


@pytest.mark.parametrize("shape", [(224, 224), (400, 400), (448, 224)])
def test_regions_are_connected_and_have_20_to_400_pixels_at_224(shape):
    _, _, foreground = scene(*shape)
    foreground = ndimage.binary_closing(foreground)
    rng, scale = np.random.default_rng(0), (max(shape) / 224) ** 2
    sizes = []
    for _ in range(60):
        pixels = draw_region(foreground, scale=scale, rng=rng)
        region = np.zeros(shape, bool)
        region[tuple(pixels.T)] = True
        assert ndimage.label(region, np.ones((3, 3)))[1] == 1 and region.sum() == len(pixels)
        assert not (region & ~foreground).any()
        sizes.append(len(pixels) / scale)
    assert 19.5 <= min(sizes) < 35 and 250 < max(sizes) <= 401


def test_outlines_are_noisy_no_two_regions_alike():
    _, _, foreground = scene()
    rng = np.random.default_rng(0)
    shapes = set()
    for _ in range(20):
        pixels = draw_region(foreground, scale=1.0, rng=rng)
        shapes.add(tuple(map(tuple, pixels - pixels.min(axis=0))))
    assert len(shapes) == 20


def test_the_same_seed_makes_the_same_scan():
    xyz, rgb, foreground = scene()
    options = {"kind": "adding", "interest": interest()}
    one, two, other = (
        insert_pseudo_anomalies(xyz, rgb, foreground, rng=np.random.default_rng(seed), **options) for seed in (1, 1, 2)
    )
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert not np.array_equal(one[2], other[2])


def test_a_foreground_without_enough_measured_points_and_an_unknown_kind_are_said():
    xyz, rgb, foreground = scene()
    rng = np.random.default_rng(0)
    with pytest.raises(UserError, match="fewer than the 20"):
        insert_pseudo_anomalies(np.zeros_like(xyz), rgb, foreground, kind="adding", rng=rng)
    with pytest.raises(UserError, match="'adding' and 'removing'"):
        insert_pseudo_anomalies(xyz, rgb, foreground, kind="bending", rng=rng)


def test_real_scans_take_both_kinds(sample_root):
    import tifffile

    from threedzal.data.background import find_foreground, silhouette

    paths = sorted((sample_root / "mvtec_3d" / "cable_gland" / "validation").glob("good/xyz/*.tiff"))
    if not paths:
        pytest.skip("no real cable gland in SAMPLE_ROOT")
    xyz = tifffile.imread(paths[0])
    foreground = find_foreground(xyz)
    rng = np.random.default_rng(0)
    inside = total = 0
    for kind in ("adding", "removing") * 4:
        new, _, mask = insert_pseudo_anomalies(xyz, None, foreground, kind=kind, rng=rng)
        assert np.array_equal(mask, (new != xyz).any(axis=-1))
        inside += (mask & silhouette(find_foreground(new))).sum()  # the test scan's own way to its outline
        total += mask.sum()
    assert inside / total > 0.95
