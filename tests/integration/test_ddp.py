"""Two processes on the CPU, by the config that tries what a cluster will do.

What is trained differs between one process and two, since a step then sees other scans. What is not, the bank, the
maps, the scores and the metrics, is to be the same in all its digits.
"""

import csv
from pathlib import Path

import numpy as np
import pytest
import tifffile

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
UNTRAINED = ("--model.branches", "[rgb,fpfh]", "--model.classifier", "false")
ALL_IN_A_BATCH = ("--data.batch_size", 4)  # so that the second process has none of the 3 training scans


@pytest.fixture
def two(command, config, tmp_path):
    """`two("fit", ...)`: as the fixture `run`, in two processes; what it printed and the folder of the run."""

    def start(subcommand, *args):
        options = ("--config", config, "--config", CONFIGS / "trainer" / "ddp_sim.yaml")
        done = command(tmp_path, subcommand, *options, *args, "--trainer.logger.init_args.version", subcommand)
        assert done.returncode == 0, done.stderr
        return done, tmp_path / "lightning_logs" / subcommand

    return start


def test_training_sees_no_scan_twice_in_the_bank(two):
    done, folder = two("fit", "--trainer.max_epochs", 1)
    assert "among 588 patches" in done.stderr  # 3 scans of 14 x 14: none twice, though two processes share them
    assert (folder / "fitted.ckpt").is_file()


def test_two_processes_build_the_bank_of_one(two, run, assert_same_fit, tmp_path):
    _, folder = two("fit", *UNTRAINED, *ALL_IN_A_BATCH)
    one = run(tmp_path / "one", "fit", *UNTRAINED, *ALL_IN_A_BATCH)
    assert_same_fit(one.fitted, folder / "fitted.ckpt")
    assert not list(folder.glob(".*"))  # nor is anything left of what they shared


def test_two_processes_measure_what_one_measures(two, fitted, tested):
    done, folder = two("test", "--ckpt_path", fitted.fitted, "--report.enabled", "true")  # 5 scans, an odd number
    with open(folder / "metrics.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    logged = {name.removeprefix("test/"): value for name, value in row.items() if name.startswith("test/")}
    assert logged == tested.metrics
    assert float(logged["ring/foreground/image_ap"]) == pytest.approx(4 / 5)  # the share of the defective among them
    assert done.stdout.count("AUPRO 0.3") == 1  # one table, not one a process
    assert (folder / "report" / "index.html").is_file()
    assert "sync_dist" not in done.stderr


def test_two_processes_map_what_one_maps_though_one_has_no_scan(two, run, fitted, data_root, tmp_path):
    options = ("--ckpt_path", fitted.fitted, "--data.predict_path", data_root / "ring" / "validation", *ALL_IN_A_BATCH)
    _, folder = two("predict", *options)
    one = run(tmp_path / "one", "predict", *options)
    maps = [sorted((path / "predictions").rglob("*.tiff")) for path in (folder, one.folder)]
    assert len(maps[0]) == len(maps[1]) == 2
    for ours, theirs in zip(*maps, strict=True):
        assert np.array_equal(tifffile.imread(ours), tifffile.imread(theirs))
    scores = [next(path.rglob("scores.csv")).read_text().splitlines() for path in (folder, one.folder)]
    assert [row.split(",")[:4] for row in scores[0]] == [row.split(",")[:4] for row in scores[1]]


def test_bad_input_is_said_once_by_two_processes(command, config, data_root, tmp_path):
    options = ("--config", config, "--config", CONFIGS / "trainer" / "ddp_sim.yaml")
    done = command(tmp_path, "fit", *options, "--data.train_classes", "[bagel]")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.count("threedzal: error: ") == 1 and "'bagel'" in done.stderr
