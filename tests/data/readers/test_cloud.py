"""PCD, PLY and text, against Open3D's writers and readers."""

from pathlib import Path

import numpy as np
import pytest

from threedzal.data.readers.cloud import Cloud, has_colours, read_cloud
from threedzal.data.readers.ply import write_scored_ply
from threedzal.errors import UserError

o3d = pytest.importorskip("open3d")


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(700, 3)) + (0, 0, 3)


@pytest.fixture(scope="module")
def colours() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (700, 3), dtype=np.uint8)


def written_by_open3d(path: Path, points: np.ndarray, colours: np.ndarray | None, **options) -> Path:
    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(points))
    if colours is not None:
        cloud.colors = o3d.utility.Vector3dVector(colours / 255)
    assert o3d.io.write_point_cloud(str(path), cloud, **options)
    return path


@pytest.mark.parametrize("suffix", [".pcd", ".ply"])
@pytest.mark.parametrize("options", [{"write_ascii": True}, {}, {"compressed": True}])
@pytest.mark.parametrize("coloured", [True, False])
def test_what_open3d_writes_is_read(suffix, options, coloured, points, colours, tmp_path):
    path = written_by_open3d(tmp_path / f"part{suffix}", points, colours if coloured else None, **options)
    cloud = read_cloud(path)
    by_open3d = o3d.io.read_point_cloud(str(path))
    np.testing.assert_allclose(cloud.points, np.asarray(by_open3d.points), rtol=0, atol=1e-6)
    np.testing.assert_allclose(cloud.points, points, atol=1e-5)  # six digits in ascii
    assert has_colours(path) == coloured == (cloud.colours is not None)
    if coloured:
        np.testing.assert_array_equal(cloud.colours, np.rint(np.asarray(by_open3d.colors) * 255))


@pytest.mark.parametrize("suffix", [".xyz", ".xyzrgb"])
def test_text_that_open3d_writes_is_read(suffix, points, colours, tmp_path):
    coloured = suffix == ".xyzrgb"
    path = written_by_open3d(tmp_path / f"part{suffix}", points, colours if coloured else None)
    cloud = read_cloud(path)
    np.testing.assert_allclose(cloud.points, points, atol=1e-6)
    assert has_colours(path) == coloured
    if coloured:
        np.testing.assert_array_equal(cloud.colours, colours)


@pytest.mark.parametrize(
    ("text", "coloured"),
    [
        ("// X Y Z R G B\n1 2 3 255 0 7\n4 5 6 1 2 3\n", True),
        ("x,y,z,r,g,b\n1,2,3,255,0,7\n4,5,6,1,2,3\n", True),
        ("2\n1 2 3\n4 5 6\n", False),
        ("1 2 3 0.6 -0.8 0\n4 5 6 0 0 1\n", False),  # normals
    ],
)
def test_text_with_a_head_colours_or_normals(text, coloured, tmp_path):
    (tmp_path / "part.xyz").write_text(text)
    cloud = read_cloud(tmp_path / "part.xyz")
    assert cloud.points.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert (cloud.colours is not None) == coloured == has_colours(tmp_path / "part.xyz")


def pcd_header(kind: str, *, width: int, height: int) -> str:
    return (
        f"# .PCD v0.7\nVERSION 0.7\nFIELDS x y z _ label\nSIZE 4 4 4 1 2\nTYPE F F F U U\nCOUNT 1 1 1 4 1\n"
        f"WIDTH {width}\nHEIGHT {height}\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {width * height}\nDATA {kind}\n"
    )


def test_an_organised_pcd_keeps_its_rows_and_what_is_not_measured(tmp_path):
    dtype = [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("_", "u1", 4), ("label", "<u2")]
    table = np.zeros(6, dtype)
    table["x"], table["z"] = np.arange(6), 1
    table["x"][4] = np.nan
    path = tmp_path / "part.pcd"
    path.write_bytes(pcd_header("binary", width=3, height=2).encode() + table.tobytes())
    cloud = read_cloud(path)
    assert cloud.size == (2, 3)
    assert cloud.measured.tolist() == [True] * 4 + [False, True]
    np.testing.assert_array_equal(cloud.points, np.asarray(o3d.io.read_point_cloud(str(path)).points))
    rows = "\n".join(f"{x} 0 1 0 0 0 0 9" for x in range(6))
    path.write_text(pcd_header("ascii", width=3, height=2) + rows + "\n")
    assert read_cloud(path).points[:, 0].tolist() == [0, 1, 2, 3, 4, 5]


def test_an_organised_ply_keeps_its_rows(points, tmp_path):
    path = tmp_path / "part.ply"
    write_scored_ply(path, Cloud(points, size=(7, 100)), np.zeros(700))
    assert read_cloud(path).size == (7, 100)


def test_a_ply_of_big_endian_doubles_and_faces_is_read(points, tmp_path):
    head = f"ply\r\nformat binary_big_endian 1.0\r\nelement vertex {len(points)}\r\nproperty double x\r\n"
    head += "property double y\r\nproperty double z\r\nelement face 1\r\n"
    head += "property list uchar int vertex_indices\r\nend_header\r\n"
    face = bytes([3]) + np.arange(3, dtype=">i4").tobytes()
    (tmp_path / "part.ply").write_bytes(head.encode() + points.astype(">f8").tobytes() + face)
    np.testing.assert_array_equal(read_cloud(tmp_path / "part.ply").points, points)


@pytest.mark.parametrize("coloured", [True, False])
def test_open3d_finds_points_colours_and_scores_in_what_is_written(coloured, points, colours, tmp_path):
    scores = np.linspace(0, 5, len(points), dtype=np.float32)
    scores[3] = np.nan
    write_scored_ply(tmp_path / "part.ply", Cloud(points, colours if coloured else None), scores)
    found = o3d.t.io.read_point_cloud(str(tmp_path / "part.ply"))
    np.testing.assert_array_equal(found.point.positions.numpy(), points)
    np.testing.assert_array_equal(found.point["anomaly_score"].numpy()[:, 0], scores)
    assert ("colors" in found.point) == coloured
    if coloured:
        np.testing.assert_array_equal(found.point.colors.numpy(), colours)


@pytest.mark.parametrize("suffix", [".pcd", ".ply"])
@pytest.mark.parametrize("options", [{"write_ascii": True}, {}, {"compressed": True}])
def test_a_cut_file_is_one_sentence(suffix, options, points, tmp_path):
    path = written_by_open3d(tmp_path / f"part{suffix}", points, None, **options)
    whole = path.read_bytes()
    for length in (10, len(whole) // 2):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=f"part{suffix}: (is no|cannot be read)") as caught:
            read_cloud(path)
        assert "\n" not in str(caught.value)


def test_a_cloud_without_a_measured_point_is_refused(tmp_path):
    path = written_by_open3d(tmp_path / "part.ply", np.zeros((9, 3)), None)
    with pytest.raises(UserError, match="9 points, none of them measured"):
        read_cloud(path)
