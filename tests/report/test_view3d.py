"""The bytes of the 3D view, unpacked again by the layout that its module documents."""

import struct

import numpy as np
import pytest

from threedzal.report.view3d import surface_bytes, surface_text


def unpacked(data: bytes) -> dict:
    """Width, height, gap, size and the arrays of a surface."""
    width, height, gap, size = struct.unpack_from("<HHff", data)
    packed = -(-width * height // 8)
    cells = np.unpackbits(np.frombuffer(data, np.uint8, packed, 12), count=width * height).astype(bool)
    at, count, arrays = 12 + packed + packed % 2, int(cells.sum()), {}
    for name, kind, columns in (("steps", "<u2", 3), ("share", "u1", 1), ("colour", "u1", 3), ("rim", "u1", 1)):
        arrays[name] = np.frombuffer(data, kind, count * columns, at).reshape(count, columns)
        at += arrays[name].nbytes
    assert at == len(data)
    return {"cells": cells.reshape(height, width), "gap": gap, "size": size, **arrays}


@pytest.fixture
def scan() -> dict[str, np.ndarray]:
    """A bumpy sheet, 60 x 80 pixels of a millimetre, with a border that was not measured."""
    y, x = np.mgrid[:60, :80] / 1000.0
    points = np.stack([x, y, 0.5 + 0.003 * np.sin(200 * x)], axis=2).astype(np.float32)
    points[:5] = 0
    points[:, 70:] = np.nan
    rng = np.random.default_rng(0)
    rim = np.zeros((60, 80), bool)
    rim[20, 10:30] = True
    return {
        "points": points,
        "share": rng.random((60, 80)),
        "rgb": rng.integers(0, 256, (60, 80, 3), dtype=np.uint8),
        "rim": rim,
    }


def test_points_come_back_to_a_step(scan):
    read = unpacked(surface_bytes(**scan))
    valid = np.isfinite(scan["points"]).all(axis=2) & scan["points"].any(axis=2)
    points = scan["points"][valid].astype(float)
    assert read["cells"].sum() == valid.sum()
    assert read["size"] == pytest.approx(np.ptp(points, axis=0).max())
    back = points.min(axis=0) + read["steps"] / 65535 * read["size"]
    assert np.abs(back - points).max() <= read["size"] / 65535
    assert np.array_equal(read["colour"], scan["rgb"][valid])
    assert np.abs(read["share"][:, 0] / 255 - scan["share"][valid]).max() <= 0.5 / 255 + 1e-9
    assert read["rim"].sum() == scan["rim"].sum()


def test_neighbours_are_within_the_gap_and_a_jump_in_depth_is_not(scan):
    scan["points"][30:, :, 2] += 0.1
    read = unpacked(surface_bytes(**scan))
    steps = np.zeros((*read["cells"].shape, 3))
    steps[read["cells"]] = read["steps"]
    across = np.linalg.norm(np.diff(steps, axis=1), axis=2)
    down = np.linalg.norm(np.diff(steps, axis=0), axis=2)
    jump = 30 - 5 - 1  # the border is cut off
    assert across.max() < read["gap"] < down[jump].min()
    assert np.delete(down, jump, axis=0).max() < read["gap"]


def test_a_fine_scan_is_thinned_and_keeps_the_rim(scan):
    read = unpacked(surface_bytes(**scan, most=500))
    assert 100 < read["cells"].sum() <= 500
    assert read["rim"].any()


def test_flying_points_do_not_make_the_object_small(scan):
    scan["points"][10, 10] = (5.0, 5.0, 5.0)
    assert unpacked(surface_bytes(**scan))["size"] < 0.1


def test_a_scan_of_the_paper_is_a_few_hundred_kilobytes():
    y, x = np.mgrid[:400, :400] / 4000.0
    points = np.stack([x, y, np.ones_like(x)], axis=2)
    text = surface_text(points, np.zeros((400, 400)), None, np.zeros((400, 400), bool))
    assert 150_000 < len(text) < 400_000


def test_a_scan_without_points_has_no_surface():
    empty = np.zeros((4, 4, 3))
    assert surface_bytes(empty, empty[..., 0], None, empty[..., 0] > 0) == b""
