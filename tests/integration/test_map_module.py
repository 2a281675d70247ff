"""A method that maps a scan by itself, without a memory bank: the same fit, file, metrics and pages as for all."""

import sys

import pytest
import torch
import torch.nn.functional as F

import threedzal.checkpoint
from threedzal import load
from threedzal.checkpoint import read_checkpoint
from threedzal.cli import main
from threedzal.data.readers import read_rgb, read_xyz
from threedzal.errors import UserError
from threedzal.module import MapModule, Method


class Roughness(MapModule):
    """Marks what is far from the mean of its surroundings, times a number that it learns."""

    uses_rgb = False

    def __init__(self, window: int = 9) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.gain = torch.nn.Parameter(torch.ones(()))

    def anomaly(self, scan):
        depth = scan.xyz[:, 2:]
        around = F.avg_pool2d(depth, self.hparams.window, stride=1, padding=self.hparams.window // 2)
        rough = (depth - around).abs()[:, 0] * scan.object * self.gain
        return rough, rough.flatten(1).amax(dim=1)

    def training_step(self, scan, batch_index):
        return (self.anomaly(scan)[1].mean() - 1).square()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Stage(Method):
    """Learns something, but marks no defects."""

    judges_scans, uses_rgb, uses_fpfh, uses_pseudo_anomalies = False, False, False, False

    def __init__(self, start: float = 1.0) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.gain = torch.nn.Parameter(torch.ones(()))

    def training_step(self, scan, batch_index):
        return self.gain.square()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


IN_CLASS = ("--data.protocol", "in_class", "--data.test_classes", "[cone]", "--data.training", "good_scans")
IN_CLASS += ("--data.pseudo_scan_classes", "training", "--data.fpfh", "false", "--trainer.max_epochs", "1")


@pytest.fixture(scope="module")
def methods():
    """The two methods under their names in the table of a fitted file's methods."""
    module = sys.modules[__name__]
    sys.modules["map_methods"] = module
    Roughness.__module__ = Stage.__module__ = "map_methods"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(threedzal.checkpoint.METHODS, "Roughness", "map_methods")
        patch.setitem(threedzal.checkpoint.METHODS, "Stage", "map_methods")
        yield


@pytest.fixture(scope="module")
def fit(methods, run, tmp_path_factory):
    """`fit("Roughness")`: its fit on the good scans of `cone`."""

    def start(method: str, *options):
        folder = tmp_path_factory.mktemp(method)
        (folder / "method.yaml").write_text(f"model: {{class_path: map_methods.{method}}}")
        return run(folder, "fit", "--config", "method.yaml", *IN_CLASS, *options)

    return start


@pytest.fixture(scope="module")
def mapped(fit):
    return fit("Roughness")


def test_the_fitted_file_has_a_threshold_and_no_bank(mapped):
    checkpoint = read_checkpoint(mapped.fitted)
    state = checkpoint["callbacks"]["MemoryBankCallback"]
    assert "bank" not in state
    assert 0 < state["calibration"]["threshold"] < float("inf")
    assert checkpoint["state_dict"]["gain"] != 1


def test_test_gives_the_method_s_own_map_beside_the_floor(mapped, methods, run, tmp_path):
    tested = run(tmp_path, "test", "--ckpt_path", mapped.fitted, *IN_CLASS, "--report.enabled", "true")
    rows = {key.split("/")[1] for key in tested.metrics}
    assert rows == {"fused", "foreground"}
    assert (tested.folder / "report" / "index.html").is_file()


def test_the_fitted_file_alone_judges_a_scan(mapped, methods, data_root):
    folder = data_root / "cone" / "test" / "good"
    xyz = read_xyz(folder / "xyz" / "000.tiff")
    detector = load(mapped.fitted)
    prediction = detector(read_rgb(folder / "rgb" / "000.png"), xyz)
    assert prediction.map.shape == xyz.shape[:2]
    assert prediction.score == pytest.approx(float(prediction.map.max()), rel=1e-5)
    assert prediction.label == int(prediction.score >= prediction.threshold)


def test_a_batch_cannot_judge_itself_by_maps(mapped, data_root, capsys):
    args = ("--ckpt_path", mapped.fitted, "--data.predict_path", data_root / "cone", "--reference", "batch")
    assert main(["predict", *map(str, args)]) == 2
    assert "Roughness" in capsys.readouterr().err


def test_a_stage_of_a_method_is_fitted_but_tests_nothing(fit, capsys):
    stage = fit("Stage")
    assert "calibration" not in read_checkpoint(stage.fitted)["callbacks"]["MemoryBankCallback"]
    assert main(["test", "--ckpt_path", str(stage.fitted)]) == 2
    assert "Stage is one stage of a method" in capsys.readouterr().err
    with pytest.raises(UserError, match="Stage is one stage of a method"):
        load(stage.fitted)


def test_without_a_class_for_pseudo_anomalies_the_threshold_is_the_worst_good_scan_s(fit, data_root, tmp_path):
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "cone").symlink_to(data_root / "cone")
    fitted = fit("Roughness", "--data.root", alone)
    detector, folder = load(fitted.fitted), data_root / "cone" / "validation" / "good" / "xyz"
    scores = [detector(None, read_xyz(path)).score for path in sorted(folder.iterdir())]
    assert detector.calibration.threshold == pytest.approx(max(scores), rel=1e-4)
