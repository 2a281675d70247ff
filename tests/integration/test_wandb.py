"""Weights & Biases from the console script: a server that is away, a run that goes on, and all that is in its file."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "logger" / "wandb.yaml"
BLOCK, HEADER = 32768, 7  # of a .wandb file: LevelDB's log format after a header of 7 bytes
AWAY = {"WANDB_MODE": "online", "WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": "0" * 40}
PANELS = 2


@dataclass
class Logged:
    """What an offline run has in its file."""

    id: str = ""
    config: dict[str, str] = field(default_factory=dict)  # {key: JSON}
    history: dict[str, list[str]] = field(default_factory=dict)  # {name: JSON of each value, in order}
    artifacts: list = field(default_factory=list)  # protocol buffers


def records(path: Path) -> Iterator:
    """The records of a .wandb file, each a protocol buffer."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, position, parts = path.read_bytes(), HEADER, b""
    assert data[:4] == b":W&B"
    while position + 7 <= len(data):
        if BLOCK - position % BLOCK < 7:  # too little is left of the block for a header
            position += BLOCK - position % BLOCK
            continue
        length, kind = int.from_bytes(data[position + 4 : position + 6], "little"), data[position + 6]
        parts += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(parts)
            parts = b""


def logged(folder: Path) -> Logged:
    """The offline run in a folder, whose process has ended: its file is whole, and says so itself."""
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    run, kinds = Logged(), set()
    for record in records(path):
        kinds.add(record.WhichOneof("record_type"))
        run.id = record.run.run_id or run.id
        run.config |= {item.key: item.value_json for item in (*record.config.update, *record.run.config.update)}
        for item in record.history.item:
            run.history.setdefault(item.key or "/".join(item.nested_key), []).append(item.value_json)
        if record.HasField("artifact"):
            run.artifacts.append(record.artifact)
    assert "exit" in kinds
    return run


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    """Nothing of this machine's W&B, and no file outside of the test's folders."""
    home = tmp_path_factory.mktemp("home")
    names = ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR")
    return {"WANDB_SILENT": "true", "HOME": str(home), **{name: str(home) for name in names}}


@pytest.fixture(scope="module")
def away(command, config, environment, tmp_path_factory):
    """A fit whose W&B server cannot be reached: the finished process and its folder."""
    folder = tmp_path_factory.mktemp("away")
    args = ("fit", "--config", config, "--config", CONFIG, "--trainer.max_epochs", 1)
    return command(folder, *args, **environment, **AWAY), folder


@pytest.fixture(scope="module")
def test_run(away, command, config, environment, tmp_path_factory) -> Logged:
    """The test of that fit's file, offline."""
    fitted = away[1] / "lightning_logs" / "version_0" / "fitted.ckpt"
    folder = tmp_path_factory.mktemp("test")
    options = ("--ckpt_path", fitted, "--report.enabled", "true", "--report.logged_panels", PANELS)
    done = command(
        folder, "test", "--config", config, "--config", CONFIG, *options, **environment, WANDB_MODE="offline"
    )
    assert done.returncode == 0, done.stderr
    return logged(folder)


def test_a_server_that_is_away_does_not_stop_a_fit(away):
    done, folder = away
    assert done.returncode == 0, done.stderr
    assert "W&B cannot be reached" in done.stderr
    assert "wandb sync" in done.stderr
    assert (folder / "lightning_logs" / "version_0" / "fitted.ckpt").is_file()


def test_a_fit_logs_its_curves_its_configuration_and_its_bank(away):
    run = logged(away[1])
    names = {"train/loss", "train/gradient_norm", "val/loss", "val/pseudo_scans/object_aupro_0.3"}
    names |= {"bank/rows", "bank/numbers", "bank/coreset_radius"}
    assert names <= set(run.history)
    assert len(run.history["train/loss"]) > 1
    assert float(run.history["bank/coreset_radius"][0]) > 0
    options = json.loads(run.config["config"])
    assert options["data"]["train_classes"] == ["cone"]
    assert options["memory_bank"]["coreset"] == 0.1


def test_the_fitted_file_is_an_artifact_with_its_figures(away):
    run = logged(away[1])
    (artifact,) = [one for one in run.artifacts if one.type == "model"]
    assert [entry.path for entry in artifact.manifest.contents] == ["fitted.ckpt"]
    figures = json.loads(artifact.metadata)
    assert figures["bank"]["rows"] == float(run.history["bank/rows"][0])
    assert "loss" in figures["val"]


def test_the_id_lies_beside_the_checkpoint_and_a_test_goes_on_with_it(away, test_run):
    kept = json.loads((away[1] / "lightning_logs" / "version_0" / "wandb_run.json").read_text())
    assert kept["id"] == logged(away[1]).id == test_run.id


def test_a_test_logs_its_metrics_its_tables_and_its_plots(test_run):
    assert {"test/ring/fused/aupro_0.3", "test/mean/foreground/object_aupro_0.3"} <= set(test_run.history)
    tables = {one.name.split("-")[2]: one for one in test_run.artifacts if one.type == "run_table"}
    assert set(tables) == {"testscans", "testmetrics", "testpro_curve_table", "testroc_curve_table"}
    (artifact,) = [one for one in test_run.artifacts if one.type == "model"]
    assert {entry.path for entry in artifact.manifest.contents} == {"fitted.ckpt", "metrics.json"}
    assert "fused/aupro_0.3" in json.loads(artifact.metadata)["ring"]


def test_the_table_of_scans_has_all_of_them_and_pictures_of_the_worst(test_run):
    (artifact,) = [one for one in test_run.artifacts if "testscans" in one.name]
    files = {entry.path: Path(entry.local_path) for entry in artifact.manifest.contents}
    table = json.loads(files.pop("test/scans.table.json").read_text())
    assert table["columns"][:6] == ["scan", "class", "defect", "label", "score", "verdict"]
    assert table["columns"][7:] == ["RGB", "depth", "ground truth", "distance map", "classifier map", "fused map"]
    assert len(table["data"]) == 5  # one good scan and one of each defect
    with_pictures = [row for row in table["data"] if all(isinstance(cell, dict) for cell in row[7:])]
    assert with_pictures == table["data"][:PANELS]
    assert all(row[7:] == [None] * 6 for row in table["data"][PANELS:])
    shown = {cell["path"] for row in with_pictures for cell in row[7:]}
    assert set(files) == shown
    assert all(path.is_file() for path in files.values())
