"""On a real SLURM of one node: jobs are submitted as an array, a preempted one comes back and goes on."""

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from threedzal.protocol import Job, JobFolder
from threedzal.protocol.submit import submit_jobs

SCRIPT = Path(__file__).parent / "slurm" / "one_node.sh"
PATIENCE = 180  # seconds


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A running SLURM, stopped at the end."""
    if os.geteuid() or not all(map(shutil.which, ("slurmctld", "slurmd", "munged", "sbatch"))):
        pytest.skip("needs root and Debian's packages slurm-wlm and munge")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1] & ~1
    folder = tmp_path / "slurm"
    subprocess.run(["sh", SCRIPT, "start", folder, str(port)], check=True, timeout=PATIENCE)
    monkeypatch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
    yield
    subprocess.run(["sh", SCRIPT, "stop", folder], check=True, timeout=PATIENCE)


def wait_for_the_queue() -> None:
    """Until nothing waits or runs: SLURM's own way to wait, a job that depends on all others."""
    ids = subprocess.run(["squeue", "--noheader", "--format=%A"], capture_output=True, text=True, check=True).stdout
    after = ":".join(sorted(set(ids.split())))
    if after:
        command = ["srun", "--ntasks=1", f"--dependency=afterany:{after}", "true"]
        subprocess.run(command, check=True, timeout=PATIENCE, capture_output=True)


def test_a_preempted_job_is_requeued_and_goes_on(slurm, config, root, fake, calls, pipe, tmp_path):
    jobs = [Job("m", (config(fake={"wait": pipe, "on": ["b"]}),), ("a",), (test,)) for test in "b"]
    jobs.append(Job("m", (config(),), ("a",), ("c",)))
    options = {
        "cluster": "slurm",
        "log_folder": tmp_path / "submitit",
        "parameters": {"timeout_min": 10, "cpus_per_task": 1},
        "environment": fake,
    }
    outcome = submit_jobs(jobs, root, **options)
    assert len(outcome.waiting) + len(outcome.elsewhere) + len(outcome.results) == 2
    Path(pipe + ".reached").read_text()  # the first has written its checkpoint, and waits
    submitted = JobFolder(root, jobs[0]).read("submitted")["id"]
    submit_jobs(jobs, root, **options)
    assert JobFolder(root, jobs[0]).read("submitted")["id"] == submitted  # it is in the queue: not submitted again

    subprocess.run(["scancel", "--signal=USR2", submitted], check=True)
    wait_for_the_queue()
    assert [JobFolder(root, job).state for job in jobs] == ["done", "done"]
    first = [call for call in calls() if str(JobFolder(root, jobs[0]).path) in " ".join(call["args"])]
    assert [call["stage"] for call in first] == ["fit", "fit", "test"]
    assert first[1]["args"][-2:] == ["--ckpt_path", str(JobFolder(root, jobs[0]).last_checkpoint)]
