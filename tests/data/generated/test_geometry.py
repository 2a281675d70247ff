"""Signed distances and tracing against closed forms and brute force."""

import numpy as np
import pytest

from threedzal.data.generated.camera import Camera, trace, trace_image
from threedzal.data.generated.sdf import Bumps, Pores, Waves, rounded_box, rounded_profile, smooth_min, sphere


def test_rounded_box_is_the_distance_to_its_surface():
    rng = np.random.default_rng(0)
    half, radius = np.array([5.0, 3.0, 2.0]), 0.5
    core = half - radius
    p = rng.uniform(-9, 9, (3, 400)).astype(np.float32)
    outside = p[:, (np.abs(p) > core[:, None]).any(0)]
    nearest = np.clip(outside, -core[:, None], core[:, None])  # of the sharp core, which the rounding grows by `radius`
    expected = np.linalg.norm(outside - nearest, axis=0) - radius
    np.testing.assert_allclose(rounded_box(*outside, half=tuple(half), radius=radius), expected, atol=1e-4)


def test_rounded_profile_without_edge_is_a_cylinder():
    r, h = np.array([0.0, 3.0, 0.0, 3.0], np.float32), np.array([0.0, 0.0, 2.0, 2.0], np.float32)
    expected = [-1, 1, 1, np.sqrt(2)]
    np.testing.assert_allclose(rounded_profile(r, h, radius=2, half=1, edge=0.0), expected, atol=1e-6)


def test_smooth_min_equals_min_away_from_the_seam():
    a, b = np.array([1.0, 5.0, 2.0]), np.array([4.0, 1.0, 2.0])
    np.testing.assert_allclose(smooth_min(a, b, 1.0), [1, 1, 1.75])


def test_traced_sphere_is_where_the_quadratic_equation_has_it():
    camera = Camera(60, 40, 80.0, 29.5, 19.5)
    rays = camera.rays().astype(np.float32)
    centre, radius = np.array([5.0, -3.0, 100.0]), 15.0
    field = lambda x, y, z: sphere(x, y, z, centre=(5.0, -3.0, 100.0), radius=15.0)  # noqa: E731
    a, b, c = (rays**2).sum(0), centre @ rays, centre @ centre - radius**2
    root = b * b - a * c
    expected = np.where(root >= 0, (b - np.sqrt(np.maximum(root, 0))) / a, np.inf)
    stop = np.full(rays.shape[1], 200, np.float32)
    far = trace(field, np.zeros(3), rays, np.full_like(stop, 50), stop, relax=1.0)
    clear = np.abs(root) > 40  # not the rays that only graze it
    np.testing.assert_allclose(far[clear], expected[clear], atol=0.05)
    moved = lambda x, y, z: field(x + 5.0, y - 3.0, z + 100.0)  # noqa: E731  (the image tracer wants the object at 0)
    image = trace_image(moved, -centre, rays, stop, shape=(40, 60), radius=16.0, relax=1.0)
    np.testing.assert_allclose(image[clear], expected[clear], atol=0.05)


def test_noise_has_the_amplitude_and_scale_asked_for():
    rng = np.random.default_rng(1)
    p = rng.uniform(-200, 200, (3, 20000)).astype(np.float32)
    waves = Waves.draw(np.random.default_rng(2), wavelength=(10, 20), amplitude=0.7, count=8)
    assert waves(*p).std() == pytest.approx(0.7, rel=0.1)
    step = np.float32(0.5)  # a twentieth of the shortest wave
    near = np.corrcoef(waves(*p), waves(p[0] + step, p[1], p[2]))[0, 1]
    far = np.corrcoef(waves(*p), waves(p[0] + 57, p[1] - 31, p[2] + 43))[0, 1]
    assert near > 0.95 and abs(far) < 0.5


def test_pores_match_a_search_over_all_of_them():
    pores = Pores.draw(np.random.default_rng(0), cell=5.0, radius=(0.5, 2.0))
    p = np.random.default_rng(1).uniform(0, 80, (3, 500)).astype(np.float32)
    corner = np.stack(np.meshgrid(*[np.arange(16)] * 3, indexing="ij"), -1)
    centres = ((corner + pores.table[..., :3]) * 5.0).reshape(-1, 3)
    distance = np.linalg.norm(p.T[:, None] - centres, axis=2) - pores.table[..., 3].reshape(-1) * 5.0
    np.testing.assert_array_equal(pores(*p) < 0, distance.min(1) < 0)


def test_a_dent_is_deepest_at_its_centre_and_nothing_beyond_its_radius():
    bumps = Bumps(np.array([[1.0, 2.0, 3.0]]), np.array([2.0]), np.array([-0.5]))
    x = np.array([1.0, 2.0, 3.5], np.float32)
    height = bumps(x, np.full(3, 2, np.float32), np.full(3, 3, np.float32))
    np.testing.assert_allclose(height, [-0.5, -0.5 * 0.75**2, 0], atol=1e-6)
