"""The index and the check, against a small tree written here and against real scans."""

import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from threedzal.data import check as check_module
from threedzal.data.check import check_records
from threedzal.data.index import index_dataset, list_classes, records_from_path, summarise
from threedzal.errors import UserError

SIZE = (12, 10)


def write_scan(folder: Path, name: str, *, gt: bool) -> None:
    rng = np.random.default_rng(int(name))
    for kind in ("xyz", "rgb", *(["gt"] if gt else [])):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(folder / "xyz" / f"{name}.tiff", rng.random((*SIZE, 3), dtype=np.float32))
    Image.fromarray(rng.integers(0, 255, (*SIZE, 3), dtype=np.uint8)).save(folder / "rgb" / f"{name}.png")
    if gt:
        Image.fromarray(np.zeros(SIZE, np.uint8)).save(folder / "gt" / f"{name}.png")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("tube", "disc"):
        for scan in ("001", "000"):
            write_scan(tmp_path / name / "train" / "good", scan, gt=False)
            write_scan(tmp_path / name / "test" / "hole", scan, gt=True)
        write_scan(tmp_path / name / "validation" / "good", "000", gt=False)
        write_scan(tmp_path / name / "test" / "good", "000", gt=True)
    (tmp_path / "notes").mkdir()
    (tmp_path / "disc" / "train" / "good" / "rgb" / "._000.png").write_bytes(b"left by a file browser")
    return tmp_path


def test_the_index_is_sorted_by_class_split_defect_name(tree):
    keys = [record.key for record in index_dataset(tree)]
    of_a_class = ["train/good/000", "train/good/001", "validation/good/000", "test/good/000"]
    of_a_class += ["test/hole/000", "test/hole/001"]
    assert keys == [f"{name}/{key}" for name in ("disc", "tube") for key in of_a_class]


def test_a_record_names_its_three_files(tree):
    record = index_dataset(tree, classes=["tube"], splits=["test"])[1]
    folder = tree / "tube" / "test" / "hole"
    assert record.label == 1
    assert (record.xyz, record.rgb, record.gt) == (
        folder / "xyz" / "000.tiff",
        folder / "rgb" / "000.png",
        folder / "gt" / "000.png",
    )


def test_summary_counts_every_file_on_disk(tree):
    rows = summarise(index_dataset(tree))
    assert sum(row["scans"] for row in rows) == len(list(tree.rglob("*.tiff"))) == 12
    assert {"class": "disc", "split": "test", "defect": "hole", "scans": 2} in rows


def test_classes_are_folders_with_a_split_inside(tree):
    assert list_classes(tree) == ["disc", "tube"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"root": "nowhere"}, "there is no"),
        ({"root": "notes"}, "no class folders"),
        ({"root": "tube"}, "is one class"),
        ({"root": ".", "classes": ["tube", "cube"]}, "no class 'cube'.*there are disc, tube"),
        ({"root": ".", "splits": ["dev"]}, "no split 'dev'"),
        ({"root": "tube/train/good/xyz/000.tiff"}, "is a file"),
    ],
)
def test_a_wrong_root_class_or_split_is_one_sentence(tree, arguments, words):
    arguments["root"] = tree / arguments["root"]
    with pytest.raises(UserError, match=words) as caught:
        index_dataset(**arguments)
    assert "\n" not in str(caught.value)


def test_an_intact_tree_passes_the_check(tree):
    check_records(index_dataset(tree), expected=[("tube", "validation")])


