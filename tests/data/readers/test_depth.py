"""Depth images and cameras, against Open3D, librealsense's formula, and MVTec's and Eyecandies' own files."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from threedzal.data.readers import read_points
from threedzal.data.readers.camera import read_camera
from threedzal.data.record import ScanRecord
from threedzal.errors import UserError

SIZE = (30, 40)
FX, FY, CX, CY = 50.0, 52.0, 19.0, 14.5


def record(path: Path, **options) -> ScanRecord:
    return ScanRecord("part", "", "", path.stem, xyz=path, unit=None, **options)


@pytest.fixture
def depth() -> np.ndarray:
    """Millimetres, with a hole."""
    depth = np.random.default_rng(0).integers(600, 700, SIZE).astype(np.uint16)
    depth[3:6, 10:20] = 0
    return depth


@pytest.fixture
def by_open3d(depth) -> np.ndarray:
    """What Open3D makes of the depth image: the measured points in metres, row by row."""
    o3d = pytest.importorskip("open3d")
    camera = o3d.camera.PinholeCameraIntrinsic(SIZE[1], SIZE[0], FX, FY, CX, CY)
    cloud = o3d.geometry.PointCloud.create_from_depth_image(o3d.geometry.Image(depth), camera, depth_scale=1000.0)
    return np.asarray(cloud.points)


PLAIN = {"fx": FX, "fy": FY, "cx": CX, "cy": CY}
FORMATS = {
    "plain": {**PLAIN, "depth_scale": 1000},
    "realsense": {"width": 40, "height": 30, "fx": FX, "fy": FY, "ppx": CX, "ppy": CY, "model": "Brown Conrady",
                  "coeffs": [0, 0, 0, 0, 0], "depth_scale": 0.001},
    "ros": {"K": [FX, 0, CX, 0, FY, CY, 0, 0, 1], "depth_scale": 0.001},
    "mvtec": {"focus": 0.01, "sx": 0.01 / FX, "sy": 0.01 / FY, "cx": CX, "cy": CY, "kappa": 0, "image_width": 40,
              "image_height": 30, "depth_scale": 0.001},
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_a_depth_image_has_open3d_s_points_whoever_wrote_the_intrinsics(name, depth, by_open3d, tmp_path):
    Image.fromarray(depth).save(tmp_path / "part_depth.png")
    (tmp_path / "part.json").write_text(json.dumps(FORMATS[name]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the scale is stated: nothing is guessed
        xyz = read_points(record(tmp_path / "part_depth.png"))
    assert xyz.dtype == np.float32 and xyz.shape == (*SIZE, 3)
    assert (xyz.any(axis=2) == (depth > 0)).all()
    np.testing.assert_allclose(xyz[depth > 0], by_open3d, rtol=1e-6, atol=1e-7)


def test_open3d_s_own_json_is_read(depth, by_open3d, tmp_path):
    o3d = pytest.importorskip("open3d")
    camera = o3d.camera.PinholeCameraIntrinsic(SIZE[1], SIZE[0], FX, FY, CX, CY)
    o3d.io.write_pinhole_camera_intrinsic(str(tmp_path / "camera.json"), camera)
    parameters = o3d.camera.PinholeCameraParameters()
    parameters.intrinsic, parameters.extrinsic = camera, np.eye(4)
    o3d.io.write_pinhole_camera_parameters(str(tmp_path / "parameters.json"), parameters)
    Image.fromarray(depth).save(tmp_path / "part.png")
    for source in (None, tmp_path / "parameters.json"):
        xyz = read_points(replace(record(tmp_path / "part.png", camera=source), unit=0.001))
        np.testing.assert_allclose(xyz[depth > 0], by_open3d, rtol=1e-6, atol=1e-7)


def test_a_known_pixel(tmp_path):
    depth = np.zeros(SIZE, np.uint16)
    depth[20, 30] = 500
    Image.fromarray(depth).save(tmp_path / "part.png")
    xyz = read_points(replace(record(tmp_path / "part.png", camera=(100.0, 50.0, 10.0, 10.0)), unit=0.001))
    np.testing.assert_allclose(xyz[20, 30], (0.5 * 20 / 100, 0.5 * 10 / 50, 0.5), rtol=1e-6)
    assert xyz.any(axis=2).sum() == 1


@pytest.mark.parametrize("suffix", [".exr", ".tiff"])
def test_depth_in_floating_point_is_read(suffix, depth, by_open3d, tmp_path):
    metres = depth.astype(np.float32) / 1000
    path = tmp_path / f"part{suffix}"
    if suffix == ".exr":
        openexr = pytest.importorskip("OpenEXR")
        metres = np.where(depth > 0, metres, 1e10).astype(np.float32)  # as Blender fills the background
        with openexr.File({"type": openexr.scanlineimage}, {"Z": metres}) as file:
            file.write(str(path))
    else:
        tifffile.imwrite(path, metres)
    (tmp_path / "camera.json").write_text(json.dumps(PLAIN))
    xyz = read_points(replace(record(path), unit=1.0))
    np.testing.assert_allclose(xyz[depth > 0], by_open3d, rtol=1e-5)
    assert not xyz[depth == 0].any()


def test_the_lens_of_a_realsense_is_undone_by_librealsense_s_formula(tmp_path):
    coeffs = [0.1, -0.05, 0.002, -0.001, 0.01]
    values = {**FORMATS["realsense"], "model": "Inverse Brown Conrady", "coeffs": coeffs}
    (tmp_path / "camera.json").write_text(json.dumps(values))
    rays = read_camera(tmp_path / "camera.json").rays(SIZE)
    k1, k2, p1, p2, k3 = coeffs
    x, y = (35 - CX) / FX, (25 - CY) / FY
    r2 = x * x + y * y
    f = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    expected = (x * f + 2 * p1 * x * y + p2 * (r2 + 2 * x * x), y * f + 2 * p2 * x * y + p1 * (r2 + 2 * y * y), 1)
    np.testing.assert_allclose(rays[25, 35], expected)
    values["model"] = "Brown Conrady"
    (tmp_path / "camera.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match="camera.json: the lens distortion brown_conrady is not undone"):
        read_camera(tmp_path / "camera.json")


def test_mvtec_s_camera_looks_where_its_points_are(sample_root):
    gland = sample_root / "mvtec_3d" / "cable_gland"
    rays = read_camera(gland / "calibration" / "camera_parameters.json").rays((400, 400))
    xyz = tifffile.imread(min((gland / "train" / "good" / "xyz").iterdir()))
    seen = xyz[..., 2] > 0
    away = np.abs(xyz[seen][:, :2] / xyz[seen][:, 2:] - rays[seen][:, :2])
    pixel = 3.75e-6 / 0.0103431
    assert np.median(away[:, 0]) < 0.3 * pixel  # 0.33 without the lens distortion
    assert np.median(away[:, 1]) < 1.1 * pixel  # the set's own row offset


def test_eyecandies_depth_has_the_normals_that_come_with_it(sample_root):
    folder = sample_root / "eyecandies" / "CandyCane" / "train" / "data"
    path = folder / "000_depth.png"
    xyz = read_points(record(path))
    info = (folder / "000_info_depth.yaml").read_text()
    assert xyz[..., 2].max() == pytest.approx(float(info.split("max:")[1].split()[0]), rel=1e-6)
    assert xyz[..., 2].min() == pytest.approx(float(info.split("min:")[1].split()[0]), rel=1e-6)
    normals = np.cross(xyz[2:, 1:-1] - xyz[:-2, 1:-1], xyz[1:-1, 2:] - xyz[1:-1, :-2])
    given = np.asarray(Image.open(folder / "000_normals.png"))[1:-1, 1:-1] / 127.5 - 1
    given = given * (1, -1, -1)  # their z and y are turned with respect to the camera
    cosine = (normals * given).sum(axis=2) / np.linalg.norm(normals, axis=2) / np.linalg.norm(given, axis=2)
    assert np.median(cosine) > 0.9999 and np.percentile(cosine, 10) > 0.99


@pytest.mark.parametrize(
    ("camera", "words"),
    [
        (None, "depth image and its camera is not known.*--data.camera"),
        ({**PLAIN, "width": 64, "height": 48}, "calibrated for 64x48 pixels, but the depth image is 40x30"),
        ({"fx": 3}, "cannot be read as the intrinsics|holds no intrinsics"),
        ({"focal": 3}, "holds no intrinsics"),
        ("{", "cannot be read as the intrinsics"),
    ],
)
def test_a_camera_that_is_absent_or_wrong_is_one_sentence(camera, words, depth, tmp_path):
    Image.fromarray(depth).save(tmp_path / "part.png")
    if camera is not None:
        (tmp_path / "part.json").write_text(camera if isinstance(camera, str) else json.dumps(camera))
    with pytest.raises(UserError, match=words) as caught:
        read_points(record(tmp_path / "part.png"))
    assert "\n" not in str(caught.value)
