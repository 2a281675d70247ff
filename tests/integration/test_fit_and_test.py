"""fit -> fitted.ckpt -> test -> table, report, metrics: the same twice, and what may be turned at test time."""

import json
import re

import pytest
import torch

from threedzal.checkpoint import read_checkpoint

BANK = "MemoryBankCallback"
SCORES = {"fused", "distance", "classification", "foreground"}


def test_fit_ends_with_a_bank_and_a_calibration_in_one_file(fitted):
    checkpoint = read_checkpoint(fitted.fitted)
    state = checkpoint["callbacks"][BANK]
    patches = 3 * 14 * 14  # of 3 training scans
    assert state["bank"]["features"].shape == (round(0.1 * patches), 128 + 256 + 33 + 32)
    assert all(scale > 0 for scale in state["calibration"]["scales"].values())
    assert torch.isfinite(state["bank"]["features"]).all()


def test_a_test_prints_a_table(run, fitted, tested, tmp_path, capsys):
    again = run(tmp_path, "test", "--ckpt_path", fitted.fitted)
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("ring", "mean", "foreground", "AUPRO 0.3"))
    assert f"{float(again.metrics['ring/fused/aupro_0.3']):.3f}" in printed
    assert again.metrics == tested.metrics


def test_a_test_leaves_a_page_that_needs_nothing_else(tested):
    page = (tested.folder / "report" / "index.html").read_text()
    assert "<img" in page and "ring" in page
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", page)


def test_every_test_scan_is_in_the_report_once(tested):
    names = sorted(path.name for path in (tested.folder / "report" / "scans").iterdir())
    defects = ("colour", "contamination", "crack", "good", "hole")
    assert names == [f"ring__test__{defect}__000.png" for defect in defects]


def test_the_report_s_metrics_are_the_logged_ones(tested):
    report = json.loads((tested.folder / "report" / "metrics.json").read_text())["metrics"]
    assert set(report) == SCORES
    for score, classes in report.items():
        assert {"aupro_0.3", "aupro_0.05", "aupro_0.01", "object_aupro_0.3", "image_auroc"} <= set(classes["ring"])
        for name, value in classes["ring"].items():
            assert 0 <= value <= 1
            assert value == pytest.approx(float(tested.metrics[f"ring/{score}/{name}"]), rel=1e-6)
    assert report["foreground"]["ring"]["image_auroc"] == 0.5  # the same score for every scan


def test_the_same_seed_gives_the_same_networks_bank_and_metrics(fitted, tested, run, assert_same_fit, tmp_path):
    again = run(tmp_path / "fit", "fit")
    assert_same_fit(again.fitted, fitted.fitted)
    assert run(tmp_path / "test", "test", "--ckpt_path", again.fitted).metrics == tested.metrics


def test_another_seed_gives_other_networks(fitted, run, tmp_path):
    other = run(tmp_path, "fit", "--seed_everything", 1, "--trainer.max_epochs", 1)
    ours, theirs = (read_checkpoint(run.fitted)["state_dict"]["classifier.last.weight"] for run in (fitted, other))
    assert not torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("option", "same", "differ"),
    [
        (("--memory_bank.weights", "[1,0]"), {"distance", "classification"}, {"fused"}),
        (("--memory_bank.eta", "0"), {"distance"}, {"classification"}),
    ],
)
def test_options_of_the_bank_on_the_command_line_beat_the_file_s(option, same, differ, fitted, tested, run, tmp_path):
    turned = run(tmp_path, "test", "--ckpt_path", fitted.fitted, *option)
    scores = {name: turned.score(name) == tested.score(name) for name in same | differ}
    assert scores == {**dict.fromkeys(same, True), **dict.fromkeys(differ, False)}
    if "[1,0]" in option:  # eq. (11) with nothing for the classifier is the distance, but for its scale
        fused, distance = (
            {key.split("/", 2)[2]: float(value) for key, value in turned.score(name).items() if "/defect/" not in key}
            for name in ("fused", "distance")
        )
        assert fused == pytest.approx(distance)


def test_options_of_the_model_are_the_file_s_whatever_the_command_line_says(fitted, tested, run, tmp_path):
    other = ("--model.width", "0.25", "--model.backbone", "resnet34", "--model.branches", "[fpfh]")
    assert run(tmp_path, "test", "--ckpt_path", fitted.fitted, *other).metrics == tested.metrics