def test_every_broken_file_is_named_in_one_error(tree):
    disc, tube = tree / "disc", tree / "tube"
    points = np.ones((*SIZE, 3), np.float32)
    broken = {
        tube / "train/good/rgb/000.png": "missing",
        tube / "train/good/xyz/001.tiff": "missing",
        tube / "test/hole/gt/001.png": "missing, the ground truth",
        tube / "test/hole/xyz/000.tiff": r"shape \(12, 10\)",
        tube / "validation/good/xyz/000.tiff": "cannot be read",
        disc / "train/good/xyz/000.tiff": "1 pixels are NaN",
        disc / "train/good/rgb/001.png": "is 12x10 pixels, but 001.tiff is 10x12",
        disc / "test/good/gt/000.png": "is 4x5 pixels",
        disc / "test/hole/rgb/000.png": "cannot be read",
        disc / "test/hole/xyz/001.tiff": "holds uint8",
        disc / "validation/good/xyz/000.tiff": "no measured point",
    }
    paths = list(broken)
    for path in paths[:3]:
        path.unlink()
    tifffile.imwrite(paths[3], points[..., 0])
    paths[4].write_bytes(paths[4].read_bytes()[:100])
    points[3, 4, 1] = np.nan
    tifffile.imwrite(paths[5], points)
    Image.new("RGB", SIZE).save(paths[6])
    Image.new("L", (4, 5)).save(paths[7])
    paths[8].write_bytes(paths[8].read_bytes()[:200])
    tifffile.imwrite(paths[9], np.ones((*SIZE, 3), np.uint8))
    tifffile.imwrite(paths[10], np.zeros((*SIZE, 3), np.float32))

    with pytest.raises(UserError) as caught:
        check_records(index_dataset(tree), expected=[("ring", "train")])
    lines = str(caught.value).splitlines()[1:]
    for path, words in broken.items():
        (line,) = [line for line in lines if f" {path}:" in line]
        assert re.search(words, line), line
    assert sum("ring/train: holds no scans" in line for line in lines) == 1
    assert len(lines) == len(broken) + 1


def test_pictures_are_not_asked_for_without_the_rgb_branch(tree):
    pictures = list(tree.rglob("rgb/*.png"))
    for path in pictures[:-1]:
        path.unlink()
    check_records(index_dataset(tree), need_rgb=False)
    with pytest.raises(UserError, match="11 problems"):
        check_records(index_dataset(tree))
    pictures[-1].unlink()
    with pytest.raises(UserError, match="none of the 12 scans has a picture .*model.init_args.branches") as caught:
        check_records(index_dataset(tree))
    assert "\n" not in str(caught.value)


def test_ground_truth_is_not_asked_for_where_nothing_is_measured(tree):
    for path in tree.rglob("gt/*.png"):
        path.write_bytes(b"broken")
    (tree / "tube" / "test" / "hole" / "gt" / "000.png").unlink()
    check_records(index_dataset(tree), need_gt=False)
    with pytest.raises(UserError, match="6 problems"):
        check_records(index_dataset(tree))


def test_points_lost_with_their_folder_are_named(tree):
    folder = tree / "tube" / "train" / "good"
    (folder / "xyz").rename(tree / "elsewhere")
    with pytest.raises(UserError, match="train/good/xyz/000.tiff: missing, though .*rgb/000.png is there"):
        check_records(index_dataset(tree))


def test_good_test_scans_need_ground_truth_only_where_the_others_have_it(tree):
    (tree / "tube" / "test" / "good" / "gt" / "000.png").unlink()
    check_records(index_dataset(tree))
    write_scan(tree / "tube" / "test" / "good", "001", gt=True)
    with pytest.raises(UserError, match="test/good/gt/000.png: missing"):
        check_records(index_dataset(tree))


def test_a_long_list_is_capped_and_the_rest_counted(tree, monkeypatch):
    monkeypatch.setattr(check_module, "LISTED", 5)
    for path in list(tree.rglob("rgb/*.png"))[1:]:
        path.unlink()
    with pytest.raises(UserError) as caught:
        check_records(index_dataset(tree))
    assert len(str(caught.value).splitlines()) == 7
    assert str(caught.value).endswith("and 6 more")


