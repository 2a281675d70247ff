"""Two processes on the CPU, by the config that tries what a cluster will do."""

import csv
from pathlib import Path

import pytest

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def test_two_processes_fit_and_test_every_scan_once(command, config, tested, tmp_path):
    options = ("--config", config, "--config", CONFIGS / "trainer" / "ddp_sim.yaml")
    fit = command(tmp_path, "fit", *options, "--trainer.max_epochs", 1)
    assert fit.returncode == 0, fit.stderr
    fitted = tmp_path / "lightning_logs" / "version_0" / "fitted.ckpt"
    assert "among 588 patches" in fit.stderr  # 3 scans of 14 x 14: none twice, though two processes share them

    test = command(tmp_path, "test", *options, "--ckpt_path", fitted)
    assert test.returncode == 0, test.stderr
    with open(tmp_path / "lightning_logs" / "version_1" / "metrics.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    logged = {name.removeprefix("test/"): value for name, value in row.items() if name.startswith("test/")}
    assert logged.keys() == tested.metrics.keys()
    # the floor does not depend on the training: what one process finds in 5 scans, two find too
    floor = {name: value for name, value in tested.metrics.items() if name.startswith("ring/foreground/")}
    assert {name: logged[name] for name in floor} == floor
    assert float(floor["ring/foreground/image_ap"]) == pytest.approx(4 / 5)  # the share of the defective among them
    assert test.stdout.count("AUPRO 0.3") == 1  # one table, not one a process


def test_bad_input_is_said_once_by_two_processes(command, config, data_root, tmp_path):
    options = ("--config", config, "--config", CONFIGS / "trainer" / "ddp_sim.yaml")
    done = command(tmp_path, "fit", *options, "--data.train_classes", "[bagel]")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.count("threedzal: error: ") == 1 and "'bagel'" in done.stderr
