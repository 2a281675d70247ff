"""Runs jobs: `threedzal fit` and `test`, each in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from threedzal.errors import Interrupted, UserError
from threedzal.protocol.folder import Failure, JobFolder, Result, State, read_metrics
from threedzal.protocol.jobs import Job
from threedzal.protocol.stage import run_stage

STOPPED = {128 + signal.SIGINT, 128 + signal.SIGTERM, *(-s for s in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2))}


@dataclass
class Outcome:
    """What became of a list of jobs."""

    results: dict[Job, Result] = field(default_factory=dict)
    failures: dict[Job, Failure] = field(default_factory=dict)
    elsewhere: list[Job] = field(default_factory=list)  # other runners are at work on these
    waiting: list[Job] = field(default_factory=list)  # not begun, or stopped on the way

    def __str__(self) -> str:
        parts = {
            "done": self.results,
            "failed": self.failures,
            "being run elsewhere": self.elsewhere,
            "waiting": self.waiting,
        }
        return ", ".join(f"{len(jobs)} {word}" for word, jobs in parts.items() if jobs) or "no jobs"


def run_jobs(
    jobs: Sequence[Job],
    root: str | Path,
    *,
    workers: int = 1,
    environment: Mapping[str, str] | None = None,
    tell: Callable[[str], None] = print,
) -> Outcome:
    """Run what is not done yet, `workers` jobs at a time; each job is a folder below `root`.

    A finished job is not run again; one that was killed goes on from its last checkpoint; one that failed before is
    tried once more; one that another runner has is left to it. On SIGINT or SIGTERM the jobs' processes are stopped,
    and the same call goes on where they were.

    Args:
        environment: Variables for the jobs' processes, beside those of this one.
        tell: Gets a line whenever a job begins, ends or fails.

    Raises:
        Interrupted: by a signal.
        UserError: a config cannot be read, or the folder cannot be used.
    """
    jobs = list(dict.fromkeys(jobs))
    failed_before = {job: JobFolder(root, job).failure_stamp() for job in jobs}  # also: every config can be read
    seats: SimpleQueue[dict[str, str]] = SimpleQueue()
    for seat in _seats(workers):
        seats.put({**(environment or {}), **seat})

    def work(job: Job) -> None:
        folder, seat = JobFolder(root, job), seats.get()
        try:
            if not stop.is_set() and folder.failure_stamp() == failed_before[job]:
                run_job(folder, environment=seat, stop=stop, tell=tell)
        finally:
            seats.put(seat)

    with _stopped_by_signals() as stop, ThreadPoolExecutor(workers) as pool:
        works = [pool.submit(work, job) for job in jobs]
        try:
            for each in works:
                each.result()
        except BaseException:
            stop.set()
            raise
    if stop.is_set():
        raise Interrupted("finished jobs are kept, the others go on from their last checkpoint: start it again")
    return outcome(jobs, root)


def outcome(jobs: Sequence[Job], root: str | Path) -> Outcome:
    """How the jobs stand."""
    found = Outcome()
    for job in jobs:
        folder = JobFolder(root, job)
        if (result := folder.result()) is not None:
            found.results[job] = result
        elif folder.state == "running":
            found.elsewhere.append(job)
        elif (failure := folder.failure()) is not None:
            found.failures[job] = failure
        else:
            found.waiting.append(job)
    return found


def run_job(
    folder: JobFolder,
    *,
    environment: Mapping[str, str] | None = None,
    stop: threading.Event | None = None,
    tell: Callable[[str], None] = print,
) -> State:
    """Bring one job to its end, from wherever it is; returns its state then (`running`: somebody else has it).

    `stop` ends it early when set: the job is then `stopped`, or done if it was so by then.
    """
    stop = stop or threading.Event()
    job = folder.job
    if folder.state == "done":
        return "done"
    with folder.claim() as lock:
        if lock is None:
            return "running"
        if folder.result() is not None:  # by another, between the two looks
            return "done"
        folder.remove("failed")
        folder.describe()
        tell(f"{job}: {'goes on' if folder.last_checkpoint.is_file() else 'begins'} ({folder.path})")
        code = 0
        for stage in ("fit", "test"):
            if code == 0 and not stop.is_set() and (stage == "test" or _wants_fit(folder)):
                code = run_stage(folder, stage, lock, environment or {}, stop)
        if stop.is_set() or code in STOPPED:
            tell(f"{job}: stopped")
            return "stopped"
        if code == 0:
            try:
                folder.write("result", _collect(folder))
                folder.last_checkpoint.unlink(missing_ok=True)  # the fitted file holds all that it held
            except UserError as error:
                code, sentence = 1, str(error)
        else:
            sentence = _last_words(folder.log)
        if code:
            folder.write("failed", {"sentence": sentence, "exit_code": code, "at": time.time()})
            tell(f"{job}: FAILED, {sentence} (all of it: {folder.log})")
            return "failed"
    tell(f"{job}: done")
    return "done"


def _wants_fit(folder: JobFolder) -> bool:
    return folder.job.needs_fit and not folder.fitted.is_file()


def _collect(folder: JobFolder) -> dict[str, Any]:
    """What result.json holds, of what the processes left."""
    attempts = folder.read("attempts")
    fitted = folder.fitted if folder.job.needs_fit else None
    timing = folder.read("test/timing")
    return {
        "metrics": read_metrics(folder.path / "test" / "metrics.csv"),
        "fit_seconds": _seconds(folder, attempts, "fit") if fitted else None,
        "test_seconds": _seconds(folder, attempts[-1:], "test"),
        "milliseconds_a_scan": timing and timing["milliseconds_a_scan"],
        "fitted_bytes": fitted and fitted.stat().st_size,
    }


def _seconds(folder: JobFolder, attempts: list[dict[str, Any]], stage: str) -> float:
    """Wall time of a stage over its attempts; one that was killed with its runner counts to what it last wrote."""
    total, starts = 0.0, [a["started"] for a in attempts] + [float("inf")]
    written = [p.stat().st_mtime for p in (folder.path / stage).rglob("*") if p.is_file()]
    for attempt, following in zip(attempts, starts[1:], strict=True):
        if attempt["stage"] == stage:
            start = attempt["started"]
            end = attempt["ended"] or max((t for t in written if start <= t < following), default=start)
            total += end - start
    return total


def _last_words(log: Path) -> str:
    """The last error sentence of a log, or its last line."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    said = [line.removeprefix("threedzal: error: ") for line in lines if line.startswith("threedzal: error: ")]
    return (said or lines or ["it said nothing"])[-1]


def _seats(workers: int) -> Iterator[dict[str, str]]:
    """What sets each worker apart: on a machine with several GPUs, one of them for each in turn."""
    gpus = _gpus() if workers > 1 else []
    for i in range(workers):
        yield {"CUDA_VISIBLE_DEVICES": gpus[i % len(gpus)]} if len(gpus) > 1 else {}


def _gpus() -> list[str]:
    if (chosen := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in chosen.split(",") if name]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    return [str(i) for i, _ in enumerate(line for line in listed.splitlines() if line.startswith("GPU "))]


@contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set, while the block runs (in the main thread; elsewhere nothing sets it)."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
