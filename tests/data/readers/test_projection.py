"""Virtual cameras: what is seen, from where, and that every point finds its pixel again."""

import numpy as np
import pytest

from threedzal.data.readers.projection import camera_frame, project
from threedzal.errors import UserError


@pytest.fixture
def seen() -> np.ndarray:
    """20000 points of a wavy sheet half a metre ahead of the origin, in random order, in millimetres."""
    rng = np.random.default_rng(0)
    xy = rng.uniform(-60, 60, (20000, 2))
    return np.column_stack([xy, 500 + 5 * np.sin(xy[:, 0] / 10)])


def test_a_scanner_s_cloud_stays_in_its_frame_and_points_return_to_their_pixels(seen):
    view = project(seen)
    height, width = view.xyz.shape[:2]
    filled = view.chosen >= 0
    np.testing.assert_array_equal(view.xyz[filled], seen[view.chosen[filled]].astype(np.float32))  # nothing is moved
    assert not view.xyz[~filled].any() and filled.mean() > 0.8  # 13 % of the pixels are empty for random points
    assert (view.pixels >= 0).mean() > 0.99
    row, column = np.divmod(view.pixels, width)
    assert np.corrcoef(column, seen[:, 0] / seen[:, 2])[0, 1] > 0.999
    assert np.corrcoef(row, seen[:, 1] / seen[:, 2])[0, 1] > 0.999
    assert 1.5 < len(seen) / (height * width) < 2.5


def test_the_projection_does_not_depend_on_the_unit(seen):
    np.testing.assert_array_equal(project(seen / 1024).pixels, project(seen).pixels)


def test_a_regular_grid_leaves_no_pixel_empty():
    row, column = np.mgrid[:100, :120] / 1000.0
    view = project(np.stack([column - 0.06, row - 0.05, np.full_like(row, 0.4)], axis=2).reshape(-1, 3))
    assert (view.chosen >= 0).all()


def test_the_nearer_surface_hides_the_farther_one(seen):
    sheet = seen * (1.4, 1.4, 0) + (0, 0, 650)  # a sheet behind it, as wide from where the camera is
    view = project(np.concatenate([seen, sheet]))
    assert (view.pixels[:20000] >= 0).mean() > 0.99
    behind = view.pixels[20000:]
    inside = np.abs(sheet[:, :2] / 650).max(axis=1) < 55 / 500
    assert (behind[inside] >= 0).mean() < 0.05


def test_background_beside_an_edge_is_not_hidden():
    row, column = np.mgrid[:100, :100] / 1000.0
    z = np.where(column < 0.05, 0.4, 0.45)
    view = project(np.stack([(column - 0.05) * z / 0.4, (row - 0.05) * z / 0.4, z], axis=2).reshape(-1, 3))
    assert (view.pixels >= 0).all()


def test_opengl_s_camera_is_turned(seen):
    np.testing.assert_array_equal(camera_frame(seen * (1, -1, -1)), seen)


def test_a_cloud_on_a_table_is_looked_at_from_above(seen):
    table = (seen - (0, 0, 500)) * (1, -1, -1) + (800, 300, 20)  # a robot's frame, z up
    turned = camera_frame(table)
    assert turned[:, 2].min() > 0
    order = np.argsort(turned[:, 2])
    assert (np.diff(table[order, 2]) <= 1e-9).all()  # the highest is the nearest
    difference = np.linalg.norm(table[1:] - table[:-1], axis=1)
    np.testing.assert_allclose(np.linalg.norm(turned[1:] - turned[:-1], axis=1), difference)  # moved as a whole
    moved = (turned[1:4] - turned[0]) @ np.linalg.inv(table[1:4] - table[0])
    assert np.linalg.det(moved.round(9)) != 0
    assert (project(table).pixels >= 0).mean() > 0.99


def test_a_handful_of_points_is_refused(seen):
    with pytest.raises(UserError, match="wanted at least 500"):
        project(seen[:100])
