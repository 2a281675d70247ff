"""A tiny generated data set and one fitted run on it, shared by all tests that do what a user does."""

import contextlib
import csv
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import lightning  # noqa: F401  # here, not in a test: its log goes to what stderr was at its first import
import pytest
import torch
import yaml

from threedzal.checkpoint import read_checkpoint
from threedzal.cli import main

SCRIPTS = Path(sys.executable).parent
EPOCHS = 3  # so that a run interrupted in the second has something left to do


@dataclass(frozen=True)
class Run:
    """A finished fit or test."""

    folder: Path  # lightning_logs/version_N

    @property
    def fitted(self) -> Path:
        return self.folder / "fitted.ckpt"

    @property
    def metrics(self) -> dict[str, str]:
        """`ring/fused/aupro_0.3` and so on, with all their digits, from the logger's metrics.csv."""
        with open(self.folder / "metrics.csv", newline="") as file:
            row = list(csv.DictReader(file))[-1]
        return {name.removeprefix("test/"): value for name, value in row.items() if name.startswith("test/")}

    def score(self, name: str) -> dict[str, str]:
        """The metrics of one score of the test class, defect kinds included."""
        return {key: value for key, value in self.metrics.items() if key.startswith(f"ring/{name}/")}


@pytest.fixture(scope="session")
def data_root(tmp_path_factory) -> Path:
    """Three classes, one of them not square, 5 test scans each: an odd number for two processes."""
    root = tmp_path_factory.mktemp("data") / "tiny"
    counts = "--train 3 --validation 2 --test_good 1 --test_per_defect 1 --size 112"
    assert main(["data", "generate", str(root), "--classes", "cone,ring,twisted_strand", *counts.split()]) == 0
    return root


@pytest.fixture(scope="session")
def config(data_root, tmp_path_factory) -> Path:
    """Narrow networks, few patches: a fit is a second or two beyond the imports."""
    folder = tmp_path_factory.mktemp("config")
    options = {
        "seed_everything": 0,
        "trainer": {
            "max_epochs": EPOCHS,
            "accelerator": "cpu",
            "enable_progress_bar": False,
            "enable_model_summary": False,
        },
        "model": {
            "class_path": "threedzal.model.ThreeDZAL",
            "init_args": {"backbone": "resnet18", "rgb_weights": "random", "width": 0.125},
        },
        "report": {"enabled": False},  # drawing it takes longer than all the rest
        "data": {
            "root": str(data_root),
            "train_classes": ["cone"],
            "test_classes": ["ring"],
            "image_size": 112,
            "positives_per_scan": 4,
            "batch_size": 2,
            "pseudo_scans": 2,
            "num_workers": 0,
            "cache_dir": str(folder / "cache"),
        },
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(options))
    return path


@pytest.fixture(scope="session")
def run(config) -> Callable[..., Run]:
    """`run(folder, "fit", ...)` in this process, in `folder`, on the tiny data; the run that it made."""

    def start(folder: Path, subcommand: str, *args: object) -> Run:
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.chdir(folder):
            assert main([subcommand, "--config", str(config), *map(str, args)]) == 0
        return Run(newest_version(folder))

    return start


@pytest.fixture(scope="session")
def fitted(run, tmp_path_factory) -> Run:
    """The fit that most tests start from."""
    return run(tmp_path_factory.mktemp("fit"), "fit")


@pytest.fixture(scope="session")
def tested(run, fitted, tmp_path_factory) -> Run:
    """Its test on `ring`, with a report."""
    return run(tmp_path_factory.mktemp("test"), "test", "--ckpt_path", fitted.fitted, "--report.enabled", "true")


@pytest.fixture(scope="session")
def command() -> Callable[..., subprocess.CompletedProcess]:
    """`command(folder, "fit", ...)`: the console script `threedzal` in a process of its own."""

    def start(folder: Path, *args: object, **environment: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [SCRIPTS / "threedzal", *map(str, args)],
            cwd=folder,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=300,
        )

    return start


@pytest.fixture(scope="session")
def assert_same_fit() -> Callable[[Path, Path], None]:
    """Two fitted files hold the same networks, bank and calibration, bit by bit."""

    def check(one: Path, other: Path) -> None:
        one, other = read_checkpoint(one), read_checkpoint(other)
        assert one["state_dict"].keys() == other["state_dict"].keys()
        for name, value in one["state_dict"].items():
            assert torch.equal(value, other["state_dict"][name]), name
        one, other = (checkpoint["callbacks"]["MemoryBankCallback"] for checkpoint in (one, other))
        assert torch.equal(one["bank"]["features"], other["bank"]["features"])
        assert one["calibration"] == other["calibration"]

    return check


@pytest.fixture
def data_away(data_root) -> Iterator[None]:
    """The training data are not there while a test runs."""
    away = data_root.with_name("away")
    data_root.rename(away)
    yield
    away.rename(data_root)


def newest_version(folder: Path) -> Path:
    """The run that was last started in `folder`."""
    return max(folder.glob("lightning_logs/version_*"), key=lambda path: int(path.name.split("_")[1]))
