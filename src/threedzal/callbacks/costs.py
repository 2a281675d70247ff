"""What a run takes: seconds and bytes, measured where the work is done."""

from __future__ import annotations

import platform
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch


class Stopwatch:
    """Times of a fit, which travel in the fitted file, and of the scans of a test.

    `fit` holds plain values: seconds (of all its sessions, should it have been interrupted), device, memory (bytes),
    command.
    """

    def __init__(self) -> None:
        self.fit: dict[str, Any] = {}
        self._fit_start: float | None = None
        self._test_start = self._test_end = 0.0
        self._device = torch.device("cpu")
        self.scans = 0

    def start_fit(self, device: torch.device, command: str) -> None:
        """A fit begins, or goes on: its earlier seconds stand in what was loaded."""
        self._fit_start, self._device = time.perf_counter(), device
        self.fit = {"seconds": self.fit.get("seconds", 0.0), "command": self.fit.get("command", command)}

    def fitted(self) -> dict[str, Any]:
        """The fit so far."""
        if self._fit_start is None:
            return self.fit
        seconds = self.fit["seconds"] + time.perf_counter() - self._fit_start
        return self.fit | {"seconds": seconds, "device": device_name(self._device), "memory": peak_bytes(self._device)}

    def start_test(self) -> None:
        """The first scan is about to be read."""
        self._test_start, self.scans = time.perf_counter(), 0

    def count(self, scans: int) -> None:
        """So many more scans were scored."""
        self._test_end = time.perf_counter()
        self.scans += scans

    @property
    def seconds_a_scan(self) -> float | None:
        """Of this process: reading, preparing and scoring a scan; None before any was scored."""
        return (self._test_end - self._test_start) / self.scans if self.scans else None


def costs(watch: Stopwatch, device: torch.device, *, workers: int, processes: int, fitted: Path | None) -> dict:
    """`{what: figure with its unit}` for the report."""
    fit, table = watch.fit, {}
    if fit.get("seconds"):
        table["Fit"] = f"{duration(fit['seconds'])} on {fit['device']}, {in_bytes(fit['memory'])} of memory at most"
    if watch.seconds_a_scan:
        how = f"{workers} worker process{'es' * (workers != 1)}" if workers else "no worker process"
        several = f", {processes} processes" if processes > 1 else ""
        table["A scan"] = f"{duration(watch.seconds_a_scan)} to read, prepare and score ({how}{several})"
        table["Test on"] = f"{device_name(device)}, {in_bytes(peak_bytes(device))} of memory at most"
    if fitted is not None and fitted.is_file():
        table["Fitted file"] = in_bytes(fitted.stat().st_size)
    return table


def device_name(device: torch.device) -> str:
    """The GPU's name, or the processor's with the threads that torch uses."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{_processor()} ({threads} thread{'s' * (threads != 1)})"


def peak_bytes(device: torch.device) -> int:
    """Most memory so far: of the GPU, as torch allocated it, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def duration(seconds: float) -> str:
    """`350 ms`, `4.2 s`, `42 s`, `3 min 20 s`, `5 h 12 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes} min {seconds} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def in_bytes(count: float) -> str:
    """`812 MB`, `3.1 GB`."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()
