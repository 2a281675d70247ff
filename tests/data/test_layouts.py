"""Folders as users have them: Eyecandies', and MVTec's with other formats or less structure."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from threedzal.data.check import check_records
from threedzal.data.index import index_dataset, list_classes, records_from_path
from threedzal.data.readers import read_object, read_picture, read_points, read_truth
from threedzal.data.readers.cloud import Cloud
from threedzal.data.readers.ply import write_scored_ply
from threedzal.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:.*unit of length")
SIZE = (30, 40)


@pytest.fixture
def xyz() -> np.ndarray:
    row, column = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float32)
    return np.stack([column / 1000, row / 1000, 0.6 + column * 1e-5], axis=2)


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*SIZE, 3), 90, np.uint8)).save(path)


def depth(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(SIZE, 600, np.uint16)).save(path)


def ply(path: Path, xyz: np.ndarray, *, coloured: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    colours = np.full((xyz[..., 0].size, 3), 7, np.uint8) if coloured else None
    write_scored_ply(path, Cloud(xyz.reshape(-1, 3), colours, SIZE), np.zeros(xyz[..., 0].size))


def test_mvtec_s_layout_holds_any_format(xyz, tmp_path):
    good = tmp_path / "part" / "train" / "good"
    ply(good / "xyz" / "000.ply", xyz)
    np.savez(good / "xyz" / "001.npz", xyz=xyz)
    depth(good / "xyz" / "002.png")
    for name in ("000", "001", "002"):
        picture(good / "rgb" / f"{name}.png")
    (tmp_path / "part" / "camera.json").write_text(json.dumps({"fx": 600, "fy": 600, "cx": 20, "cy": 15}))
    records = index_dataset(tmp_path)
    assert [record.key for record in records] == [f"part/train/good/{n:03}" for n in range(3)]
    assert [read_points(record).shape for record in records] == [(*SIZE, 3)] * 3
    assert all(record.rgb.parent.name == "rgb" for record in records)
    check_records(records)


def test_depth_in_a_folder_of_its_own(xyz, tmp_path):
    bad = tmp_path / "part" / "test" / "dent"
    depth(bad / "depth" / "000.png")
    picture(bad / "rgb" / "000.png")
    picture(bad / "gt" / "000.png")
    (tmp_path / "camera.json").write_text(json.dumps({"fx": 600, "fy": 600, "cx": 20, "cy": 15}))
    (record,) = index_dataset(tmp_path)
    assert (record.defect, record.label, record.xyz.parent.name) == ("dent", 1, "depth")
    assert read_truth(record).all()
    for level in (bad / "depth" / "000.png", bad / "depth", bad, tmp_path):
        assert records_from_path(level) == [record]


@pytest.mark.parametrize(("scans", "held_out"), [(1, []), (2, ["1"]), (7, ["4"]), (11, ["4", "9"])])
def test_a_folder_of_good_scans_is_a_class(scans, held_out, xyz, tmp_path):
    for i in range(scans):
        ply(tmp_path / "part" / f"{chr(97 + i)}{i % 10}.ply", xyz, coloured=True)
    assert list_classes(tmp_path) == ["part"]
    validation = [r for r in index_dataset(tmp_path) if r.split == "validation"]
    assert [record.name[1:] for record in validation] == held_out
    assert len(index_dataset(tmp_path)) == scans
    assert all(record.defect == "good" and record.rgb == record.xyz for record in index_dataset(tmp_path))


def test_scans_may_lie_in_the_split_itself(xyz, tmp_path):
    ply(tmp_path / "part" / "train" / "a.ply", xyz)
    ply(tmp_path / "part" / "validation" / "good" / "b.ply", xyz)
    ply(tmp_path / "part" / "test" / "dent" / "c.ply", xyz)
    keys = ["part/train/good/a", "part/validation/good/b", "part/test/dent/c"]
    assert [record.key for record in index_dataset(tmp_path)] == keys


def test_loose_scans_are_paired_with_their_pictures(xyz, tmp_path):
    ply(tmp_path / "a.ply", xyz)
    picture(tmp_path / "a.png")
    depth(tmp_path / "b_depth.png")
    picture(tmp_path / "b_rgb.png")
    depth(tmp_path / "c.png")
    ply(tmp_path / "d.ply", xyz, coloured=True)
    tifffile.imwrite(tmp_path / "e_xyz.tiff", xyz)
    picture(tmp_path / "e_color.jpg")
    found = {record.name: (record.xyz.name, record.rgb and record.rgb.name) for record in records_from_path(tmp_path)}
    assert found == {
        "a": ("a.ply", "a.png"),
        "b": ("b_depth.png", "b_rgb.png"),
        "c": ("c.png", None),
        "d": ("d.ply", "d.ply"),
        "e": ("e_xyz.tiff", "e_color.jpg"),
    }
    for name in ("a.ply", "b_depth.png", "c.png", "d.ply", "e_xyz.tiff"):
        (record,) = records_from_path(tmp_path / name)
        assert found[record.name] == (record.xyz.name, record.rgb and record.rgb.name)
    with pytest.raises(UserError, match="a.png is not a scan"):
        records_from_path(tmp_path / "a.png")


def test_folders_of_loose_scans_are_predicted_together(xyz, tmp_path):
    ply(tmp_path / "one" / "a.ply", xyz)
    ply(tmp_path / "two" / "a.ply", xyz)
    depth(tmp_path / "three" / "depth" / "a.png")
    assert [record.key for record in records_from_path(tmp_path)] == ["one/a", "three/a", "two/a"]


def test_one_file_is_taken_though_another_format_of_it_lies_beside_it(xyz, tmp_path):
    ply(tmp_path / "a.ply", xyz)
    np.savez(tmp_path / "a.npz", xyz=xyz)
    with pytest.raises(UserError, match="two files of one scan"):
        records_from_path(tmp_path)
    assert records_from_path(tmp_path / "a.npz")[0].xyz == tmp_path / "a.npz"


def test_an_npz_brings_its_picture_object_and_truth(xyz, tmp_path):
    mask = np.zeros(SIZE, bool)
    mask[5:20, 5:20] = True
    xyz[7, 7] = np.nan
    rgb = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", xyz=xyz, rgb=rgb, mask=mask, gt=mask.T.reshape(SIZE))
    (record,) = records_from_path(tmp_path)
    np.testing.assert_array_equal(read_picture(record), rgb)
    np.testing.assert_array_equal(read_truth(record), mask.T.reshape(SIZE))
    mask[7, 7] = False  # not measured
    np.testing.assert_array_equal(read_object(record), mask)
    np.savez(tmp_path / "a.npz", xyz=xyz, rgb=rgb[:9])
    with pytest.raises(UserError, match=r"a.npz: `rgb` is \(9, 40, 3\)"):
        check_records(records_from_path(tmp_path), nan="allow")


def test_a_picture_says_how_many_rows_an_organised_ply_has(xyz, tmp_path):
    write_scored_ply(tmp_path / "a.ply", Cloud(xyz.reshape(-1, 3)), np.zeros(xyz[..., 0].size))
    picture(tmp_path / "a.png")
    (record,) = records_from_path(tmp_path)
    np.testing.assert_array_equal(read_points(record), xyz)


def test_what_is_wrong_with_any_format_is_named_before_a_run(xyz, tmp_path):
    ply(tmp_path / "a.ply", xyz)
    (tmp_path / "a.ply").write_bytes((tmp_path / "a.ply").read_bytes()[:600])
    depth(tmp_path / "b.png")
    np.savez(tmp_path / "c.npz", points=xyz)
    with pytest.raises(UserError) as caught:
        check_records(records_from_path(tmp_path), need_rgb=False)
    text = str(caught.value)
    assert "a.ply: cannot be read as a point cloud" in text
    assert "b.png: is a depth image and its camera is not known" in text
    assert "c.npz: `xyz` is absent" in text


def test_eyecandies_is_a_data_set(sample_root):
    root = sample_root / "eyecandies"
    assert list_classes(root) == ["CandyCane"]
    records = index_dataset(root, splits=["train", "test"])
    assert [(r.split, r.name, r.defect) for r in records if r.split == "train"] == [
        ("train", "000", "good"),
        ("train", "001", "good"),
    ]
    tests = {record.name: record for record in records if record.split == "test"}
    assert tests["00"].defect == "good" and not read_truth(tests["00"]).any()
    assert tests["25"].defect == "bumps" and read_truth(tests["25"]).any()
    assert read_picture(tests["25"]).shape == read_points(tests["25"]).shape == (512, 512, 3)
    check_records(records)
    for level in ("", "CandyCane", "CandyCane/test_public", "CandyCane/test_public/data"):
        assert set(tests.values()) <= set(records_from_path(root / level))
    (record,) = records_from_path(root / "CandyCane/test_public/data/25_depth.png")
    assert record == tests["25"]


def test_real_crops_bring_their_object(sample_root):
    records = records_from_path(sample_root / "mosd_object_crops")
    assert len(records) == len(list((sample_root / "mosd_object_crops").glob("*.npz")))
    check_records(records[:5], nan="allow")
    assert read_object(records[0]).any() and read_picture(records[0]).dtype == np.uint8
