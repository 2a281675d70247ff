"""A job's folder: who works in it, what is done, what came out.

KEY/job.json        what the job is                 KEY/fit/, KEY/test/    what `threedzal` wrote
KEY/log.txt         all that its processes said     KEY/attempts.json      when each process ran
KEY/result.json     there when it is done           KEY/failed.json        there when it last failed
"""

from __future__ import annotations

import csv
import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal

from threedzal.errors import UserError
from threedzal.files import write_text
from threedzal.protocol.jobs import Job

LOOKS = 3  # who only asks for the state of a job holds its lock for a moment, too
State = Literal["done", "running", "failed", "stopped", "waiting"]


@dataclass(frozen=True)
class Result:
    """What a finished job found, and what it cost."""

    metrics: dict[str, dict[str, float]]  # {test class: {"fused/aupro_0.3": 0.78, "foreground/image_auroc": 0.5, ...}}
    fit_seconds: float | None  # wall time of `fit`, start-up included, over all its attempts; None: nothing to fit
    test_seconds: float
    milliseconds_a_scan: float | None  # of the fitted detector, see `threedzal.callbacks.timing`; None: it has none
    fitted_bytes: int | None  # size of the fitted file
    folder: Path  # the job's folder
    report: Path | None  # report/index.html of its test, where one was written


@dataclass(frozen=True)
class Failure:
    """Why a job has no result."""

    sentence: str  # the command's own, or its last line
    exit_code: int
    log: Path


class JobFolder:
    """The folder of `job` below `root`. Any number of runners on any number of machines may share `root`, if its file
    system has locks (flock): NFS, GPFS, Lustre mounted with `flock`."""

    def __init__(self, root: str | Path, job: Job) -> None:
        self.job, self.path = job, Path(root) / job.key
        self.log = self.path / "log.txt"
        self.fitted = self.path / "fit" / "fitted.ckpt"
        self.last_checkpoint = self.path / "fit" / "checkpoints" / "last.ckpt"

    @property
    def state(self) -> State:
        """done; running, here or elsewhere; failed at its last attempt; stopped on the way; waiting to be begun."""
        if self._path("result").is_file():
            return "done"
        if self._is_locked():
            return "running"
        if self._path("failed").is_file():
            return "failed"
        return "stopped" if self._path("attempts").is_file() else "waiting"

    @contextmanager
    def claim(self) -> Iterator[IO[str] | None]:
        """The lock, an open file to hand on to the job's processes, or None where somebody else holds it.

        The system frees it when the last process that has the file open ends, however it ends: no lock is ever stale,
        and where the runner alone is killed nobody begins before the process that it left behind has ended, too.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            file = open(self._lock, "a")  # noqa: SIM115
        except OSError as error:
            raise UserError(
                f"cannot write {self.path}: {error.strerror}; choose another folder for the jobs"
            ) from error
        with file:
            yield file if self._lock_exclusively(file) else None

    def _lock_exclusively(self, file: IO[str]) -> bool:
        for _ in range(LOOKS):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                time.sleep(0.02)
            except OSError as error:
                raise UserError(
                    f"{self.path}: its file system has no locks ({error.strerror}), so that runners cannot share it: "
                    "choose another folder for the jobs, or mount this one with flock"
                ) from error
        return False

    def describe(self) -> None:
        """Leave word of what the job is."""
        self.write("job", {**asdict(self.job), "digest": self.job.digest, "options": self.job.options})

    def write(self, name: str, content: dict[str, Any] | list[Any]) -> None:
        write_text(self._path(name), json.dumps(content, indent=1, default=str))

    def read(self, name: str) -> Any:
        """The content of `name`.json, or None where there is none."""
        with suppress(FileNotFoundError):
            return json.loads(self._path(name).read_text(encoding="utf-8"))
        return None

    def remove(self, name: str) -> None:
        self._path(name).unlink(missing_ok=True)

    def result(self) -> Result | None:
        found = self.read("result")
        if found is None:
            return None
        report = self.path / "test" / "report" / "index.html"
        return Result(**found, folder=self.path, report=report if report.is_file() else None)

    def failure(self) -> Failure | None:
        found = self.read("failed")
        return None if found is None else Failure(found["sentence"], found["exit_code"], self.log)

    def failure_stamp(self) -> float | None:
        """Tells one failure from the next."""
        found = self.read("failed")
        return None if found is None else found["at"]

    @property
    def _lock(self) -> Path:
        return self.path / ".lock"

    def _path(self, name: str) -> Path:
        return self.path / f"{name}.json"

    def _is_locked(self) -> bool:
        with suppress(FileNotFoundError), open(self._lock) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return True
        return False


def read_metrics(path: Path) -> dict[str, dict[str, float]]:
    """`{class: {"fused/aupro_0.3": value}}` of the metrics.csv that a test left; what a batch found of itself stands
    under `transductive/batch/...`.

    Raises:
        UserError: there is none, or nothing was tested.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            row = next(reversed(list(csv.DictReader(file))), {})
    except OSError as error:
        raise UserError(f"{path}: the test left no metrics ({error.strerror})") from error
    metrics: dict[str, dict[str, float]] = {}
    for name, value in row.items():
        stage, _, rest = name.partition("/")
        apart = "transductive/" if rest.startswith("transductive/") else ""
        class_name, _, metric = rest.removeprefix(apart).partition("/")
        if stage == "test" and value and metric and class_name != "mean":
            metrics.setdefault(class_name, {})[f"{apart}{metric}"] = float(value)
    if not metrics:
        raise UserError(f"{path}: no metric of a test is in it")
    return metrics
