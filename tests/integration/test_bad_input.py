"""Bad input ends with exit code 2 and one sentence that names what is wrong; never with a traceback."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from safetensors.torch import save_file

from threedzal.cli import main


@pytest.fixture
def refused(config, tmp_path, monkeypatch, capsys):
    """`refused("fit", ...)`: the sentence with which the command refuses."""

    def start(subcommand: str, *args: object, lines: int = 1) -> str:
        monkeypatch.chdir(tmp_path)
        capsys.readouterr()
        assert main([subcommand, "--config", str(config), *map(str, args)]) == 2
        error = capsys.readouterr().err
        assert "Traceback" not in error
        sentence = error[error.index("threedzal: error: ") :].strip()
        assert len(sentence.splitlines()) == lines, sentence
        assert not list(tmp_path.glob("lightning_logs/*/fitted.ckpt"))
        return sentence

    return start


@pytest.fixture
def broken_root(data_root, tmp_path) -> Path:
    """A copy of the data that a test may break."""
    return Path(shutil.copytree(data_root, tmp_path / "broken"))


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--data.background", "paint"], ["data.background", "'remove'", "'keep'", "paint"]),
        (["--model.width", "wide"], ["model.width", "float", "wide"]),
        (["--model.branches", "[rgb,smell]"], ["model.branches", "'point_cloud'", "smell"]),
        (["--model.speed", "3"], ["model.speed", "no such option"]),
        (["--data.speed", "3"], ["--data.speed"]),
        (["--memory_bank.coreset", "0"], ["memory_bank.coreset", "above 0"]),
        (["--memory_bank.weights", "[1,2,3]"], ["memory_bank.weights", "two numbers"]),
        (["--data.image_size", "100"], ["image_size 100", "multiple", "8"]),
        (["--config", "nowhere.yaml"], ["nowhere.yaml", "not exist"]),
        (["--model.backbone", "resnet1800"], ["resnet1800"]),
        (["--model.layers", "[2,9]"], ["layers", "9"]),
    ],
)
def test_a_wrong_option(args, words, refused):
    sentence = refused("fit", *args)
    assert all(word in sentence for word in words), sentence


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--data.train_classes", "[bagel]"], ["'bagel'", "cone", "ring"]),
        (["--data.test_classes", "[cone]"], ["cone", "test_classes", "train_classes"]),
        (["--data.auxiliary_classes", "[ring]"], ["ring", "test_classes", "auxiliary_classes"]),
        (["--data.root", "nowhere"], ["nowhere"]),
        (["--data.root", "null"], ["--data.root"]),
        (["--data.train_classes", "null"], ["--data.train_classes"]),
    ],
)
def test_classes_and_folders_that_cannot_be(args, words, refused):
    sentence = refused("fit", *args)
    assert all(word in sentence for word in words), sentence


def test_an_unknown_class_to_test(refused, fitted):
    sentence = refused("test", "--ckpt_path", fitted.fitted, "--data.test_classes", "[bagel]")
    assert "'bagel'" in sentence


def test_a_class_trained_on_is_refused_at_test_time_too(refused, fitted):
    sentence = refused("test", "--ckpt_path", fitted.fitted, "--data.test_classes", "[cone]")
    assert "cone" in sentence


def test_all_broken_files_are_named_together(refused, broken_root):
    good = broken_root / "cone" / "train" / "good"
    (good / "xyz" / "000.tiff").write_bytes(b"II*\0 no picture")
    (good / "rgb" / "001.png").unlink()
    xyz = tifffile.imread(good / "xyz" / "002.tiff")
    xyz[5, 5] = np.nan
    tifffile.imwrite(good / "xyz" / "002.tiff", xyz)
    sentence = refused("fit", "--data.root", broken_root, lines=4)
    assert "3 problems" in sentence
    for name in ("xyz/000.tiff", "rgb/001.png", "xyz/002.tiff"):
        assert str(good / name) in sentence
    assert "NaN" in sentence


def test_a_class_without_training_scans(refused, broken_root):
    shutil.rmtree(broken_root / "cone" / "train")
    assert "cone" in refused("fit", "--data.root", broken_root, lines=1)


@pytest.mark.parametrize("subcommand", ["test", "predict", "fit"])
def test_a_checkpoint_that_is_not_there(subcommand, refused, data_root):
    sentence = refused(subcommand, "--ckpt_path", "nowhere.ckpt", "--data.predict_path", data_root)
    assert "nowhere.ckpt" in sentence


@pytest.mark.parametrize("subcommand", ["test", "predict", "fit"])
def test_a_file_that_is_no_checkpoint(subcommand, refused, data_root, tmp_path):
    for path, write in {
        "text.ckpt": lambda path: path.write_text("not a checkpoint"),
        "foreign.ckpt": lambda path: torch.save({"state_dict": {}}, path),
    }.items():
        write(tmp_path / path)
        assert path in refused(subcommand, "--ckpt_path", path, "--data.predict_path", data_root)


@pytest.mark.parametrize(
    ("subcommand", "renamed"),
    [("test", {"classifier": "bygone"}), ("predict", {"classifier": None})],  # an option that is no more, or is new
)
def test_a_fitted_file_of_a_version_with_other_options(subcommand, renamed, refused, fitted, data_root, tmp_path):
    checkpoint = torch.load(fitted.fitted, weights_only=True)
    options = checkpoint["hyper_parameters"]
    kept = {renamed.get(name, name): value for name, value in options.items()}
    torch.save({**checkpoint, "hyper_parameters": {k: v for k, v in kept.items() if k}}, tmp_path / "older.ckpt")
    sentence = refused(subcommand, "--ckpt_path", "older.ckpt", "--data.predict_path", data_root / "ring")
    assert "older.ckpt" in sentence and "another version" in sentence
    assert all(name in sentence for name in ("classifier", renamed["classifier"]) if name)


def test_predict_without_a_bank(refused, fitted, data_root):
    last = fitted.folder / "checkpoints" / "last.ckpt"
    assert "fitted.ckpt" in refused("predict", "--ckpt_path", last, "--data.predict_path", data_root / "ring")


def test_predict_without_a_path(refused, fitted):
    assert "--data.predict_path" in refused("predict", "--ckpt_path", fitted.fitted)


def test_weights_that_do_not_fit_the_backbone(refused, tmp_path):
    save_file({"conv1.weight": torch.zeros(3, 3)}, tmp_path / "weights.safetensors")
    sentence = refused("fit", "--model.rgb_weights", tmp_path / "weights.safetensors")
    assert "weights.safetensors" in sentence and "resnet18" in sentence


def test_weights_that_are_not_there(refused):
    assert "nowhere.safetensors" in refused("fit", "--model.rgb_weights", "nowhere.safetensors")


def test_pretrained_weights_without_network(command, config, tmp_path):
    away = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub"), "TORCH_HOME": str(tmp_path / "torch")}
    done = command(tmp_path, "fit", "--config", config, "--model.rgb_weights", "pretrained", **away)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    sentence = done.stderr.strip().splitlines()[-1]
    assert sentence.startswith("threedzal: error: ")
    assert "random" in sentence and "file" in sentence


@pytest.fixture
def lone_scan(data_root, tmp_path) -> Path:
    """A scan without its picture."""
    scan = data_root / "ring" / "test" / "hole" / "xyz" / "000.tiff"
    return Path(shutil.copy(scan, tmp_path / "lone.tiff"))


def test_a_scan_without_picture_for_a_method_that_looks_at_pictures(refused, fitted, lone_scan):
    sentence = refused("predict", "--ckpt_path", fitted.fitted, "--data.predict_path", lone_scan)
    assert "lone" in sentence and "picture" in sentence and "--model.init_args.branches" in sentence


def test_what_a_loader_s_worker_finds_wrong_is_said_in_one_sentence(refused, fitted, data_root, tmp_path, monkeypatch):
    scan = Path(shutil.copy(data_root / "ring" / "test" / "hole" / "xyz" / "000.tiff", tmp_path / "part.tiff"))
    shutil.copy(data_root / "ring" / "test" / "hole" / "rgb" / "000.png", tmp_path / "part.png")
    monkeypatch.setattr("threedzal.data.datamodule.check_records", lambda *_, **__: scan.write_bytes(b"gone since"))
    sentence = refused("predict", "--ckpt_path", fitted.fitted, "--data.predict_path", scan, "--data.num_workers", 1)
    assert f"error: {scan}: cannot be read" in sentence and "worker process" not in sentence
