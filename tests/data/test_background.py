"""The object in a scan: an analytic scene whose truth is known, Open3D's clusters, and the real cable gland."""

import numpy as np
import pytest
from PIL import Image

from threedzal.data.background import find_foreground, fit_plane, largest_cluster, silhouette
from threedzal.data.index import index_dataset
from threedzal.data.readers import read_points, read_truth

SIDE, FOCAL = 200, 1000.0  # a 0.12 m wide scene seen from 0.6 m
TILT = np.array([0.1, -0.2, -1.0]) / np.linalg.norm([0.1, -0.2, -1.0])  # the table's normal, towards the camera
TABLE = 0.6


def rays(side=SIDE):
    v, u = np.indices((side, side)) + 0.5 - side / 2
    return np.stack([u / FOCAL, v / FOCAL, np.ones_like(u)], axis=-1)


def scene(rng, *, height=0.015, missing=0.4, noise=0.0005):
    """A slab of `height` on a tilted, sparsely measured table: xyz (h, w, 3) float32 and the slab's pixels (h, w)."""
    direction = rays()
    table = TABLE * TILT[2] / (direction @ TILT)
    slab = (TABLE * TILT[2] + height) / (direction @ TILT)
    top = direction * slab[..., None]
    box = (np.abs(top[..., 0] - 0.005) < 0.025) & (np.abs(top[..., 1]) < 0.015)
    depth = np.where(box, slab, table) + rng.normal(0, noise, box.shape)
    xyz = (direction * depth[..., None]).astype(np.float32)
    xyz[~box & (rng.random(box.shape) < missing)] = 0
    return xyz, box


def test_the_slab_is_found_whole_and_the_table_is_gone():
    xyz, box = scene(np.random.default_rng(0))
    assert np.array_equal(find_foreground(xyz), box)


def test_what_is_lower_than_five_millimetres_is_table_and_a_smaller_distance_keeps_it():
    xyz, box = scene(np.random.default_rng(1), height=0.003, noise=0.0002)
    assert not find_foreground(xyz).any()
    assert np.array_equal(find_foreground(xyz, plane_distance=0.0018), box)


def test_points_below_the_table_and_lone_specks_above_it_are_dropped():
    xyz, box = scene(np.random.default_rng(2))
    xyz[20:40, 20:60] = rays()[20:40, 20:60] * 0.68  # a plate under the table, larger than a cluster needs
    xyz[150, 30] = rays()[150, 30] * 0.5
    assert np.array_equal(find_foreground(xyz), box)


def test_without_a_table_every_measured_point_is_kept():
    xyz, box = scene(np.random.default_rng(3))
    xyz[~box] = 0
    assert np.array_equal(find_foreground(xyz), box)
    assert not find_foreground(np.zeros((50, 60, 3), np.float32)).any()


def test_an_object_reaching_the_border_is_kept_there():
    xyz, box = scene(np.random.default_rng(4))
    direction = rays()
    rod = np.abs(direction[..., 1] * FOCAL) < 15  # from the left edge to the right
    xyz[rod] = (direction * ((TABLE * TILT[2] + 0.015) / (direction @ TILT))[..., None]).astype(np.float32)[rod]
    assert np.array_equal(find_foreground(xyz), box | rod)


def test_the_same_scan_gives_the_same_answer_whatever_the_global_random_state():
    xyz, _ = scene(np.random.default_rng(5))
    np.random.seed(1)
    first = find_foreground(xyz)
    state = np.random.get_state()[1].copy()
    np.random.seed(2)
    assert np.array_equal(first, find_foreground(xyz))
    np.random.seed(1)
    assert np.array_equal(state, np.random.get_state()[1])


def test_a_wrong_shape_is_named():
    with pytest.raises(ValueError, match=r"\(h, w, 3\).*\(3, 8, 8\)"):
        find_foreground(np.zeros((3, 8, 8), np.float32))


def test_the_plane_is_found_among_outliers():
    rng = np.random.default_rng(6)
    points = rays().reshape(-1, 3) * (TABLE * TILT[2] / (rays() @ TILT)).reshape(-1, 1)
    points = points[rng.permutation(len(points))[:3000]]
    points[:900] += rng.uniform(0, 1, (900, 1)) * [0.0, 0.0, -0.1]  # 30 % stand higher
    normal, offset = fit_plane(points)
    assert np.degrees(np.arccos(normal @ TILT)) < 0.5
    assert abs(offset + TABLE * TILT[2]) < 0.001
    assert fit_plane(rng.uniform(-1, 1, (3000, 3))) is None  # a cloud is no plane
    assert fit_plane(points[:20]) is None


