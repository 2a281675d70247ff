"""One generated scan: truth, twin, camera and instrument."""

import numpy as np
import pytest

from threedzal.data.generated import CLASS_NAMES, DEFECTS
from threedzal.data.generated.camera import positions
from threedzal.data.generated.classes import CLASSES
from threedzal.data.generated.products import object_class, product_name
from threedzal.data.generated.scan import (
    COLOUR_TOLERANCE,
    DEPTH_TOLERANCE,
    ScanSpec,
    class_camera,
    empty_scene,
    lay_down,
    make_scan,
)
from threedzal.data.generated.sensor import hidden, measured

SIZE = 80
PRODUCTS = tuple(map(product_name, (0, 1, 4, 6, 14, 18)))  # turned parts, lumps, plates
KINDS = [(name, defect) for name in CLASS_NAMES for defect in DEFECTS[name]]


@pytest.fixture(scope="module")
def scans():
    """Every class with every defect, once."""
    return {kind: make_scan(ScanSpec(kind[0], "test", kind[1], 1), size=SIZE) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS, ids="/".join)
def test_every_defect_is_in_the_ground_truth_under_its_own_value(scans, kind):
    gt = scans[kind].gt
    assert set(np.unique(gt)) == {0, 255 - DEFECTS[kind[0]].index(kind[1])}
    assert 2e-4 < (gt > 0).mean() < 0.08


@pytest.mark.parametrize("kind", KINDS, ids="/".join)
def test_ground_truth_is_where_the_scene_differs_from_its_twin(scans, kind):
    scan = scans[kind]
    moved = np.abs(scan.scene.depth - scan.twin.depth)
    repainted = np.abs(scan.scene.albedo - scan.twin.albedo).max(0)
    good = scan.gt == 0
    assert not moved[good].any() and not repainted[good].any()
    assert ((moved > DEPTH_TOLERANCE) | (repainted > COLOUR_TOLERANCE))[~good].mean() > 0.97


def test_a_colour_defect_changes_no_geometry(scans):
    for name in CLASS_NAMES:
        if "colour" in DEFECTS[name]:
            scan = scans[name, "colour"]
            np.testing.assert_array_equal(scan.scene.depth, scan.twin.depth)


def test_noise_outside_the_defect_is_the_twins(scans):
    scan = scans["lumpy_ellipsoid", "hole"]
    twin = scan.camera.points(measured(scan.twin, scan.noise, focal=scan.camera.focal))
    both = (scan.xyz[..., 2] > 0) & (twin[..., 2] > 0) & (scan.gt == 0)
    np.testing.assert_array_equal(scan.xyz[both], twin[both])


def test_a_good_scan_has_an_empty_ground_truth_and_is_its_own_twin():
    scan = make_scan(ScanSpec("rod", "test", "good", 0), size=SIZE)
    assert not scan.gt.any() and scan.gt.dtype == np.uint8
    np.testing.assert_array_equal(scan.scene.depth, scan.twin.depth)


@pytest.mark.parametrize("name", CLASS_NAMES)
def test_scans_reproject_onto_their_pixels_and_are_in_metres(scans, name):
    scan = scans[name, DEFECTS[name][0]]
    parameters = scan.camera.parameters()
    v, u = np.nonzero(scan.xyz[..., 2])
    x, y, z = scan.xyz[v, u].astype(np.float64).T
    np.testing.assert_allclose(parameters["focus"] / parameters["sx"] * x / z + parameters["cx"], u, atol=1e-3)
    np.testing.assert_allclose(parameters["focus"] / parameters["sy"] * y / z + parameters["cy"], v, atol=1e-3)
    assert scan.xyz.dtype == np.float32 and z.min() > 0.45 and z.max() < 0.75
    assert not scan.xyz[scan.xyz[..., 2] == 0].any()


@pytest.mark.parametrize("name", CLASS_NAMES)
def test_measurements_are_missing_mostly_on_the_table(scans, name):
    scan = scans[name, DEFECTS[name][-1]]
    valid, on = scan.xyz[..., 2] > 0, scan.scene.on
    assert 0.33 < 1 - valid[~on].mean() < 0.62
    assert 0.003 < 1 - valid[on].mean() < 0.27  # edges weigh heavily in a picture of so few pixels
    assert 0.08 < on.mean() < 0.5
    assert scan.rgb[on].mean() > 4 * scan.rgb[~on].mean()


