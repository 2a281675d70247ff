"""Runs jobs: `threedzal fit` and `test`, each in a process of its own."""

from __future__ import annotations

import ctypes
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any, Literal

import yaml

from threedzal.errors import Interrupted, UserError
from threedzal.files import write_text
from threedzal.protocol.folder import Failure, JobFolder, Result, State, read_metrics
from threedzal.protocol.jobs import Job

TIMING = "threedzal.callbacks.timing.TimingCallback"
STOPPED = {128 + signal.SIGINT, 128 + signal.SIGTERM, *(-s for s in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2))}
GRACE = 60.0  # seconds that a process has to end by itself
# A job's process is one process of this machine, or makes its own: it must not take itself for a task of `srun`.
FOREIGN = ("SLURM_", "SUBMITIT_", "PMI_", "PMIX_", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "RANK", "MASTER_")
_PRCTL = ctypes.CDLL(None).prctl if sys.platform == "linux" else None  # looked up before any fork


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
                code = _run_stage(folder, stage, lock, environment or {}, stop)
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


def _run_stage(
    folder: JobFolder, stage: Literal["fit", "test"], lock: IO[str], environment: Mapping[str, str], stop
) -> int:
    """Run `threedzal STAGE` to its end or until `stop`; returns its exit code."""
    command = [sys.executable, "-m", "threedzal", *arguments(folder, stage)]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    attempts = [*(folder.read("attempts") or []), {"stage": stage, "started": time.time(), "ended": None}]
    folder.write("attempts", attempts)
    with open(folder.log, "a", encoding="utf-8") as log:
        log.write(f"\n$ {shlex.join(command)}\n")
        log.flush()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**inherited, "PYTHONUNBUFFERED": "1", **_wandb_environment(folder.job), **environment},
            pass_fds=(lock.fileno(),),  # the claim lives as long as the process, whatever becomes of this one
            start_new_session=True,  # Ctrl-C reaches this process alone, which then ends the others in order
            preexec_fn=_end_with_parent,
        )
        code = _wait(process, stop)
    attempts[-1] |= {"ended": time.time(), "exit_code": code}
    folder.write("attempts", attempts)
    return code


def _end_with_parent() -> None:
    """In the new process: be sent SIGTERM when the runner is gone, even by SIGKILL (Linux only)."""
    if _PRCTL is not None:
        _PRCTL(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def _wait(process: subprocess.Popen, stop: threading.Event) -> int:
    try:
        while not stop.is_set():
            try:
                return process.wait(timeout=0.5)
            except subprocess.TimeoutExpired:
                continue
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


def arguments(folder: JobFolder, stage: Literal["fit", "test"]) -> list[str]:
    """Those of `threedzal`; writes the config that they name."""
    job = folder.job
    own = {
        "seed_everything": job.seed,
        "data": {"train_classes": list(job.train), "test_classes": list(job.test)},
        "trainer": {"logger": _loggers(folder, stage)},
    }
    if stage == "fit":  # where `last_checkpoint` looks for it
        place = str(folder.last_checkpoint.parent)
        own["checkpoint"] = {"dirpath": place, "filename": "last", "monitor": None, "save_top_k": 1}
    path = write_text(folder.path / f"{stage}.yaml", yaml.safe_dump(own))
    configs = [option for config in job.configs for option in ("--config", str(config))]
    args = [stage, *configs, *job.overrides, "--config", str(path)]
    if stage == "test":
        args.append(f"--trainer.callbacks+={TIMING}")
        checkpoint = folder.fitted if job.needs_fit else None
    else:
        checkpoint = folder.last_checkpoint if folder.last_checkpoint.is_file() else None
    return args if checkpoint is None else [*args, "--ckpt_path", str(checkpoint)]


def _loggers(folder: JobFolder, stage: str) -> list[dict[str, Any]]:
    """metrics.csv in `fit/` or `test/` of the job's folder, which comes first, and the config's other loggers."""
    own = {"save_dir": str(folder.path), "name": "", "version": stage}
    loggers = [{"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": own}]
    configured = (folder.job.options.get("trainer") or {}).get("logger") or []
    for logger in configured if isinstance(configured, list) else [configured]:
        kind = str(logger.get("class_path", "")).rsplit(".", 1)[-1] if isinstance(logger, dict) else ""
        if kind in ("WandbLogger", "WandbRun"):  # one run for the job: its test goes on in the run of its fit
            more = {"id": folder.job.digest, "name": str(folder.job), "save_dir": str(folder.path)}
            loggers.append({**logger, "init_args": {**(logger.get("init_args") or {}), **more}})
        elif kind and kind != "CSVLogger":
            more = {"save_dir": str(folder.path), "name": "", "version": stage}
            loggers.append({**logger, "init_args": {**(logger.get("init_args") or {}), **more}})
    return loggers


def _wandb_environment(job: Job) -> dict[str, str]:
    return {"WANDB_RUN_ID": job.digest, "WANDB_RESUME": "allow"}


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
