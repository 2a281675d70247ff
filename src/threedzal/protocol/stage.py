"""One stage of a job, `threedzal fit` or `test`: its command line, and the process that it runs in."""

from __future__ import annotations

import ctypes
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from typing import IO, Any, Literal

import yaml

from threedzal.files import write_text
from threedzal.protocol.folder import JobFolder
from threedzal.protocol.jobs import Job

TIMING = "threedzal.callbacks.timing.TimingCallback"
GRACE = 60.0  # seconds that a process has to end by itself
# A job's process is one process of this machine, or makes its own: it must not take itself for a task of `srun`.
FOREIGN = ("SLURM_", "SUBMITIT_", "PMI_", "PMIX_", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "RANK", "MASTER_")
_PRCTL = ctypes.CDLL(None).prctl if sys.platform == "linux" else None  # looked up before any fork


def run_stage(
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
