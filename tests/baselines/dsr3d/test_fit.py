"""Both stages by the command line, tiny: one file after the other, then a test, and a scan judged by the file alone."""

import contextlib
import csv

import pytest
import torch
import yaml

import threedzal
from threedzal.checkpoint import read_checkpoint
from threedzal.cli import main
from threedzal.data.readers import read_rgb, read_xyz

TINY = {"hidden": 16, "layers": 1, "residual": 8, "codes": 16, "width": 8, "decay": 0.8}
TRAINER = {"max_epochs": 1, "accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "tiny"
    counts = "--train 2 --validation 1 --test_good 1 --test_per_defect 1 --size 64"
    assert main(["data", "generate", str(root), "--classes", "cone", *counts.split()]) == 0
    return root


@pytest.fixture(scope="module")
def write(tmp_path_factory):
    """`write(name, model, data)`: a config of few steps."""
    folder = tmp_path_factory.mktemp("configs")

    def start(name, model, **data):
        options = {"trainer": TRAINER, "model": model, "data": {"num_workers": 0, "batch_size": 2, **data}}
        options["report"] = {"enabled": False}
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(options))
        return path

    return start


@pytest.fixture(scope="module")
def configs(write, root):
    """Of both stages."""
    dada = write(
        "dada",
        {"class_path": "threedzal.baselines.DADA", "init_args": TINY},
        training="simulated",
        simulated_samples=4,
        image_size=32,
    )
    detector = write(
        "3dsr",
        {"class_path": "threedzal.baselines.DSR3D", "init_args": {"segmentation_width": 4, "bottleneck": 8}},
        root=str(root),
        train_classes=["cone"],
        test_classes=["cone"],
        protocol="in_class",
        training="good_scans",
        image_size=64,
        fpfh=False,
    )
    return dada, detector


def fit(folder, config, *args):
    """The fitted file."""
    with contextlib.chdir(folder):
        assert main(["fit", "--config", str(config), *map(str, args)]) == 0
    return next(folder.glob("lightning_logs/version_*/fitted.ckpt"))


@pytest.fixture(scope="module")
def dada(configs, tmp_path_factory):
    return fit(tmp_path_factory.mktemp("dada"), configs[0])


@pytest.fixture(scope="module")
def detector(configs, dada, tmp_path_factory):
    return fit(tmp_path_factory.mktemp("3dsr"), configs[1], "--model.dada", dada)


def test_the_detector_holds_the_autoencoder_as_it_was(dada, detector):
    ours, theirs = read_checkpoint(detector)["state_dict"], read_checkpoint(dada)["state_dict"]
    assert all(torch.equal(value, ours[name.replace("network.", "dada.", 1)]) for name, value in theirs.items())
    hparams = read_checkpoint(detector)["hyper_parameters"]
    assert hparams["architecture"] == {"colour": True, **{k: v for k, v in TINY.items() if k != "decay"}}


def test_the_detector_is_tested_like_any_method(detector, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["test", "--ckpt_path", str(detector), "--report.enabled", "false", "--data.num_workers", "0"]) == 0
    with open(tmp_path / "lightning_logs" / "version_0" / "metrics.csv", newline="") as file:
        names = {"/".join(name.split("/")[1:3]) for name in next(csv.reader(file)) if name.startswith("test/cone/")}
    assert names == {"cone/fused", "cone/foreground"}


def test_after_a_warm_up_the_codes_take_the_place_of_the_features(configs, tmp_path):
    warmed = fit(tmp_path, configs[0], "--model.warmup", "1")  # of two steps: the other one starts the codebooks
    assert all(read_checkpoint(warmed)["state_dict"][f"network.quantizer_{level}.started"] for level in ("lo", "hi"))


def test_its_file_alone_judges_a_scan(dada, detector, root, tmp_path):
    away = dada.rename(tmp_path / "away.ckpt")  # the autoencoder is in the detector's file
    folder = root / "cone" / "test" / "good"
    xyz = read_xyz(folder / "xyz" / "000.tiff")
    prediction = threedzal.load(detector)(read_rgb(folder / "rgb" / "000.png"), xyz)
    away.rename(dada)
    assert prediction.map.shape == xyz.shape[:2]
    assert 0 <= prediction.score <= 1 and prediction.score < float("inf")
    assert prediction.threshold < float("inf")


def test_depth_alone_needs_no_picture(write, configs, root, tmp_path):
    only = write(
        "depth",
        {"class_path": "threedzal.baselines.DADA", "init_args": {**TINY, "colour": False}},
        training="simulated",
        simulated_samples=2,
        image_size=32,
    )
    (tmp_path / "dada").mkdir()
    (tmp_path / "3dsr").mkdir()
    dada = fit(tmp_path / "dada", only)
    fitted = fit(tmp_path / "3dsr", configs[1], "--model.dada", dada)
    xyz = read_xyz(root / "cone" / "test" / "good" / "xyz" / "000.tiff")
    assert threedzal.load(fitted)(None, xyz).map.shape == xyz.shape[:2]


@pytest.mark.parametrize(
    ("stage", "args", "words"),
    [
        (1, [], ["--model.dada", "configs/dada.yaml"]),
        (1, ["--model.dada", "nowhere.ckpt"], ["nowhere.ckpt", "no such file"]),
        (1, ["--model.dada", "DETECTOR"], ["DSR3D", "model.dada", "DADA"]),
        (1, ["--model.dada", "text.ckpt"], ["text.ckpt"]),
        (1, ["--model.dada", "DADA", "--data.training", "patches"], ["good_scans", "patches"]),
        (1, ["--model.dada", "DADA", "--data.image_size", "40"], ["image_size", "40", "32"]),
        (1, ["--model.dada", "DADA", "--model.window", "4"], ["model.window", "4", "odd"]),
        (0, ["--data.training", "good_scans", "--data.root", "ROOT", "--data.train_classes", "[cone]"], ["simulated"]),
        (0, ["--data.pictures", "empty"], ["empty", "no picture"]),
        (0, ["--data.pictures", "ROOT", "--data.textures", "levelled"], ["data.textures", "data.pictures"]),
        (0, ["--model.warmup", "2"], ["model.warmup", "2 of 2 steps"]),
    ],
)
def test_what_cannot_work_is_said_in_one_sentence(
    stage, args, words, configs, dada, detector, root, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.ckpt").write_text("not a checkpoint")
    (tmp_path / "empty").mkdir()
    known = {"DADA": str(dada), "DETECTOR": str(detector), "ROOT": str(root)}
    assert main(["fit", "--config", str(configs[stage]), *(known.get(arg, arg) for arg in args)]) == 2
    error = capsys.readouterr().err
    sentence = error[error.index("threedzal: error: ") :].strip()
    assert len(sentence.splitlines()) == 1 and all(word in sentence for word in words), sentence


def test_the_autoencoder_alone_marks_no_defects(dada, root, capsys):
    assert main(["test", "--ckpt_path", str(dada), "--data.root", str(root), "--data.test_classes", "[cone]"]) == 2
    assert "DADA is one stage of a method" in capsys.readouterr().err