def test_the_largest_cluster_is_open3ds_largest_dbscan_cluster():
    open3d = pytest.importorskip("open3d")
    rng = np.random.default_rng(7)
    blobs = [rng.uniform(-0.5, 0.5, (n, 3)) * size + place for n, size, place in [
        (4000, (0.05, 0.04, 0.01), (0, 0, 0)),
        (2500, (0.02, 0.02, 0.01), (0.05, 0, 0)),  # 15 mm away
        (600, (0.4, 0.4, 0.4), (0, 0, 0)),  # specks
    ]]  # fmt: skip
    points = np.concatenate(blobs)
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points))
    labels = np.asarray(cloud.cluster_dbscan(eps=0.006, min_points=30))
    expected = labels == np.bincount(labels[labels >= 0]).argmax()
    ours = largest_cluster(points, radius=0.006, min_points=30)
    assert 3900 < expected.sum() < 4100
    assert (ours != expected).mean() < 0.005


def disc(radius, *, centre=(100, 100), side=200):
    rows, columns = np.indices((side, side))
    return np.hypot(rows - centre[0], columns - centre[1]) <= radius


def test_a_drilled_hole_and_missing_measurements_belong_to_the_silhouette():
    whole = disc(70)
    scattered = whole & (np.random.default_rng(0).random(whole.shape) > 0.1)
    drilled = scattered & ~disc(12, centre=(90, 120))
    assert np.array_equal(silhouette(drilled) & disc(68), disc(68))
    assert not (silhouette(drilled) & ~whole).any()


def test_the_centre_of_a_ring_stays_open():
    ring = disc(70) & ~disc(30)
    assert (silhouette(ring) != ring).sum() < 0.005 * ring.sum()  # a disc of pixels is no perfect disc


def test_a_hole_that_is_wide_for_the_closing_is_filled_up_to_its_share_of_the_object():
    drilled = disc(70) & ~disc(14)  # 4 % of the object
    assert np.array_equal(silhouette(drilled, close=0.01), disc(70))
    assert np.array_equal(silhouette(drilled, close=0.01, hole=0.03), drilled)


def test_a_missing_tooth_at_the_rim_is_closed_and_a_wide_bay_is_not():
    block = np.zeros((200, 200), bool)
    block[50:150, 40:160] = True
    toothless, bay = block.copy(), block.copy()
    toothless[50:70, 100:108] = False
    bay[50:90, 80:120] = False
    assert (silhouette(toothless) != block).sum() <= 10  # of 160: a shallow dent is left at its mouth
    assert silhouette(bay)[50:80, 85:115].sum() == 0


def test_the_silhouette_is_the_same_at_half_the_resolution_and_copes_with_borders_and_nothing():
    drilled = disc(70) & ~disc(12, centre=(90, 120))
    assert np.array_equal(silhouette(drilled)[::2, ::2], silhouette(drilled[::2, ::2]))
    assert silhouette(np.ones((30, 40), bool)).all()
    assert not silhouette(np.zeros((30, 40), bool)).any()


def test_the_real_cable_gland_is_kept_whole_and_its_table_is_gone(sample_root):
    import tifffile
    from scipy import ndimage

    outside = defective = 0
    scans = sorted((sample_root / "mvtec_3d" / "cable_gland" / "test").glob("[!g]*/xyz/*.tiff"))
    if not scans:
        pytest.skip("no real cable gland in SAMPLE_ROOT")
    for path in scans[::4]:
        xyz = tifffile.imread(path)
        foreground = find_foreground(xyz)
        outline = silhouette(foreground)
        truth = np.asarray(Image.open(path.parents[1] / "gt" / f"{path.stem}.png")) > 0
        outside += (truth & ~outline).sum()
        defective += truth.sum()
        assert ndimage.label(outline)[1] == 1  # one piece, no speckle
        assert 18_000 < foreground.sum() < 35_000  # of 160 000 pixels
        border = np.ones_like(foreground)
        border[40:-40, 40:-40] = False
        assert not foreground[border].any()
    assert outside / defective < 0.05  # what is left lies where a piece is broken off the rim


def test_walls_that_run_along_the_picture_s_edge_are_not_the_object(sample_root):
    for record in index_dataset(sample_root / "eyecandies", splits=["train", "test"]):
        foreground = find_foreground(read_points(record))
        assert 0.03 < foreground.mean() < 0.08
        assert not foreground[[0, -1]].any() and not foreground[:, [0, -1]].any()
        truth = read_truth(record)
        if truth is not None and truth.any():
            assert foreground[truth].mean() > 0.95
