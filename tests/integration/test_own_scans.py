"""A user's own scans, in whatever format: predicted end to end, and learned."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

import threedzal
from threedzal.data.readers import read_rgb, read_xyz
from threedzal.data.readers.cloud import Cloud, read_cloud
from threedzal.data.readers.ply import write_scored_ply
from threedzal.errors import UserError


@pytest.fixture
def predict(run, fitted, tmp_path):
    """`predict(path, ...)`: rows of scores.csv by the scan's file name; maps are read in."""

    def start(path: Path, *options: str) -> dict[str, dict]:
        folder = tmp_path / "run"
        made = run(folder, "predict", "--ckpt_path", fitted.fitted, "--data.predict_path", path, *options)
        with open(made.folder / "predictions" / "scores.csv", newline="") as file:
            rows = {Path(row["scan"]).name: row for row in csv.DictReader(file)}
        for row in rows.values():
            row["values"] = tifffile.imread(folder / row["map"])
            row["cloud"] = folder / row["cloud"] if row.get("cloud") else None
        return rows

    return start


@pytest.fixture
def scan(data_root) -> tuple[np.ndarray, np.ndarray]:
    """xyz and rgb of one generated scan."""
    folder = data_root / "ring" / "test" / "hole"
    return read_xyz(folder / "xyz" / "000.tiff"), read_rgb(folder / "rgb" / "000.png")


@pytest.fixture
def own(scan, tmp_path) -> Path:
    """The same scan as TIFF in metres, organised PLY and NPZ in millimetres, and with its points in any order."""
    xyz, rgb = scan
    folder = tmp_path / "own"
    folder.mkdir()
    tifffile.imwrite(folder / "tiff.tiff", xyz)
    Image.fromarray(rgb).save(folder / "tiff.png")
    np.savez(folder / "npz.npz", xyz=xyz * 1000, rgb=rgb)
    millimetres = xyz.reshape(-1, 3).astype(np.float64) * 1000
    write_scored_ply(
        folder / "ply.ply", Cloud(millimetres, rgb.reshape(-1, 3), xyz.shape[:2]), np.zeros(xyz[..., 0].size)
    )
    measured = np.flatnonzero(millimetres.any(axis=1))
    order = np.random.default_rng(0).permutation(measured)
    write_scored_ply(folder / "loose.ply", Cloud(millimetres[order], rgb.reshape(-1, 3)[order]), np.zeros(len(order)))
    return folder


def test_one_scan_in_several_formats_has_one_score(predict, own):
    o3d = pytest.importorskip("open3d")
    with pytest.warns(UserWarning, match="does not say its unit of length; taken as mm"):
        rows = predict(own)
    by_tiff = rows["tiff.tiff"]
    for name in ("npz.npz", "ply.ply"):
        assert float(rows[name]["score"]) == pytest.approx(float(by_tiff["score"]), rel=1e-3), name
        np.testing.assert_allclose(
            rows[name]["values"], by_tiff["values"], rtol=0.02, atol=1e-3 * by_tiff["values"].max()
        )
    assert by_tiff["cloud"] is None and rows["npz.npz"]["cloud"] is None

    organised = o3d.t.io.read_point_cloud(str(rows["ply.ply"]["cloud"]))
    np.testing.assert_array_equal(organised.point["anomaly_score"].numpy()[:, 0], rows["ply.ply"]["values"].ravel())

    loose = o3d.t.io.read_point_cloud(str(rows["loose.ply"]["cloud"]))
    np.testing.assert_array_equal(loose.point.positions.numpy(), read_cloud(own / "loose.ply").points)  # as they came
    scores = loose.point["anomaly_score"].numpy()[:, 0]
    assert np.isfinite(scores).mean() > 0.98
    # the organised scan's score of the same points: another grid, nearly the same map
    of_point = dict(zip(map(tuple, read_cloud(own / "ply.ply").points), rows["ply.ply"]["values"].ravel(), strict=True))
    seen = np.isfinite(scores)
    expected = [of_point[tuple(point)] for point in read_cloud(own / "loose.ply").points[seen]]
    assert np.corrcoef(scores[seen], expected)[0, 1] > 0.8