def test_nan_may_stand_for_no_measurement(tree):
    tifffile.imwrite(path := tree / "tube/train/good/xyz/000.tiff", np.full((*SIZE, 3), np.nan, np.float32))
    points = np.ones((*SIZE, 3), np.float32)
    points[0] = np.nan
    with pytest.raises(UserError, match="no measured point"):
        check_records(index_dataset(tree), nan="allow")
    tifffile.imwrite(path, points)
    check_records(index_dataset(tree), nan="allow")


def test_a_second_check_reads_only_changed_files(tree, tmp_path_factory, monkeypatch):
    cache = tmp_path_factory.mktemp("cache")
    read = []
    examine = check_module.examine_xyz
    monkeypatch.setattr(check_module, "examine_xyz", lambda path, **kw: read.append(path) or examine(path, **kw))
    records = index_dataset(tree)
    check_records(records, cache=cache)
    assert len(read) == 12
    read.clear()
    tifffile.imwrite(records[3].xyz, np.full((*SIZE, 3), np.inf, np.float32))
    for _ in range(2):  # what is broken is not remembered as intact
        with pytest.raises(UserError, match="test/good/xyz/000.tiff: 120 pixels"):
            check_records(records, cache=cache)
    assert read == [records[3].xyz] * 2


@pytest.mark.parametrize("content", ["{", "[1]", '{"a": 3}'])
def test_a_damaged_cache_is_no_obstacle(tree, tmp_path_factory, content):
    cache = tmp_path_factory.mktemp("cache")
    (cache / check_module.CACHE_NAME).write_text(content)
    check_records(index_dataset(tree), cache=cache)


@pytest.mark.parametrize(
    ("path", "scans"), [("", 12), ("tube", 6), ("tube/test", 3), ("tube/test/hole", 2), ("tube/test/hole/xyz", 2)]
)
def test_any_level_of_a_tree_can_be_predicted(tree, path, scans):
    records = records_from_path(tree / path)
    assert len(records) == len({record.key for record in records}) == scans
    assert all(record.rgb and record.split for record in records)


def test_one_scan_of_a_tree_keeps_its_key_and_ground_truth(tree):
    (record,) = records_from_path(tree / "tube/test/hole/xyz/001.tiff")
    assert record.key == "tube/test/hole/001"
    assert record.gt == tree / "tube/test/hole/gt/001.png"


def test_loose_scans_find_their_picture_beside_them_or_in_rgb(tree):
    plant = tree / "plant"
    (plant / "rgb").mkdir(parents=True)
    (plant / "points").mkdir()
    for name in ("a", "b", "c"):
        tifffile.imwrite(plant / "points" / f"{name}.tif", np.ones((*SIZE, 3), np.float32))
    Image.new("RGB", SIZE).save(plant / "rgb" / "b.png")
    Image.new("RGB", SIZE).save(plant / "points" / "a.png")
    a, b, c = records_from_path(plant / "points")
    assert (a.rgb, b.rgb, c.rgb) == (plant / "points" / "a.png", plant / "rgb" / "b.png", None)
    assert a.key == "points/a"
    assert records_from_path(plant / "points" / "b.tif") == [b]


@pytest.mark.parametrize(
    ("path", "words"),
    [("notes", "holds no scans"), ("nowhere", "there is no"), ("tube/test/hole/rgb/000.png", "is not a scan")],
)
def test_what_is_no_scan_is_said_in_one_sentence(tree, path, words):
    with pytest.raises(UserError, match=words):
        records_from_path(tree / path)


def test_two_files_of_one_name_are_refused(tree):
    tifffile.imwrite(tree / "tube/train/good/xyz/000.tif", np.ones((*SIZE, 3), np.float32))
    with pytest.raises(UserError, match="two files of one scan"):
        index_dataset(tree)


def test_real_scans_are_intact(sample_root):
    records = index_dataset(sample_root / "mvtec_3d", classes=["cable_gland"])
    assert len(records) == len(list((sample_root / "mvtec_3d" / "cable_gland").rglob("*.tiff")))
    assert {record.defect for record in records if record.label} == {"bent", "cut", "hole", "thread"}
    check_records([record for record in records if record.split == "test"][::5])
