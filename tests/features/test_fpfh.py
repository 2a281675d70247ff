"""FPFH: the torch backend against Open3D and against the definition written as loops, on real and on analytic scans."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from threedzal.compiled import has_numba, loop
from threedzal.errors import UserError
from threedzal.features import fpfh, fpfh_grid
from threedzal.features.fpfh_torch import point_features

open3d = pytest.importorskip("open3d")


def camera_scene(size: int = 64, *, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A bumpy sphere above a table seen by a pinhole camera, some pixels unmeasured: xyz (1,3,H,W), valid (1,H,W)."""
    generator = torch.Generator().manual_seed(seed)
    v, u = torch.meshgrid(*[torch.linspace(-0.1, 0.1, size, dtype=torch.float64)] * 2, indexing="ij")
    depth = 0.6 + 0.2 * u + 0.01 * torch.sin(40 * u) * torch.cos(50 * v)
    inside = (u**2 + v**2).sqrt() < 0.05
    depth = torch.where(inside, depth - 0.02 * torch.sqrt((1 - (u**2 + v**2) / 0.05**2).clamp(0)), depth)
    depth = depth + 1e-4 * torch.randn(size, size, generator=generator, dtype=torch.float64)
    valid = torch.rand(size, size, generator=generator) > 0.15
    valid[:5, :30] = False
    xyz = (torch.stack([u * depth, v * depth, depth]) * valid).float()
    return xyz[None], valid[None]


def open3d_cloud(points: np.ndarray, *, oriented: bool = True):
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points))
    cloud.estimate_normals(open3d.geometry.KDTreeSearchParamHybrid(radius=0.1, max_nn=30))
    if oriented:
        cloud.orient_normals_towards_camera_location(np.zeros(3))
    return cloud


def open3d_fpfh(cloud, *, radius: float = 0.25, neighbours: int = 100) -> np.ndarray:
    search = open3d.geometry.KDTreeSearchParamHybrid(radius=radius, max_nn=neighbours)
    return np.array(open3d.pipelines.registration.compute_fpfh_feature(cloud, search).data).T


def hybrid_search(points: torch.Tensor, *, radius: float, neighbours: int) -> tuple[torch.Tensor, torch.Tensor]:
    squared, rows = (points[:, None] - points[None]).square().sum(-1).fill_diagonal_(-1).sort(1)
    rows, squared = rows[:, 1:neighbours], squared[:, 1:neighbours]
    return rows, torch.where(squared < radius**2, squared, torch.inf)


def points_of(xyz: torch.Tensor, valid: torch.Tensor) -> np.ndarray:
    return xyz[0][:, valid[0]].T.double().numpy()


def flat_scene(size: int = 48) -> tuple[torch.Tensor, torch.Tensor]:
    """Two planes: nearly all pairs have equal normals but for the last digits, which decide where the frame stands."""
    v, u = torch.meshgrid(*[torch.linspace(-0.1, 0.1, size, dtype=torch.float64)] * 2, indexing="ij")
    depth = torch.where(u < 0, 0.6 / (1 - 0.3 * u - 0.1 * v), 0.6 / (1 + 0.5 * u + 0.17 * v))
    return torch.stack([u * depth, v * depth, depth]).float()[None], torch.ones(1, size, size, dtype=torch.bool)


def assert_open3d_s_numbers_given_its_normals(points, *, radius=0.25, neighbours=100) -> None:
    cloud = open3d_cloud(points)
    expected = open3d_fpfh(cloud, radius=radius, neighbours=neighbours)
    tensor = torch.from_numpy(points)
    rows, squared = hybrid_search(tensor, radius=radius, neighbours=neighbours)
    found = point_features(tensor, torch.from_numpy(np.array(cloud.normals)), rows, squared).numpy()
    # of histograms that sum to 200: no pair is counted elsewhere
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize(("radius", "neighbours"), [(0.25, 100), (0.006, 100), (0.25, 12)])
def test_given_equal_normals_the_numbers_are_open3d_s(radius, neighbours):
    points = points_of(*camera_scene(48))
    assert_open3d_s_numbers_given_its_normals(points, radius=radius, neighbours=neighbours)


@pytest.mark.usefixtures("either_way")
def test_given_equal_normals_the_numbers_are_open3d_s_on_planes_too():
    assert_open3d_s_numbers_given_its_normals(points_of(*flat_scene()))


@pytest.mark.parametrize("scene", [camera_scene, flat_scene])
@pytest.mark.parametrize("normals", ["oriented", "raw"])
def test_without_numba_the_numbers_are_the_same(scene, normals, request):
    pytest.importorskip("numba")
    xyz, valid = scene(72)
    compiled = fpfh(xyz, valid, backend="torch", normals=normals)
    request.getfixturevalue("without_numba")
    assert not has_numba()
    other = fpfh(xyz, valid, backend="torch", normals=normals)
    assert ((compiled - other).abs().amax(1) > 1e-4).double().mean() < 0.002


