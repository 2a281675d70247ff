"""Jobs are run once, go on where they were killed, fail alone, and are shared by runners."""

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from threedzal.protocol import Job, JobFolder, run_jobs
from threedzal.protocol.runner import run_job
from threedzal.protocol.stage import arguments

PATIENCE = 60  # seconds until a process that does nothing is given up


def test_a_finished_job_is_not_run_again(config, root, fake, calls):
    job = Job("m", (config(),), ("a",), ("b",), seed=3)
    outcome = run_jobs([job, job], root, environment=fake)
    assert [call["stage"] for call in calls()] == ["fit", "test"]
    assert {call["seed"] for call in calls()} == {3}
    result = outcome.results[job]
    assert result.metrics == {
        "b": {f"{row}/{m}": 0.5 for row in ("fused", "distance", "foreground") for m in ("aupro_0.3", "image_auroc")}
    }
    assert result.milliseconds_a_scan == 12.5 and result.fitted_bytes == len("fitted") and result.fit_seconds > 0
    assert not JobFolder(root, job).last_checkpoint.exists()

    again = run_jobs([job], root, environment=fake)
    assert len(calls()) == 2 and again.results == {job: result}


def test_what_the_user_gave_is_passed_on_under_the_job_s_own_options(config, root, fake, calls):
    path = config(data={"root": "mvtec"})
    run_jobs([Job("m", (path,), ("a",), ("b",), overrides=("--data.visits=2",))], root, environment=fake)
    for call in calls():
        args = call["args"]
        assert args.index(path) < args.index("--data.visits=2") < len(args) - 1 - args[::-1].index("--config")


def test_a_failed_job_is_reported_with_its_log_and_does_not_stop_the_others(config, root, fake, calls):
    jobs = [Job("m", (config(fake={"fail": "test", "on": ["b"]}),), ("a",), (test,)) for test in "bcd"]
    said = []
    outcome = run_jobs(jobs, root, environment=fake, tell=said.append)
    assert set(outcome.results) == set(jobs[1:]) and set(outcome.failures) == {jobs[0]}
    failure = outcome.failures[jobs[0]]
    assert (failure.sentence, failure.exit_code) == ("it was told to fail", 2)
    assert "it was told to fail" in failure.log.read_text()
    assert [line for line in said if "FAILED" in line and str(failure.log) in line]
    assert JobFolder(root, jobs[0]).state == "failed"

    before = len(calls())
    run_jobs(jobs, root, environment=fake)  # tried once more, from its fitted file
    assert [call["stage"] for call in calls()[before:]] == ["test"]


def test_a_killed_job_goes_on_from_its_last_checkpoint(config, root, fake, calls, pipe, runner_script):
    path = config(fake={"wait": pipe})
    folder = JobFolder(root, Job("m", (path,), ("a",), ("b",)))
    runner = subprocess.Popen([*runner_script, path, str(root), fake["PYTHONPATH"]])
    Path(pipe + ".reached").read_text()
    assert folder.state == "running"
    assert run_job(folder, environment=fake) == "running"  # nobody else may begin
    runner.kill()
    with open(folder.path / ".lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)  # waits until the runner and the fit that it left behind have ended
    assert folder.state == "stopped"

    assert [call["stage"] for call in calls()] == ["fit"]
    assert run_job(folder, environment=fake) == "done"
    resumed = calls()[1]
    assert resumed["args"][-2:] == ["--ckpt_path", str(folder.last_checkpoint)]
    assert folder.result().fit_seconds > 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_processes_and_the_same_call_goes_on(number, config, root, fake, calls, pipe, runner_script):
    path = config(fake={"wait": pipe})
    job = Job("m", (path,), ("a",), ("b",))
    runner = subprocess.Popen([*runner_script, path, str(root), fake["PYTHONPATH"]], stderr=subprocess.PIPE, text=True)
    worker = int(Path(pipe + ".reached").read_text())
    runner.send_signal(number)
    assert "Interrupted" in runner.communicate(timeout=PATIENCE)[1]
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)
    assert JobFolder(root, job).state == "stopped"
    assert run_jobs([job], root, environment=fake).results.keys() == {job}
    assert [call["stage"] for call in calls()] == ["fit", "fit", "test"]


def test_two_runners_share_a_folder_and_do_each_job_once(config, root, fake, calls):
    code = (
        "import sys; from threedzal.protocol import Job, run_jobs; config, root, path = sys.argv[1:];"
        "jobs = [Job('m', (config,), ('a',), (t,)) for t in 'bcdef'];"
        "run_jobs(jobs, root, workers=2, environment={'PYTHONPATH': path})"
    )
    path = config()
    runners = [subprocess.Popen([sys.executable, "-c", code, path, str(root), fake["PYTHONPATH"]]) for _ in range(2)]
    assert [runner.wait(PATIENCE) for runner in runners] == [0, 0]
    assert sorted(call["stage"] for call in calls()) == ["fit"] * 5 + ["test"] * 5
    assert all(JobFolder(root, Job("m", (path,), ("a",), (test,))).state == "done" for test in "bcdef")


def test_a_job_that_somebody_else_has_is_left_to_him(config, root, fake, calls):
    mine, theirs = (Job("m", (config(),), ("a",), (test,)) for test in "bc")
    with JobFolder(root, theirs).claim() as lock:
        assert lock is not None
        outcome = run_jobs([theirs, mine], root, environment=fake)
    assert outcome.elsewhere == [theirs] and set(outcome.results) == {mine}


@pytest.mark.parametrize("kind", ["lightning.pytorch.loggers.WandbLogger", "threedzal.wandb_run.WandbRun"])
def test_the_config_s_loggers_stay_and_a_requeued_job_goes_on_in_its_wandb_run(kind, config, root):
    wandb = {"class_path": kind, "init_args": {"project": "3dzal", "offline": True}}
    csv = {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": "elsewhere"}}
    job = Job("m", (config(trainer={"logger": [csv, wandb]}),), ("a",), ("b",))
    folder = JobFolder(root, job)
    for stage in ("fit", "test", "fit"):
        arguments(folder, stage)
        loggers = yaml.safe_load((folder.path / f"{stage}.yaml").read_text())["trainer"]["logger"]
        assert [logger["init_args"]["save_dir"] for logger in loggers] == [str(folder.path)] * 2
        assert loggers[0]["init_args"]["version"] == stage
        assert loggers[1]["init_args"] == {
            "project": "3dzal", "offline": True, "id": job.digest, "name": str(job), "save_dir": str(folder.path)
        }  # fmt: skip
