"""Two ways of doing the same, measured in turns: CPU seconds, peak memory, the floor that the machine sets.

CPU seconds (user and system of all threads) and not the wall clock, because the machine may be shared.
"""

import ctypes
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

Size = Literal["small", "full"]
MIB = 2**20


@dataclass
class Case:
    """One stage on given data: the straightforward way, the package's, and how their answers are compared."""

    work: str  # what is done, with its size
    reference: Callable[[], Any]
    fast: Callable[[], Any]
    agree: Callable[[Any, Any], str]  # (reference's, fast's) -> what was compared; AssertionError where they differ
    share: float = (
        1.0  # of its work that the reference does, where all of it would take hours: the time is divided by it
    )
    flops: float = 0.0  # multiplications and additions that no way of doing it can spare
    traffic: float = 0.0  # bytes that have to be read and written
    repeats: int = 3  # the first run of either way, which also tells the memory, is one of them


@dataclass(frozen=True)
class Stage:
    """A stage of the pipeline with its goals."""

    name: str
    prepare: Callable[[Size], Case]
    ratio: float | None = None  # CPU seconds, reference to fast, wanted at full size
    memory: float | None = None  # MiB beside the inputs, at most, at full size


@dataclass(frozen=True)
class Floor:
    """What one thread does of the cheapest kinds of work, measured in the same run."""

    flops: float  # per second, float32 matrix product
    bandwidth: float  # bytes per second, read and written, memory copy

    @classmethod
    def measured(cls) -> "Floor":
        a, b, x = torch.randn(2048, 2048), torch.randn(2048, 2048), torch.randn(2**26)
        y = torch.empty_like(x)
        product, copy = cpu_seconds(lambda: a @ b, repeats=5), cpu_seconds(lambda: y.copy_(x), repeats=5)
        return cls(flops=2 * 2048**3 / product, bandwidth=2 * x.nbytes / copy)

    def seconds(self, case: Case) -> float:
        return max(case.flops / self.flops, case.traffic / self.bandwidth)


@dataclass
class Measurement:
    stage: str
    work: str
    reference_seconds: float
    extrapolated: bool
    share: float
    seconds: float
    ratio: float
    ratio_goal: float | None
    reference_mib: float
    mib: float
    mib_goal: float | None
    floor_seconds: float
    agreement: str

    @property
    def met(self) -> bool:
        return (self.ratio_goal is None or self.ratio >= self.ratio_goal) and (
            self.mib_goal is None or self.mib <= self.mib_goal
        )

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "met": self.met}


def measure(stage: Stage, size: Size, floor: Floor) -> Measurement:
    """Both ways in turns, medians; the first answers are compared."""
    case = stage.prepare(size)
    expected, first_slow, reference_mib = with_peak(case.reference)
    got, first_quick, mib = with_peak(case.fast)
    agreement = case.agree(expected, got)
    del expected, got
    slow, quick = [first_slow], [first_quick]
    for _ in range(case.repeats - 1):
        slow.append(cpu_seconds(case.reference))
        quick.append(cpu_seconds(case.fast))
    reference, seconds = statistics.median(slow) / case.share, statistics.median(quick)
    return Measurement(
        stage=stage.name,
        work=case.work,
        reference_seconds=reference,
        extrapolated=case.share < 1,
        share=case.share,
        seconds=seconds,
        ratio=reference / seconds,
        ratio_goal=stage.ratio if size == "full" else None,
        reference_mib=reference_mib,
        mib=mib,
        mib_goal=stage.memory if size == "full" else None,
        floor_seconds=floor.seconds(case),
        agreement=agreement,
    )


def cpu_seconds(work: Callable[[], Any], *, repeats: int = 1) -> float:
    """Least CPU seconds of `repeats` runs."""
    spent = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        spent.append(time.process_time() - start)
    return min(spent)


def with_peak(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """The answer of `work`, its CPU seconds, and the MiB by which resident memory rose (NaN where Linux is not)."""
    try:
        ctypes.CDLL(None).malloc_trim(0)  # else blocks kept from before would hide new ones
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        before = _status("VmRSS")
    except (OSError, AttributeError):
        before = None
    start = time.process_time()
    answer = work()
    seconds = time.process_time() - start
    return answer, seconds, float("nan") if before is None else (_status("VmHWM") - before) / MIB


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise AttributeError(field)
