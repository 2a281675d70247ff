"""Prediction files: read back with the libraries a user would use."""

import csv
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from threedzal.colour import OUTLINE, map_limits, outline
from threedzal.data.readers import read_scan_file
from threedzal.data.readers.cloud import Cloud
from threedzal.data.readers.ply import write_scored_ply
from threedzal.data.scan import ScanRecord
from threedzal.data.writers import write_prediction, write_scored_cloud, write_scores_csv
from threedzal.errors import UserError
from threedzal.files import atomic_path


def record(**changes) -> ScanRecord:
    return ScanRecord(
        **{"class_name": "tube", "split": "test", "defect": "cut", "name": "000", "xyz": Path("x.tiff")} | changes
    )


def prediction(size=(30, 50)) -> SimpleNamespace:
    values = torch.zeros(size)
    values[10:20, 10:30] = 1.5
    return SimpleNamespace(map=values, score=1.5, label=1)


def test_the_map_is_read_back_exactly_at_the_scans_size(tmp_path):
    made = prediction()
    map_file, overlay_file = write_prediction(tmp_path, made, record(), np.zeros((30, 50, 3), np.uint8))
    assert map_file == tmp_path / "tube/test/cut/000.tiff"
    read = tifffile.imread(map_file)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, made.map.numpy())
    assert Image.open(overlay_file).size == (50, 30)


def test_the_contour_is_drawn_at_the_threshold_and_nowhere_else(tmp_path):
    picture = np.full((30, 50, 3), 90, np.uint8)
    _, overlay = write_prediction(tmp_path, prediction(), record(), picture, threshold=1.0)
    drawn = (np.asarray(Image.open(overlay)) == OUTLINE).all(axis=2)
    expected = np.zeros((30, 50), bool)
    expected[10:20, 10:30] = True
    expected[11:19, 11:29] = False
    np.testing.assert_array_equal(drawn, expected)


def test_high_values_glow_and_low_values_show_the_picture(tmp_path):
    picture = np.full((30, 50, 3), (10, 10, 200), np.uint8)
    _, overlay = write_prediction(tmp_path, prediction(), record(), picture, limits=(0.0, 1.5))
    drawn = np.asarray(Image.open(overlay)).astype(int)
    assert drawn[15, 20, 0] > 200
    assert drawn[0, 0, 2] > drawn[0, 0, 0] + 100


def test_without_a_picture_the_depth_is_drawn_over(tmp_path):
    xyz = np.zeros((30, 50, 3), np.float32)
    xyz[:, :25, 2] = np.linspace(0.6, 0.7, 25)
    tifffile.imwrite(tmp_path / "scan.tiff", xyz)
    blank = SimpleNamespace(map=np.zeros((30, 50)), score=0.0, label=0)
    _, overlay = write_prediction(tmp_path, blank, record(xyz=tmp_path / "scan.tiff", split="", defect=""))
    assert overlay == tmp_path / "tube" / "000.png"
    drawn = np.asarray(Image.open(overlay)).sum(axis=2)
    assert drawn[0, 0] > drawn[0, 20] > drawn[0, 40]  # near, far, not measured


@pytest.mark.parametrize(("shape", "words"), [((30, 40), "the map is"), ((2, 30, 50), "wanted")])
def test_a_map_of_another_size_is_refused(tmp_path, shape, words):
    wrong = SimpleNamespace(map=torch.zeros(shape), score=0.0, label=0)
    with pytest.raises(UserError, match=words):
        write_prediction(tmp_path, wrong, record(), np.zeros((30, 50, 3), np.uint8))
    assert not list(tmp_path.iterdir())


def test_scores_go_to_the_points_under_them_and_hidden_ones_are_told(tmp_path):
    o3d = pytest.importorskip("open3d")
    row, column = np.mgrid[:60, :60] / 1000.0
    front = np.stack([column - 0.03, row - 0.03, np.full_like(row, 0.3)], axis=2).reshape(-1, 3)
    both = np.concatenate([front, front * 1.2])  # a second sheet in the shadow of the first
    order = np.random.default_rng(0).permutation(len(both))
    write_scored_ply(tmp_path / "a.ply", Cloud(both[order]), np.zeros(len(both)))
    loose = record(xyz=tmp_path / "a.ply")
    xyz = read_scan_file(loose).xyz
    right = SimpleNamespace(map=np.where(xyz[..., 0] > 0.005, 2.0, 1.0))  # the right half is defective
    with pytest.warns(UserWarning, match="50% of the points are hidden"):
        path = write_scored_cloud(tmp_path / "out", right, loose)
    cloud = o3d.t.io.read_point_cloud(str(path)).point
    points, scores = cloud.positions.numpy(), cloud["anomaly_score"].numpy()[:, 0]
    np.testing.assert_array_equal(points, both[order])
    near = points[:, 2] < 0.31
    assert np.isnan(scores[~near]).mean() > 0.95 and np.isfinite(scores[near]).all()
    clear = near & (np.abs(points[:, 0] - 0.005) > 0.002)
    np.testing.assert_array_equal(scores[clear], np.where(points[clear, 0] > 0.005, 2, 1))
    assert write_scored_cloud(tmp_path, right, record()) is None


def test_scores_are_read_back_with_all_their_digits(tmp_path):
    rows = [{"scan": "a, b", "score": 1 / 3, "label": 1}, {"scan": "c", "score": np.float32(0.1), "threshold": None}]
    file = write_scores_csv(tmp_path / "new", rows)
    with open(file, newline="") as stream:
        read = list(csv.DictReader(stream))
    assert list(read[0]) == ["scan", "score", "label", "threshold"]
    assert read[0]["scan"] == "a, b"
    assert float(read[0]["score"]) == 1 / 3
    assert np.float32(read[1]["score"]) == np.float32(0.1)
    assert read[1]["threshold"] == ""


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_file_that_was_there_survives_an_interrupted_write(tmp_path, error):
    (tmp_path / "scores.csv").write_text("whole")
    with pytest.raises(error), atomic_path(tmp_path / "scores.csv") as part:
        part.write_text("ha")
        raise error
    assert [path.name for path in tmp_path.iterdir()] == ["scores.csv"]
    assert (tmp_path / "scores.csv").read_text() == "whole"


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UserError, match="cannot write .*taken"):
        write_scores_csv(tmp_path / "taken", [{"scan": "a"}])


def test_one_extreme_map_does_not_set_the_colours_of_a_class():
    rng = np.random.default_rng(0)
    maps = [rng.random((20, 20)) + 0.5 for _ in range(40)]
    low, high = map_limits(maps)
    maps[0][0, 0] = 1000
    assert map_limits(maps) == pytest.approx((low, high), rel=0.05)
    assert low == pytest.approx(1.0, abs=0.05)


def test_maps_of_nothing_have_limits():
    assert map_limits([np.zeros((4, 4))]) == (0.0, 1.0)
    assert map_limits([]) == (0.0, 1.0)
    low, high = map_limits([np.full((4, 4), 3.0)])
    assert low < high


def test_the_outline_of_a_mask_is_inside_it_and_open_at_the_border():
    mask = np.zeros((9, 9), bool)
    mask[5:, 5:] = True
    rim = outline(mask)
    assert (rim & ~mask).sum() == 0
    assert rim.sum() == 7
