"""TensorBoard beside the CSV: the same scalars, and a capped set of pictures."""

from pathlib import Path

import pytest

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "logger" / "tensorboard.yaml"


def test_a_test_s_metrics_and_its_worst_scans_are_in_tensorboard_too(run, fitted, tested, tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    options = ("--report.enabled", "true", "--report.logged_panels", 2)
    run(tmp_path, "test", "--config", CONFIG, "--ckpt_path", fitted.fitted, *options)
    (folder,) = tmp_path.glob("lightning_logs/tensorboard/version_*")
    events = EventAccumulator(str(folder)).Reload()
    logged = {name: events.Scalars(name)[0].value for name in events.Tags()["scalars"]}
    for name, value in tested.metrics.items():
        assert logged[f"test/{name}"] == pytest.approx(float(value), rel=1e-6, nan_ok=True)
    assert logged["bank/rows"] > 0
    scans = [tag for tag in events.Tags()["images"] if tag.startswith("test/ring/")]
    assert len(scans) == 2