def test_from_python_a_file_is_read_and_judged_as_predict_does(predict, fitted, own):
    detector = threedzal.load(fitted.fitted)
    rows = predict(own / "ply.ply", "--data.units", "mm")
    prediction = detector(*threedzal.read_scan(own / "ply.ply", units="mm"))
    assert prediction.score == pytest.approx(float(rows["ply.ply"]["score"]), rel=1e-5)
    with pytest.raises(UserError, match="there is no file"):
        threedzal.read_scan(own / "none.ply")


def test_stated_units_need_no_warning_and_wrong_ones_change_the_score(predict, own, recwarn):
    rows = predict(own / "ply.ply", "--data.units", "mm")
    assert not [w for w in recwarn if "unit of length" in str(w.message)]
    wrong = predict(own / "ply.ply", "--data.units", "m")
    assert float(rows["ply.ply"]["score"]) != float(wrong["ply.ply"]["score"])


def test_a_scan_without_a_picture_is_refused_with_the_name_of_the_switch(run, fitted, own, capsys, config):
    from threedzal.cli import main

    (own / "tiff.png").unlink()
    args = ["predict", "--config", config, "--ckpt_path", fitted.fitted, "--data.predict_path", own / "tiff.tiff"]
    assert main([str(arg) for arg in args]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "has a picture" in error and "--model.init_args.branches [fpfh,point_cloud]" in error


def test_real_scans_of_other_kinds_are_predicted(predict, sample_root, tmp_path):
    eyecandies = predict(sample_root / "eyecandies" / "CandyCane" / "test_public", "--data.image_size", "112")
    assert set(eyecandies) == {"00_depth.png", "25_depth.png"}
    crops = tmp_path / "crops"
    crops.mkdir()
    for path in sorted((sample_root / "mosd_object_crops").glob("*.npz"))[:2]:
        shutil.copy(path, crops)
    crop_rows = predict(crops, "--data.units", "m")
    xyz = read_xyz(min((sample_root / "mvtec_3d" / "cable_gland" / "test" / "hole" / "xyz").iterdir()))
    rgb = read_rgb(min((sample_root / "mvtec_3d" / "cable_gland" / "test" / "hole" / "rgb").iterdir()))
    measured = xyz.any(axis=2)
    write_scored_ply(tmp_path / "gland.ply", Cloud(xyz[measured] * 1000.0, rgb[measured]), np.zeros(measured.sum()))
    gland = predict(tmp_path / "gland.ply", "--data.units", "mm")
    for row in [*eyecandies.values(), *crop_rows.values(), *gland.values()]:
        assert np.isfinite(row["values"]).all() and row["values"].std() > 0
    assert np.isfinite(read_cloud(gland["gland.ply"]["cloud"]).points).all()


def test_a_folder_of_good_scans_a_class_is_learned(run, data_root, tmp_path):
    for name in ("cone", "twisted_strand"):
        (tmp_path / "own" / name).mkdir(parents=True)
        for split in ("train", "validation"):
            good = data_root / name / split / "good"
            for path in sorted((good / "xyz").iterdir()):
                rgb = read_rgb(good / "rgb" / f"{path.stem}.png")
                np.savez(tmp_path / "own" / name / f"{split}{path.stem}.npz", xyz=read_xyz(path) * 1000, rgb=rgb)
    made = run(
        tmp_path, "fit", "--data.root", tmp_path / "own", "--data.units", "mm", "--data.test_classes", "[]",
        "--trainer.max_epochs", 1,
    )  # fmt: skip
    assert made.fitted.is_file()


def test_eyecandies_is_tested_on_as_any_data_set(run, fitted, sample_root, tmp_path):
    made = run(
        tmp_path, "test", "--ckpt_path", fitted.fitted, "--data.root", sample_root / "eyecandies",
        "--data.test_classes", "[CandyCane]",
    )  # fmt: skip
    assert 0 <= float(made.metrics["CandyCane/fused/aupro_0.3"]) <= 1
