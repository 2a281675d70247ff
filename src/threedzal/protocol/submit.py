"""Jobs on a cluster: submitit submits them as a SLURM array, and brings them back when they are preempted."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from threedzal.errors import UserError
from threedzal.protocol.folder import JobFolder, State
from threedzal.protocol.jobs import Job
from threedzal.protocol.runner import Outcome, outcome, run_job

Cluster = Literal["slurm", "local", "debug"]
PATIENCE = 120.0  # seconds for a predecessor's processes to end, and for the signal that ended a job's to arrive here


class SubmittedJob:
    """What runs on the node. Called again after a requeue, it goes on from the job's last checkpoint."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)

    def __call__(self, job: Job, root: str) -> State:
        folder, deadline = JobFolder(root, job), time.monotonic() + PATIENCE
        while (state := run_job(folder, environment=self.environment)) != "done":
            if state == "failed":
                raise RuntimeError(f"{job}: {folder.failure().sentence} (all of it: {folder.log})")
            if time.monotonic() > deadline:
                break
            # `running`: what this job is the continuation of has not ended yet. `stopped`: by a signal of SLURM's, of
            # which this process learns by one that it sends here
            time.sleep(2.0 if state == "running" else 30.0)
        return state

    def checkpoint(self, job: Job, root: str):
        """What submitit is to run after the requeue: the same."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, job, root)


def submit_jobs(
    jobs: Sequence[Job],
    root: str | Path,
    *,
    cluster: Cluster,
    log_folder: Path,
    parameters: Mapping[str, Any],
    environment: Mapping[str, str],
    tell: Callable[[str], None] = print,
) -> Outcome:
    """Submit what is neither done, nor running, nor queued, as one job array. With `local` and `debug`, submitit's
    executors without a cluster, also wait for the end.

    Args:
        log_folder: Where submitit keeps its own logs.
        parameters: Of submitit's executor: timeout_min, gpus_per_node, cpus_per_task, slurm_partition, ...

    Raises:
        UserError: submitit is not installed, there is no such cluster here, or it refuses the parameters.
    """
    queued = _queued() if cluster == "slurm" else set()
    waiting = []
    for job in dict.fromkeys(jobs):
        folder = JobFolder(root, job)
        submitted = (folder.read("submitted") or {}).get("id")
        if folder.state not in ("done", "running") and submitted not in queued:
            waiting.append(job)
    if waiting:
        handles = _submit(waiting, root, cluster, log_folder, parameters, environment)
        for job, handle in zip(waiting, handles, strict=True):
            folder = JobFolder(root, job)
            folder.path.mkdir(parents=True, exist_ok=True)
            folder.write("submitted", {"id": handle.job_id, "cluster": cluster, "log": str(handle.paths.stdout)})
        tell(f"Submitted {len(handles)} jobs: {handles[0].job_id}" + f" to {handles[-1].job_id}" * (len(handles) > 1))
        for handle in handles if cluster != "slurm" else ():
            handle.exception()  # waits; what went wrong stands in the job's folder
    return outcome(jobs, root)


def _submit(waiting, root, cluster, log_folder, parameters, environment) -> list:
    try:
        import submitit
    except ImportError as error:
        raise UserError(
            "the launchers slurm, local and debug need the package submitit: pip install '3dzal[slurm]'"
        ) from error
    if cluster == "slurm":  # whatever the cluster's default
        more = {"requeue": True, **parameters.get("slurm_additional_parameters", {})}
        parameters = {**parameters, "slurm_additional_parameters": more}
    try:
        executor = submitit.AutoExecutor(folder=log_folder, cluster=cluster)
        executor.update_parameters(**parameters)
        return executor.map_array(SubmittedJob(environment), waiting, [str(root)] * len(waiting))
    except (RuntimeError, NameError, TypeError, ValueError, submitit.core.utils.FailedJobError) as error:
        raise UserError(f"submitit cannot submit to {cluster} ({' '.join(str(error).split())})") from error


def _queued() -> set[str]:
    """Ids of the user's jobs that SLURM knows as waiting or running."""
    command = ["squeue", "--noheader", "--array", "--format=%i", f"--user={os.environ.get('USER') or os.getuid()}"]
    try:
        return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    except (OSError, subprocess.CalledProcessError):
        return set()
