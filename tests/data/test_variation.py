"""Variations of a training scan: what must stay, and what a pinhole camera makes of the rest."""

from __future__ import annotations

import numpy as np
import pytest

from threedzal.data.variation import NOISE, RawScan, light, pose, sensor, vary

FOCAL = 120.0


@pytest.fixture
def raw() -> RawScan:
    rng = np.random.default_rng(0)
    rows, columns = np.indices((40, 56))
    z = 0.6 + 0.02 * np.sin(rows / 5) + 0.03 * np.cos(columns / 7)
    xyz = np.stack([(columns - 27.5) / FOCAL * z, (rows - 19.5) / FOCAL * z, z], axis=-1).astype(np.float32)
    foreground = (rows - 20) ** 2 + (columns - 25) ** 2 < 250
    xyz[rng.random(foreground.shape) < 0.05] = 0
    rgb = rng.integers(20, 230, (40, 56, 3)).astype(np.uint8)
    return RawScan(xyz, rgb, foreground, (rows < 24) & (columns > 30) & foreground)


@pytest.mark.parametrize("seed", range(8))
def test_a_laid_scan_is_one_that_the_same_camera_could_have_taken(raw, seed):
    laid = pose(raw, np.random.default_rng(seed))
    measured = laid.xyz[..., 2] > 0
    rows, columns = np.nonzero(measured)
    x, y, z = laid.xyz[measured].T
    height, width = measured.shape
    np.testing.assert_allclose(x / z * FOCAL, columns - (width - 1) / 2, atol=1e-3)
    np.testing.assert_allclose(y / z * FOCAL, rows - (height - 1) / 2, atol=1e-3)
    assert sorted(map(tuple, _pixels(laid))) == sorted(map(tuple, _pixels(raw)))  # each pixel keeps what belongs to it


def test_all_eight_ways_to_lay_a_scan_come_up(raw):
    rng = np.random.default_rng(0)
    assert len({pose(raw, rng).xyz.tobytes() for _ in range(100)}) == 8


def _pixels(scan: RawScan) -> np.ndarray:
    parts = [scan.xyz[..., 2:], scan.rgb, scan.foreground[..., None], scan.mask[..., None]]
    return np.concatenate([part.reshape(-1, part.shape[-1]).astype(np.float64) for part in parts], axis=1)


def test_a_sensor_moves_points_along_their_rays_and_loses_some(raw):
    spreads = []
    for seed in range(12):
        seen = sensor(raw, np.random.default_rng(seed))
        kept, before = seen.xyz[..., 2] > 0, raw.xyz[..., 2] > 0
        assert (kept <= before).all() and 0.6 < kept.sum() / before.sum() < 1
        np.testing.assert_allclose(np.cross(seen.xyz[kept], raw.xyz[kept]), 0, atol=1e-6)
        assert not seen.xyz[~kept].any()
        assert seen.rgb is raw.rgb and seen.foreground is raw.foreground and seen.mask is raw.mask
        spreads.append((np.linalg.norm(seen.xyz, axis=-1) - np.linalg.norm(raw.xyz, axis=-1))[kept].std())
    assert NOISE[0] < min(spreads) * 1.2 and max(spreads) < 1.2 * NOISE[1]
    assert max(spreads) > 3 * min(spreads)


def test_another_light_changes_the_picture_alone_and_leaves_its_structure(raw):
    from scipy import ndimage

    rgb = ndimage.gaussian_filter(raw.rgb.astype(float), (3, 3, 0))
    rgb = (255 * (rgb - rgb.min()) / np.ptp(rgb)).astype(np.uint8)
    raw = RawScan(raw.xyz, rgb, raw.foreground, raw.mask)
    means = []
    for seed in range(8):
        seen = light(raw, np.random.default_rng(seed))
        assert seen.rgb.dtype == np.uint8 and seen.xyz is raw.xyz and seen.mask is raw.mask
        assert np.corrcoef(seen.rgb.mean(axis=-1).ravel(), rgb.mean(axis=-1).ravel())[0, 1] > 0.9
        means.append(seen.rgb.mean())
    assert np.ptp(means) > 20


def test_a_scan_without_a_picture_or_an_outline_is_varied_too(raw):
    bare = RawScan(raw.xyz, None, None, raw.mask)
    seen = vary(bare, ("pose", "light", "sensor"), np.random.default_rng(0))
    assert seen.rgb is None and seen.foreground is None and seen.mask.sum() == raw.mask.sum()
    again = vary(bare, ("pose", "light", "sensor"), np.random.default_rng(0))
    assert (seen.xyz == again.xyz).all()
    assert vary(raw, (), np.random.default_rng(0)) is raw
