"""BTF and its relatives under the same commands as every method, and parity by one switch."""

import contextlib
import csv
from pathlib import Path

import numpy as np
import pytest
import tifffile

import threedzal
from threedzal.baselines.btf import PARITY
from threedzal.checkpoint import read_checkpoint, read_options
from threedzal.cli import main
from threedzal.data.readers import read_rgb
from threedzal.errors import UserError

CONFIGS = Path(__file__).parents[2] / "configs"
IMAGES = ("--model.init_args.backbone", "resnet10t", "--model.init_args.rgb_weights", "random")
QUIET = ("--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--report.enabled=false")


@pytest.fixture
def start(data_root, config, tmp_path):
    """`start("fit", "btf", ...)`: exit code of the command with that config on the tiny data, in a new folder."""
    common = ["--data.root", data_root, "--data.train_classes", "[cone]", "--data.test_classes", "[ring]"]
    common += ["--data.num_workers", 0, "--data.cache_dir", config.parent / "cache", "--data.pseudo_scans", 2, *QUIET]

    def run(subcommand: str, name: str, *args: object) -> int:
        with contextlib.chdir(tmp_path):
            return main([subcommand, "--config", str(CONFIGS / f"{name}.yaml"), *map(str, (*common, *args))])

    return run


def metrics(folder: Path, version: int = 0) -> dict[str, float]:
    with open(folder / "lightning_logs" / f"version_{version}" / "metrics.csv", newline="") as file:
        return {name: float(value) for name, value in list(csv.DictReader(file))[-1].items() if value}


def test_a_fit_of_btf_is_a_bank_that_tests_predicts_and_loads(start, data_root, tmp_path):
    small = ("--data.image_size", 112, *IMAGES)
    assert start("fit", "btf", *small) == 0
    fitted = tmp_path / "lightning_logs/version_0/fitted.ckpt"
    assert not read_checkpoint(fitted).get("ZeroShotDataModule")  # no CNN that attends: nothing was learned from it
    assert start("test", "btf", *small, "--ckpt_path", fitted) == 0
    assert start("predict", "btf", "--ckpt_path", fitted, "--data.predict_path", data_root / "ring/test/good") == 0
    assert start("test", "btf", *small) == 0  # builds the same bank by itself
    assert metrics(tmp_path, 1) == metrics(tmp_path, 3)
    detector = threedzal.load(fitted)
    xyz_path = data_root / "ring/test/good/xyz/000.tiff"
    xyz, rgb = tifffile.imread(xyz_path), read_rgb(data_root / "ring/test/good/rgb/000.png")
    written = next((tmp_path / "lightning_logs/version_2/predictions").rglob("*.tiff"))
    np.testing.assert_allclose(detector(rgb, xyz).map.numpy(), tifffile.imread(written), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "options"), [("patchcore", IMAGES), ("fpfh", ()), ("depth", IMAGES)])
def test_its_relatives_need_no_fit(name, options, start, tmp_path):
    assert start("test", name, "--data.image_size", 112, *options) == 0
    found = metrics(tmp_path)
    assert 0 < found["test/ring/distance/aupro_0.3"] <= 1
    assert found["test/ring/distance/aupro_0.3"] == found["test/ring/fused/aupro_0.3"]


def test_one_switch_brings_all_choices_of_the_released_code(start, data_root, tmp_path):
    (tmp_path / "one/ring").parent.mkdir()
    (tmp_path / "one/ring").symlink_to(data_root / "ring")  # no other class is there, and none is needed
    pair = ("--data.root", tmp_path / "one", "--data.protocol", "in_class", "--data.train_classes", "[ring]")
    assert start("fit", "fpfh", *pair, "--model.init_args.parity", "true") == 0
    fitted = tmp_path / "lightning_logs/version_0/fitted.ckpt"
    options = read_options(fitted)
    for section, values in PARITY.items():
        assert {name: options[section][name] for name in values} == values
    assert start("test", "fpfh", *pair, "--ckpt_path", fitted) == 0
    assert metrics(tmp_path, 1)["test/ring/distance/aupro_0.3"] > 0


@pytest.mark.parametrize(
    "option", ["--data.background=remove", "--data.image_size=112", "--memory_bank.blur=2", "--memory_bank.rim=8"]
)
def test_an_option_against_parity_is_refused_by_name(option, start, capsys):
    assert start("test", "fpfh", "--model.init_args.parity=true", option) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    sentence = error[error.index("threedzal: error: ") :].strip()
    name, value = option.removeprefix("--").split("=")
    assert len(sentence.splitlines()) == 1 and name in sentence and value in sentence and "model.parity" in sentence


def test_parity_from_python_asks_for_its_options(data_root):
    from lightning import Trainer

    data = threedzal.ZeroShotDataModule(str(data_root), ["cone"], ["ring"], num_workers=0)
    callback = threedzal.MemoryBankCallback(**PARITY["memory_bank"])
    trainer = Trainer(accelerator="cpu", logger=False, callbacks=[callback], enable_checkpointing=False)
    with pytest.raises(UserError, match=r"data\.background keep.*PARITY"):
        trainer.test(threedzal.BTF(branches=("fpfh",), parity=True), datamodule=data, verbose=False)