def test_a_numba_that_does_not_fit_is_told_and_done_without(monkeypatch, without_numba):
    class Broken:
        def find_spec(self, name, *_):
            if name == "numba":
                raise ImportError("Numba needs NumPy 2.3 or less")

    monkeypatch.delitem(sys.modules, "numba")
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.warns(UserWarning, match=r"NumPy 2\.3"):
        assert not has_numba()
    assert fpfh(*camera_scene(16), backend="torch").any()


def test_loops_run_where_no_folder_can_keep_them():
    pytest.importorskip("numba")
    scope = {}
    exec("def double(x):\n    return 2 * x", scope)  # of no file, so that there is no folder beside it
    assert loop(scope["double"])(21) == 42


def literal_fpfh(points: np.ndarray, normals: np.ndarray, *, neighbours: int) -> np.ndarray:
    """The definition, point by point and pair by pair, with cross products and arc cosines."""

    def pair(p1, n1, p2, n2):
        line = p2 - p1
        length = np.linalg.norm(line)
        if length == 0:
            return 0.0, 0.0, 0.0
        angle1, angle2 = n1 @ line / length, n2 @ line / length
        if math.acos(min(1, abs(angle1))) > math.acos(min(1, abs(angle2))):
            n1, n2, line, angle1 = n2, n1, -line, -angle2
        v = np.cross(line, n1)
        if np.linalg.norm(v) == 0:
            return 0.0, 0.0, 0.0
        v = v / np.linalg.norm(v)
        return math.atan2(np.cross(n1, v) @ n2, n1 @ n2), v @ n2, angle1

    order = [
        sorted(range(len(points)), key=lambda j, i=i: (j != i, np.sum((points[j] - points[i]) ** 2)))[1:neighbours]
        for i in range(len(points))
    ]
    simple = np.zeros((len(points), 33))
    for i, near in enumerate(order):
        for j in near:
            theta, alpha, phi = pair(points[i], normals[i], points[j], normals[j])
            for third, share in enumerate([(theta + math.pi) / (2 * math.pi), (alpha + 1) / 2, (phi + 1) / 2]):
                simple[i, 11 * third + min(max(int(math.floor(11 * share)), 0), 10)] += 100 / len(near)
    full = np.zeros_like(simple)
    for i, near in enumerate(order):
        for j in near:
            squared = np.sum((points[j] - points[i]) ** 2)
            full[i] += simple[j] / squared if squared > 0 else 0
        for third in (slice(0, 11), slice(11, 22), slice(22, 33)):
            full[i, third] *= 100 / full[i, third].sum() if full[i, third].sum() else 0
    return full + simple


@pytest.mark.usefixtures("either_way")
def test_a_tiny_cloud_matches_the_definition_with_equal_points_and_normals_along_a_line():
    generator = np.random.default_rng(0)
    points, normals = generator.normal(size=(15, 3)), generator.normal(size=(15, 3))
    points[3] = points[7]  # two points at one place
    points[5], normals[4], normals[5] = points[4] + [0, 0, 0.5], [0, 0, 1], [0, 0, 1]  # a line along both normals
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    tensor = torch.from_numpy(points)
    rows, squared = hybrid_search(tensor, radius=math.inf, neighbours=9)
    found = point_features(tensor, torch.from_numpy(normals), rows, squared).numpy()
    np.testing.assert_allclose(found, literal_fpfh(points, normals, neighbours=9), atol=1e-9)


def assert_close_to_open3d(xyz: torch.Tensor, valid: torch.Tensor) -> None:
    found = fpfh(xyz, valid, backend="torch")[0][:, valid[0]].T.double().numpy()
    expected = open3d_fpfh(open3d_cloud(points_of(xyz, valid)))
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.9999
    assert np.linalg.norm(found - expected) < 0.01 * np.linalg.norm(expected)
    # Open3D's normals of points with the same neighbours differ in their last digits: few points, few of their pairs
    assert (np.abs(found - expected).max(1) > 1e-3).mean() < 0.3
    assert np.abs(found - expected).max() < 20


def test_the_torch_backend_is_close_to_open3d_on_an_analytic_scene():
    assert_close_to_open3d(*camera_scene(96))


@pytest.mark.parametrize("scan", ["train/good/xyz/000.tiff", "test/bent/xyz/001.tiff"])
def test_the_torch_backend_is_close_to_open3d_on_a_real_scan(sample_root, scan):
    import tifffile

    path = sample_root / "mvtec_3d" / "cable_gland" / scan
    if not path.is_file():
        path = sorted(path.parent.glob("*.tiff"))[0]
    xyz = torch.from_numpy(tifffile.imread(path)[::4, ::4].copy()).permute(2, 0, 1)[None]
    assert_close_to_open3d(xyz, (xyz != 0).any(1))


