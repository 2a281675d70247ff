"""The threshold of a fitted file: its normal scores, another rate at predict time, good scans of one's own."""

import csv

import pytest
import torch

import threedzal
from threedzal.checkpoint import read_checkpoint
from threedzal.cli import main
from threedzal.data.readers import read_rgb, read_xyz


@pytest.fixture
def rows(run, fitted, data_root, tmp_path):
    """`rows(path, ...)`: scores.csv of a prediction."""

    def start(path, *options, fitted_file=fitted.fitted) -> list[dict[str, str]]:
        made = run(tmp_path / "run", "predict", "--ckpt_path", fitted_file, "--data.predict_path", path, *options)
        with open(made.folder / "predictions" / "scores.csv", newline="") as file:
            return list(csv.DictReader(file))

    return start


def test_the_fitted_file_keeps_the_score_of_every_normal_validation_scan(fitted, rows, data_root):
    calibration = read_checkpoint(fitted.fitted)["callbacks"]["MemoryBankCallback"]["calibration"]
    kept = calibration["normal_scores"]
    assert {name: len(scores) for name, scores in kept.items()} == {"cone": 2, "twisted_strand": 2}
    scored = sorted(float(row["score"]) for row in rows(data_root / "cone" / "validation"))
    assert scored == pytest.approx(list(kept["cone"]), rel=1e-4)


def test_a_rate_at_predict_time_sets_the_threshold_on_the_kept_scores(fitted, rows, data_root):
    kept = threedzal.load(fitted.fitted).calibration.pooled_scores
    path = data_root / "ring" / "test"
    usual = rows(path)
    with pytest.warns(
        UserWarning, match="4 normal scans are too few for a false-positive rate of 0.05, which takes at"
    ):
        strict = rows(path, "--memory_bank.false_positive_rate", "0.05")
    lenient = rows(path, "--memory_bank.false_positive_rate", "0.5")
    assert [row["score"] for row in usual] == [row["score"] for row in strict] == [row["score"] for row in lenient]
    assert float(strict[0]["threshold"]) == pytest.approx(max(kept)) and float(strict[0]["threshold"]) > max(kept)
    assert float(lenient[0]["threshold"]) == pytest.approx(sorted(kept)[2])
    for row in strict + lenient:
        assert row["label"] == str(int(float(row["score"]) >= float(row["threshold"])))
        assert row["verdict"] == ("defective" if row["label"] == "1" else "good")
        below = sum(score < float(row["score"]) for score in kept)
        assert float(row["percentile"]) == 100 * below / len(kept)
    detector = threedzal.load(fitted.fitted, false_positive_rate=0.5)
    prediction = detector(read_rgb(path / "hole/rgb/000.png"), read_xyz(path / "hole/xyz/000.tiff"))
    (row,) = [row for row in lenient if "hole" in row["scan"]]
    assert (prediction.verdict, prediction.percentile) == (row["verdict"], float(row["percentile"]))
    assert prediction.threshold == float(row["threshold"])


def test_an_earlier_fitted_file_still_predicts_without_ranks(fitted, rows, data_root, tmp_path, config, capsys):
    checkpoint = read_checkpoint(fitted.fitted)
    state = checkpoint["callbacks"]["MemoryBankCallback"]
    for name in ("normal_scores", "false_positive_rate"):
        del state["calibration"][name]
    del state["options"]["false_positive_rate"]
    torch.save(checkpoint, old := tmp_path / "old.ckpt")
    path = data_root / "ring" / "test" / "hole"
    (row,) = rows(path, fitted_file=old)
    (same,) = rows(path)
    assert row["percentile"] == "" and row["threshold"] == same["threshold"] and row["label"] == same["label"]
    args = ["predict", "--config", config, "--ckpt_path", old, "--data.predict_path", path]
    assert main([*map(str, args), "--memory_bank.false_positive_rate", "0.1"]) == 2
    assert "no scores of normal scans" in capsys.readouterr().err


def test_kept_scores_of_other_options_are_no_reference(rows, data_root):
    (row,) = rows(data_root / "ring" / "test" / "hole", "--memory_bank.weights", "[2,0]")
    assert row["percentile"] == ""


def test_good_scans_of_one_s_own_take_their_place(fitted, rows, data_root, tmp_path, capsys):
    out, good = tmp_path / "site.ckpt", data_root / "ring" / "train" / "good"
    args = ["calibrate", fitted.fitted, "--scans", good, "--out", out, "--false_positive_rate", "0.3"]
    assert main([str(arg) for arg in args]) == 0
    assert "threshold" in capsys.readouterr().out
    scored = rows(good, fitted_file=out)
    detector = threedzal.load(out)
    assert {name: len(scores) for name, scores in detector.calibration.normal_scores.items()} == {"ring": len(scored)}
    assert all(row["verdict"] == "good" for row in scored)
    assert detector.calibration.threshold > threedzal.load(out, false_positive_rate=0.6).calibration.threshold
    args[3] = data_root / "ring" / "test"
    assert main([str(arg) for arg in args]) == 2
    assert "is a scan of a defect" in capsys.readouterr().err