@pytest.mark.parametrize("name", (*CLASS_NAMES, *PRODUCTS))
def test_a_piece_lies_inside_the_picture_and_on_the_table(name):
    entry = object_class(name, seed=0)
    camera = class_camera(entry, size=SIZE)
    for index in range(2):
        spec = ScanSpec(name, "train", "good", index)
        on = make_scan(spec, size=SIZE).scene.on
        assert not (on[:2].any() or on[-2:].any() or on[:, :2].any() or on[:, -2:].any())
        piece = entry.make(spec.rng(0))
        pose, normal, offset = lay_down(piece, camera, spec.rng(1), yaw=entry.yaw, view=entry.view)
        corners = np.stack(np.meshgrid(*[np.arange(-piece.radius, piece.radius, 2.5)] * 3), -1).reshape(-1, 3)
        solid = corners[piece.field(*corners.T.astype(np.float32)) < 0]
        height = (solid @ pose.rotation + pose.centre) @ normal - offset
        assert -6 < height.min() < 4


@pytest.mark.parametrize("name", (*CLASS_NAMES, *PRODUCTS))
def test_traced_depth_is_the_first_surface_that_small_steps_find(name):
    spec, entry = ScanSpec(name, "train", "good", 0), object_class(name, seed=0)
    camera = class_camera(entry, size=64)
    piece = entry.make(spec.rng(0))
    pose, normal, offset = lay_down(piece, camera, spec.rng(1), yaw=entry.yaw, view=entry.view)
    table, camera_rays = empty_scene(camera, piece, normal, offset)
    scan = make_scan(spec, size=64)
    pixels = np.arange(0, table.depth.size, 7)
    rays, found = pose.turn(camera_rays[:, pixels]), np.full(pixels.size, np.inf)
    for t in np.arange(table.depth.min() - 90, table.depth.max(), 0.1, dtype=np.float32):
        inside = piece.field(*positions(pose.origin(), rays, np.full(pixels.size, t))) < 0
        found = np.where(inside & np.isinf(found) & (t < table.depth[pixels]), t, found)
    traced = np.where(scan.scene.on.reshape(-1)[pixels], scan.scene.depth.reshape(-1)[pixels], np.inf)
    agree = np.isinf(traced) & np.isinf(found)
    agree |= np.abs(np.where(np.isinf(traced), 0, traced) - np.where(np.isinf(found), 0, found)) < 0.3
    assert agree.mean() > 0.98


def test_two_classes_are_not_square():
    cameras = {name: class_camera(CLASSES[name], size=400) for name in CLASS_NAMES}
    shapes = {name: (camera.height, camera.width) for name, camera in cameras.items()}
    assert shapes["twisted_strand"] == (178, 400) and shapes["ribbed_wheel"] == (400, 300)
    assert sum(h == w for h, w in shapes.values()) == 8
    assert make_scan(ScanSpec("ribbed_wheel", "train", "good", 0), size=64).xyz.shape == (64, 48, 3)


def test_pieces_of_a_class_differ_and_the_same_seed_repeats():
    first, again, other, seeded = (
        make_scan(ScanSpec("ring", "train", "good", index, seed), size=64)
        for index, seed in ((0, 0), (0, 0), (1, 0), (0, 1))
    )
    np.testing.assert_array_equal(first.xyz, again.xyz)
    np.testing.assert_array_equal(first.rgb, again.rgb)
    assert np.abs(first.scene.depth - other.scene.depth).max() > 1
    assert np.abs(first.scene.depth - seeded.scene.depth).max() > 1


@pytest.mark.parametrize("shift", [4000.0, -4000.0])
def test_what_a_second_viewpoint_cannot_see_is_hidden(shift):
    rng = np.random.default_rng(0)
    depth = (100 + np.cumsum(rng.normal(0, 2, (1, 60)), axis=1)).astype(np.float32)
    place = np.arange(60) - shift / depth[0]
    blocked = []
    for j in range(60):  # from the side, a pixel is behind any nearer one that has crossed over to its other side
        crossed = (place[:j] > place[j] + 0.5).any() if shift < 0 else (place[j + 1 :] < place[j] - 0.5).any()
        blocked.append(crossed)
    np.testing.assert_array_equal(hidden(depth, shift=shift, margin=0.5)[0], blocked)
    assert 0 < np.mean(blocked) < 1
