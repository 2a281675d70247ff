"""A job of a protocol, by the real commands: what was killed at its last checkpoint ends as if it had not been."""

import shutil

from threedzal.protocol import Job, JobFolder, run_jobs


def test_a_job_that_was_killed_ends_with_the_same_numbers(config, fitted, tested, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = Job("3dzal", (str(config),), ("cone",), ("ring",))
    folder = JobFolder("jobs", job)
    folder.last_checkpoint.parent.mkdir(parents=True)
    shutil.copy(fitted.folder / "checkpoints" / "last.ckpt", folder.last_checkpoint)

    result = run_jobs([job], "jobs").results[job]
    assert {f"ring/{name}": value for name, value in result.metrics["ring"].items()} == {
        name: float(value) for name, value in tested.metrics.items() if name.startswith("ring/")
    }
    assert result.milliseconds_a_scan > 0 and result.fit_seconds > 0
    assert result.fitted_bytes == folder.fitted.stat().st_size and not folder.last_checkpoint.exists()
    assert f"--ckpt_path {folder.last_checkpoint}" in folder.log.read_text()
