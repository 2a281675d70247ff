"""The bank's rows: the same in one process and in several, in memory and on disk; what a composed coreset loses."""

import math
import shutil
from collections import namedtuple
from functools import partial

import pytest
import torch

from tests.processes import in_processes
from threedzal.errors import UserError
from threedzal.memory import BankRows, RowOptions, farthest, greedy_coreset

PROCESSES = 3
CASES = {
    "exact": {},
    "a number of rows": {"coreset": 37},
    "on disk": {"memory": 1e-6},
    "float16": {"precision": "float16", "memory": 1e-6},
    "composed": {"mode": "composed", "group": 40},
}
SHARES = {"even": 9, "odd": 7, "fewer than processes": 2}  # batches in all, dealt out in turn


def batch(number, width=900):
    """Features (n,width) of a batch; one holds nothing. Wide enough to be projected."""
    generator = torch.Generator().manual_seed(number)
    return torch.randn(0 if number == 4 else 30 + number, width, generator=generator) + 3.0


def build(numbers, batches, folder, *, expected=300, **options):
    """The bank of some batches, of which this process has those of `numbers`."""
    with BankRows(RowOptions(scratch=folder, **options), expected=expected, device=torch.device("cpu")) as rows:
        for number in numbers:
            rows.add(batches(number))
        return rows.choose()


def build_shares(rank, *, scratch):
    farthest.BLOCK_ROWS = 16
    found = {}
    for share, count in SHARES.items():
        for case, options in CASES.items():
            chosen = build(range(rank, count, PROCESSES), batch, scratch, **options)
            found[share, case] = (chosen.rows.clone(), chosen.seen, chosen.radius, chosen.least)
    return found


def test_several_processes_choose_what_one_chooses(tmp_path, monkeypatch):
    ranks = in_processes(partial(build_shares, scratch=f"{tmp_path}/scratch"), PROCESSES)
    monkeypatch.setattr(farthest, "BLOCK_ROWS", 16)
    for share, count in SHARES.items():
        for case, options in CASES.items():
            rows, *numbers = ranks[0][share, case]
            for other, *others in (rank[share, case] for rank in ranks):
                assert torch.equal(other, rows) and others == numbers
            if case != "composed":  # whose groups are other scans' where there are other processes
                one = build(range(count), batch, tmp_path, **options)
                assert torch.equal(one.rows, rows), (share, case)
                assert [one.seen, one.radius, one.least] == numbers
    assert not list((tmp_path / "scratch").iterdir())  # nothing is left behind


def test_rows_are_those_of_the_greedy_choice_over_all(tmp_path):
    everything = torch.cat([batch(number) for number in range(9)])
    chosen = build(range(9), batch, tmp_path, seed=3)
    assert torch.equal(chosen.rows, everything[greedy_coreset(everything, len(chosen.rows), seed=3)])
    assert len(chosen.rows) == round(0.1 * len(everything)) and chosen.seen == len(everything)


def test_the_disk_changes_nothing_and_is_left_clean(tmp_path):
    in_memory, on_disk = (build(range(9), batch, tmp_path, memory=memory) for memory in (1.0, 1e-6))
    assert torch.equal(in_memory.rows, on_disk.rows)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("group", [20, 90, 10_000])
def test_what_a_composed_coreset_loses_is_within_what_it_says(tmp_path, group):
    def clustered(number):  # 12 numbers are not projected: distances are those of the definition
        generator = torch.Generator().manual_seed(number)
        return torch.randn(120, 12, generator=generator) * torch.rand(120, 1, generator=generator).pow(3) * 10

    everything = torch.cat([clustered(number) for number in range(6)])
    radii = {}
    for mode in ("exact", "composed"):
        chosen = build(range(6), clustered, tmp_path, expected=len(everything), mode=mode, group=group, coreset=0.05)
        covering = torch.cdist(everything, chosen.rows).amin(1).max().item()
        assert len(chosen.rows) == 36 and covering <= chosen.radius * (1 + 1e-5)
        radii[mode] = covering, chosen
    (exact, one), (composed, other) = radii["exact"], radii["composed"]
    assert exact == pytest.approx(one.radius, rel=1e-5)
    # least: no choice of that size does better; the exact choice at most twice as bad (Gonzalez 1985)
    assert other.least <= exact * (1 + 1e-5) and exact <= 2 * one.least * (1 + 1e-5)
    assert composed < 2 * exact


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_features_that_are_no_numbers_are_refused(tmp_path, value):
    with pytest.raises(UserError, match="NaN or infinite"):
        build(range(1), lambda number: torch.full((4, 3), value), tmp_path)


def test_features_beyond_float16_are_refused(tmp_path):
    with pytest.raises(UserError, match="memory_bank.precision float32"):
        build(range(1), lambda number: torch.full((4, 3), 1e5), tmp_path, precision="float16")


def test_no_patch_at_all_is_refused(tmp_path):
    with pytest.raises(UserError, match="no patch"):
        build([], batch, tmp_path)


def test_a_disk_that_is_too_small_is_refused_before_the_work(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(2**40, 2**40, 2**30))
    with pytest.raises(UserError, match=r"has 1 GiB free, but 1000000 patches of \d+ numbers take .*float16"):
        build(range(9), batch, tmp_path, expected=1_000_000)
