"""A fitted file on a site without training data: maps, overlays, scores, and the same from Python."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

import threedzal
from threedzal.data.readers import read_rgb, read_xyz

KINDS = ("colour", "contamination", "crack", "good", "hole")


@pytest.fixture(scope="module")
def site(fitted, data_root, tmp_path_factory) -> Path:
    """A folder with the fitted file and new scans, and nothing else."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copy(fitted.fitted, folder / "model.ckpt")
    shutil.copytree(data_root / "ring" / "test", folder / "tree" / "ring" / "test")
    shutil.copytree(data_root / "twisted_strand" / "test" / "hole", folder / "wide")
    (folder / "loose").mkdir()
    for kind in ("xyz/000.tiff", "rgb/000.png"):
        source = data_root / "ring" / "test" / "hole" / kind
        shutil.copy(source, folder / "loose" / f"part{source.suffix}")
    return folder


@pytest.fixture
def predict(run, site, tmp_path, data_away):
    """`predict(path, ...)`: rows of scores.csv; the training data are not there."""

    def start(path: Path | str, *options: str) -> list[dict[str, str]]:
        run_ = run(
            tmp_path, "predict", "--ckpt_path", site / "model.ckpt", "--data.predict_path", site / path, *options
        )
        with open(run_.folder / "predictions" / "scores.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            row["map"], row["overlay"] = tmp_path / row["map"], tmp_path / row["overlay"]
        return rows

    return start


def check_written(row: dict, xyz: Path) -> None:
    """Map and overlay are there, of the scan's own size, and the map says something."""
    height, width = read_xyz(xyz).shape[:2]
    values = tifffile.imread(row["map"])
    assert values.dtype == np.float32 and values.shape == (height, width)
    assert np.isfinite(values).all() and values.std() > 0
    with Image.open(row["overlay"]) as picture:
        assert picture.size == (width, height)


def test_one_scan(predict, site):
    xyz = site / "loose" / "part.tiff"
    (row,) = predict("loose/part.tiff")
    assert row["scan"] == str(xyz)
    assert int(row["label"]) == (float(row["score"]) >= float(row["threshold"]))
    check_written(row, xyz)


def test_a_folder_of_scans(predict, site):
    (row,) = predict("loose")
    assert row["scan"] == str(site / "loose" / "part.tiff")


def test_a_tree_has_a_row_a_scan(predict, site):
    rows = predict("tree")
    assert [row["scan"] for row in rows] == [str(site / f"tree/ring/test/{kind}/xyz/000.tiff") for kind in KINDS]
    assert len({row["map"] for row in rows}) == len(KINDS)
    for row in rows:
        check_written(row, Path(row["scan"]))


def test_a_scan_that_is_not_square_gets_a_map_of_its_own_shape(predict, site):
    xyz = site / "wide" / "xyz" / "000.tiff"
    height, width = read_xyz(xyz).shape[:2]
    assert height != width
    (row,) = predict("wide")
    check_written(row, xyz)


def test_from_python_the_map_and_the_score_are_those_of_predict(predict, site):
    (row,) = predict("wide")
    detector = threedzal.load(site / "model.ckpt")
    prediction = detector(read_rgb(site / "wide/rgb/000.png"), read_xyz(site / "wide/xyz/000.tiff"))
    np.testing.assert_array_equal(prediction.map.numpy(), tifffile.imread(row["map"]))
    assert prediction.score == pytest.approx(float(row["score"]), rel=1e-6)
    assert prediction.label == int(row["label"])


def test_the_console_script_predicts_in_an_empty_folder_without_a_warning(command, site, tmp_path, data_away):
    shutil.copy(site / "model.ckpt", tmp_path)
    done = command(tmp_path, "predict", "--ckpt_path", "model.ckpt", "--data.predict_path", site / "tree")
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr.lower() and "deprecated" not in done.stderr.lower()
    folder = tmp_path / "lightning_logs" / "version_0" / "predictions"
    assert len(list(folder.rglob("*.tiff"))) == len(list(folder.rglob("*.png"))) == len(KINDS)


def test_a_real_scan_of_400_by_400_gets_a_map_of_400_by_400(run, fitted, sample_root, tmp_path, data_away):
    defects = sample_root / "mvtec_3d" / "cable_gland" / "test"
    for kind in ("xyz", "rgb"):
        scan = min((defects / "hole" / kind).iterdir())
        shutil.copy(scan, tmp_path / f"real{scan.suffix}")
    found = run(
        tmp_path / "run", "predict", "--ckpt_path", fitted.fitted, "--data.predict_path", tmp_path / "real.tiff"
    )
    (path,) = (found.folder / "predictions").rglob("*.tiff")
    assert tifffile.imread(path).shape == (400, 400)
