"""`reference: batch` by the console script, on a box of generated scans: no training scan, no fitted file."""

import csv
import json
from pathlib import Path

import pytest
import tifffile

from threedzal.cli import main
from threedzal.data.generated import generate

CONFIG = str(Path(__file__).resolve().parents[2] / "configs" / "batch.yaml")
SMALL = [
    *("--model.init_args.backbone", "resnet18", "--model.init_args.rgb_weights", "random"),
    *("--data.num_workers", "0", "--data.image_size", "112", "--data.rgb_size", "112", "--model.init_args.grid", "14"),
]


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    """A data set with a test split alone: 2 good scans of a ring and 4 defective ones."""
    root = tmp_path_factory.mktemp("box")
    generate(
        root,
        classes=["ring"],
        size=112,
        train=0,
        validation=0,
        test_good=2,
        test_per_defect=1,
        workers=1,
        progress=False,
    )
    return root


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_of_scans_is_ranked_without_a_fitted_file(box, work, capsys, caplog):
    code = main(["predict", "--config", CONFIG, *SMALL, "--data.predict_path", str(box), "--predictions.output", "out"])
    assert code == 0, capsys.readouterr().err
    rows = list(csv.DictReader((work / "out" / "scores.csv").open()))
    assert [int(row["rank"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    scores = [float(row["score_batch"]) for row in rows]
    assert scores == sorted(scores, reverse=True) and scores[-1] > 0
    assert "label" not in rows[0]
    for row in rows:
        assert tifffile.imread(row["map"]).shape == (112, 112)
        assert Path(row["overlay"]).is_file()
    assert "a batch of 6 scans is small" in caplog.text


def test_test_results_of_a_batch_stand_under_their_own_heading(box, work, capsys):
    code = main(["test", "--config", CONFIG, *SMALL, "--data.root", str(box), "--data.test_classes", "[ring]"])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    assert "Transductive" in printed.out and "fused" not in printed.out
    report = next(work.rglob("report"))
    content = json.loads((report / "metrics.json").read_text())
    assert content["metrics"] == {}
    ours, floor = (content["transductive"][row]["ring"] for row in ("batch", "foreground"))
    assert ours["object_aupro_0.3"] > floor["object_aupro_0.3"]
    assert "Transductive" in (report / "index.html").read_text()


def test_one_scan_alone_ends_with_one_sentence(box, work, capsys):
    path = next((box / "ring" / "test" / "good" / "xyz").glob("*.tiff"))
    code = main(["predict", "--config", CONFIG, *SMALL, "--data.predict_path", str(path)])
    assert code == 2
    error = capsys.readouterr().err
    assert "give at least 2 scans" in error and "Traceback" not in error


def test_a_state_lets_scans_come_one_by_one(box, work, caplog):
    paths = sorted((box / "ring" / "test" / "good" / "xyz").glob("*.tiff"))
    for path in paths:
        arguments = ["--reference", "batch", "--state=box.safetensors", "--data.predict_path", str(path)]
        assert main(["predict", "--config", CONFIG, *SMALL, *arguments, "--predictions.output", path.stem]) == 0
    assert "the first scan has nothing to be compared with" in caplog.text
    scores = [float(next(csv.DictReader((work / p.stem / "scores.csv").open()))["score_batch"]) for p in paths]
    assert scores[0] == 0 < scores[1]
    assert (work / "box.safetensors").is_file()