def test_the_open3d_backend_is_open3d_in_the_right_pixels():
    xyz, valid = camera_scene(32)
    for orientation in ("oriented", "raw"):
        found = fpfh(xyz, valid, normals=orientation)
        expected = open3d_fpfh(open3d_cloud(points_of(xyz, valid), oriented=orientation == "oriented"))
        assert found.shape == (1, 33, 32, 32) and found.dtype == torch.float32
        np.testing.assert_allclose(found[0][:, valid[0]].T.numpy(), expected, atol=1e-3)
        assert not found[0][:, ~valid[0]].any()


def test_oriented_features_do_not_change_with_a_turn_about_the_camera_s_axis():
    """With every normal turned to the camera, nothing is left to the eigenvectors' signs; raw ones depend on them."""
    xyz, valid = camera_scene(48)
    angle = 2.0  # about the camera's axis: the camera stays at the origin
    rotation = torch.tensor([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]])
    rotated = torch.einsum("ij,bjhw->bihw", rotation, xyz)
    first, second = (fpfh(scan, valid, backend="torch") for scan in (xyz, rotated))
    assert ((first - second).norm() / first.norm()) < 0.02
    raw, raw_rotated = (fpfh(scan, valid, backend="torch", normals="raw") for scan in (xyz, rotated))
    assert ((raw - raw_rotated).norm() / raw.norm()) > 0.05


@pytest.mark.parametrize("backend", ["torch", "open3d"])
def test_every_third_of_a_feature_sums_to_200_and_a_batch_is_its_scans(backend):
    scans = [camera_scene(32, seed=seed) for seed in range(2)]
    xyz, valid = torch.cat([scan[0] for scan in scans]), torch.cat([scan[1] for scan in scans])
    both = fpfh(xyz, valid, backend=backend)
    for number, (one, mask) in enumerate(scans):
        torch.testing.assert_close(both[number], fpfh(one, mask, backend=backend)[0])
        sums = both[number][:, mask[0]].view(3, 11, -1).sum(1)
        torch.testing.assert_close(sums, torch.full_like(sums, 200), atol=1e-3, rtol=0)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("backend", ["torch", "open3d"])
@pytest.mark.parametrize("points", [0, 1, 2, 3, 20])
def test_scans_of_few_points_give_numbers(backend, points):
    xyz, valid = camera_scene(16)
    keep = torch.zeros_like(valid)
    keep.view(-1)[valid.view(-1).nonzero()[:points, 0]] = True
    features = fpfh(xyz * keep, keep, backend=backend)
    assert features.isfinite().all()
    assert features.any() == (points >= 3)


@pytest.mark.usefixtures("either_way")
def test_a_plane_parallel_to_the_picture_gives_numbers():
    v, u = torch.meshgrid(torch.arange(20.0), torch.arange(20.0), indexing="ij")
    xyz = torch.stack([u * 0.001, v * 0.001, torch.full_like(u, 0.5)])[None]
    features = fpfh(xyz, torch.ones(1, 20, 20, dtype=torch.bool), backend="torch")
    torch.testing.assert_close(features[0, [5, 16, 27]], torch.full((3, 20, 20), 200.0))  # all angles zero


def test_the_grid_s_features_are_means_of_their_pixels():
    maps = torch.rand(2, 33, 56, 56)
    reference = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(maps, [1] * 4, mode="constant"), 3, 1)
    expected = reference.view(2, 33, 14, 4, 14, 4).mean((3, 5))[:, :, 1:-1, 1:-1]
    torch.testing.assert_close(fpfh_grid(maps, grid=14)[:, :, 1:-1, 1:-1], expected)
    assert fpfh_grid(torch.rand(1, 33, 224, 224)).shape == (1, 33, 28, 28)


def test_without_open3d_one_sentence_names_the_library_and_the_other_backend(monkeypatch):
    monkeypatch.setitem(sys.modules, "open3d", None)
    xyz, valid = camera_scene(16)
    with pytest.raises(UserError, match=r"libusb-1\.0-0.*fpfh_backend: torch") as caught:
        fpfh(xyz, valid, backend="open3d")
    assert "\n" not in str(caught.value)
    assert fpfh(xyz, valid, backend="torch").any()


def test_wrong_shapes_and_names_are_told():
    xyz, valid = camera_scene(16)
    with pytest.raises(UserError, match=r"\(1, 16, 15\)"):
        fpfh(xyz, valid[:, :, 1:])
    with pytest.raises(UserError, match="'pcl'"):
        fpfh(xyz, valid, backend="pcl")


def test_workers_of_a_loader_compute_the_same():
    xyz, valid = camera_scene(32)
    dataset = [(xyz[0], valid[0])] * 2
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=1, num_workers=2, multiprocessing_context="fork", collate_fn=_torch_fpfh
    )
    expected = fpfh(xyz, valid, backend="torch")
    assert all(torch.equal(found, expected) for found in loader)


def _torch_fpfh(scans: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    return fpfh(scans[0][0][None], scans[0][1][None], backend="torch")


def test_importing_the_features_loads_no_heavy_library():
    code = (
        "import sys, threedzal.features; from threedzal.features import fpfh; assert callable(fpfh); "
        "print([name for name in ('open3d', 'faiss', 'timm', 'scipy', 'numba') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
