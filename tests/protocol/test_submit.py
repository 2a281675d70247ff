"""Jobs by submitit's executors that need no cluster."""

import sys

import pytest

from threedzal.errors import UserError
from threedzal.protocol import Job, JobFolder
from threedzal.protocol.submit import SubmittedJob, submit_jobs


@pytest.fixture
def submit(root, fake, tmp_path):
    def start(jobs, cluster: str, **parameters):
        return submit_jobs(
            jobs, root, cluster=cluster, log_folder=tmp_path / "submitit", parameters=parameters, environment=fake
        )

    return start


def test_the_local_executor_runs_each_in_a_process_and_none_twice(config, root, submit, calls):
    good, bad = Job("m", (config(),), ("a",), ("b",)), Job("m", (config(fake={"fail": "fit"}),), ("a",), ("b",))
    outcome = submit([good, bad], "local", timeout_min=5)
    assert set(outcome.results) == {good} and outcome.failures[bad].sentence == "it was told to fail"
    assert [call["stage"] for call in calls()].count("test") == 1
    before = len(calls())
    assert set(submit([good], "local").results) == {good} and len(calls()) == before


def test_the_debug_executor_runs_in_this_process(config, submit, calls):
    job = Job("m", (config(),), ("a",), ("b",))
    assert set(submit([job], "debug").results) == {job}
    assert [call["stage"] for call in calls()] == ["fit", "test"]


def test_what_is_requeued_is_the_same_job(config):
    job, task = Job("m", (config(),), ("a",), ("b",)), SubmittedJob({"WANDB_RUN_GROUP": "table1"})
    again = task.checkpoint(job, "jobs")
    assert (again.function, again.args) == (task, (job, "jobs"))


def test_a_wrong_parameter_is_told_in_a_sentence(config, submit):
    with pytest.raises(UserError, match="submitit cannot submit to local.*tiemout_min"):
        submit([Job("m", (config(),), ("a",), ("b",))], "local", tiemout_min=5)


def test_without_submitit_its_installation_is_named(config, submit, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    job = Job("m", (config(),), ("a",), ("b",))
    with pytest.raises(UserError, match=r"3dzal\[slurm\]"):
        submit([job], "slurm")


def test_a_job_in_the_queue_is_known_by_its_folder(config, root, submit):
    job = Job("m", (config(),), ("a",), ("b",))
    submit([job], "local", timeout_min=5)
    submitted = JobFolder(root, job).read("submitted")
    assert submitted["cluster"] == "local" and submitted["log"].endswith("log.out")
