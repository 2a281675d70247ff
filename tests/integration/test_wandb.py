"""Weights & Biases offline: all scalars, and no more pictures than the cap."""

from pathlib import Path

import pytest

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "logger" / "wandb.yaml"
BLOCK, HEADER = 32768, 7  # of a .wandb file: LevelDB's log format after a header of 7 bytes


def records(path: Path) -> list:
    """The records of an offline run's .wandb file."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, position, parts, found = path.read_bytes(), HEADER, b"", []
    assert data[:4] == b":W&B"
    while position + 7 <= len(data):
        if BLOCK - position % BLOCK < 7:  # too little is left of the block for a header
            position += BLOCK - position % BLOCK
            continue
        length, kind = int.from_bytes(data[position + 4 : position + 6], "little"), data[position + 6]
        parts += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            found.append(Record.FromString(parts))
            parts = b""
    return found


def logged(folder: Path) -> set[str]:
    """Names of the values in the history of the newest offline run."""
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    items = [item for record in records(path) for item in record.history.item]
    return {item.key or "/".join(item.nested_key) for item in items}


@pytest.fixture
def offline(monkeypatch):
    """No login, no network, no run left open for the next test."""
    import wandb

    for name, value in {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}.items():
        monkeypatch.setenv(name, value)
    yield
    wandb.finish()


def test_a_fit_logs_every_scalar(offline, run, tmp_path):
    run(tmp_path, "fit", "--config", CONFIG, "--trainer.max_epochs", 1)
    import wandb

    wandb.finish()
    names = {
        "train/loss",
        "train/l_con",
        "train/l_rd",
        "train/l_bce",
        "train/gradient_norm",
        "train/patches_per_second",
    }
    names |= {f"train/accuracy/{kind}" for kind in ("normal", "adding", "removing")}
    names |= {"val/loss", "val/auroc/adding", "val/auroc/removing", "val/pseudo_scans/object_aupro_0.3"}
    assert names <= logged(tmp_path)


def test_a_test_logs_every_metric_and_a_capped_set_of_panels(offline, run, fitted, tested, tmp_path):
    options = ("--report.enabled", "true", "--report.logged_panels", 2)
    run(tmp_path, "test", "--config", CONFIG, "--ckpt_path", fitted.fitted, *options)
    import wandb

    wandb.finish()
    names = logged(tmp_path)
    assert {f"test/{name}" for name in tested.metrics} <= names
    assert any(name.startswith("test/panels") for name in names)
    assert len(list(tmp_path.glob("wandb/offline-run-*/files/media/images/test/*.png"))) == 2
