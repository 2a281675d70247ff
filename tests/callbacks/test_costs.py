"""Times and sizes as a reader has them, and a fit that was interrupted."""

import pytest
import torch

from threedzal.callbacks.costs import Stopwatch, duration, in_bytes, peak_bytes


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.35, "350 ms"), (4.21, "4.2 s"), (42.4, "42 s"), (200, "3 min 20 s"), (18720, "5 h 12 min")]
)
def test_a_duration_is_in_the_units_of_its_size(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(812e6, "812 MB"), (3.14e9, "3.1 GB")])
def test_a_size_is_in_the_units_of_its_size(count, text):
    assert in_bytes(count) == text


def test_a_resumed_fit_counts_the_seconds_before_its_interruption_and_keeps_its_command():
    watch = Stopwatch()
    watch.fit = {"seconds": 3600.0, "command": "threedzal fit"}
    watch.start_fit(torch.device("cpu"), "threedzal fit --ckpt_path last.ckpt")
    fit = watch.fitted()
    assert 3600 <= fit["seconds"] < 3700
    assert fit["command"] == "threedzal fit"


def test_memory_is_that_of_this_process_in_bytes():
    block = torch.ones(50_000_000 // 4)
    assert 50e6 < peak_bytes(torch.device("cpu")) < 100e9
    assert len(block)


def test_a_scan_s_time_is_of_those_that_were_counted():
    watch = Stopwatch()
    assert watch.seconds_a_scan is None
    watch.start_test()
    watch.count(2)
    first = watch.seconds_a_scan
    watch.count(2)
    assert 0 < watch.seconds_a_scan < first + 1
