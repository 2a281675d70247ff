"""Branches on and off, and options that change how scans become patches, each from fit to test."""

import shutil

import pytest

from threedzal.checkpoint import read_checkpoint
from threedzal.cli import main

WIDTHS = {"rgb": 128 + 256, "fpfh": 33, "point_cloud": 32}


def bank_width(run) -> int:
    return read_checkpoint(run.fitted)["callbacks"]["MemoryBankCallback"]["bank"]["features"].shape[1]


@pytest.mark.parametrize(
    ("branches", "classifier"),
    [
        (["rgb"], True),
        (["point_cloud"], False),
        (["fpfh", "point_cloud"], True),
    ],
)
def test_any_subset_of_branches(branches, classifier, run, tmp_path):
    options = ("--model.branches", f"[{','.join(branches)}]", "--model.classifier", str(classifier).lower())
    fitted = run(tmp_path / "fit", "fit", *options, "--trainer.max_epochs", 1)
    assert bank_width(fitted) == sum(WIDTHS[name] for name in branches)
    scores = {key.split("/")[1] for key in run(tmp_path / "test", "test", "--ckpt_path", fitted.fitted).metrics}
    assert ("classification" in scores) == classifier
    assert {"fused", "distance", "foreground"} <= scores


def test_with_nothing_to_train_a_test_needs_no_fit(run, tmp_path):
    """The first two branches and no classifier are BTF: a bank and distances to it."""
    options = ("--model.branches", "[rgb,fpfh]", "--model.classifier", "false")
    fitted = run(tmp_path / "fit", "fit", *options)
    after_fit = run(tmp_path / "test", "test", "--ckpt_path", fitted.fitted).metrics
    at_once = run(tmp_path / "at_once", "test", *options).metrics
    assert at_once == after_fit
    assert all(
        at_once[f"ring/fused/{name}"] == at_once[f"ring/distance/{name}"] for name in ("aupro_0.3", "image_auroc")
    )


def test_a_checkpoint_of_the_training_is_given_a_bank_at_test_time(run, fitted, tested, tmp_path):
    last = fitted.folder / "checkpoints" / "last.ckpt"
    assert run(tmp_path, "test", "--ckpt_path", last).metrics == tested.metrics


@pytest.mark.parametrize(
    "options",
    [
        ("--data.background", "keep", "--data.patch_source", "grid"),
        ("--data.test_classes", "[twisted_strand]", "--data.auxiliary_classes", "[ring]"),
        ("--data.protocol", "in_class", "--data.test_classes", "[cone]", "--memory_bank.index", "HNSW32"),
    ],
    ids=["background kept and patches of the pixel grid", "class that is not square", "in class, approximate search"],
)
def test_options_of_the_data_run_through(options, run, tmp_path):
    fitted = run(tmp_path / "fit", "fit", *options, "--trainer.max_epochs", 1)
    metrics = run(tmp_path / "test", "test", "--ckpt_path", fitted.fitted, *options).metrics
    assert all(0 <= float(value) <= 1 for value in metrics.values())
    assert float(metrics["mean/foreground/aupro_0.3"]) > 0


def test_the_file_brings_the_options_of_its_data(fitted, tested, tmp_path, monkeypatch, capsys):
    """No config at all: the root, the classes and the preparation are those of the fit."""
    monkeypatch.chdir(tmp_path)
    options = ["--trainer.accelerator", "cpu", "--report.enabled", "false"]
    assert main(["test", "--ckpt_path", str(fitted.fitted), *options]) == 0
    printed = capsys.readouterr().out
    for word in ("ring", "foreground", f"{float(tested.metrics['ring/fused/aupro_0.3']):.3f}"):
        assert word in printed


def test_a_data_set_without_pictures_for_a_method_that_does_not_look_at_them(run, data_root, tmp_path):
    root = shutil.copytree(data_root, tmp_path / "blind", ignore=shutil.ignore_patterns("rgb"))
    options = ("--data.root", root, "--model.branches", "[fpfh,point_cloud]", "--trainer.max_epochs", 1)
    fitted = run(tmp_path / "fit", "fit", *options)
    found = run(
        tmp_path / "predict", "predict", "--ckpt_path", fitted.fitted, "--data.predict_path", root / "ring/test"
    )
    assert len((found.folder / "predictions" / "scores.csv").read_text().splitlines()) == 6
