"""Samplers against their definition, for one process and several."""

import pytest
from torch.utils.data import BatchSampler

from threedzal.data.samplers import EpochSampler, UnpaddedSampler


@pytest.mark.parametrize(("length", "processes"), [(7, 1), (7, 2), (3, 4), (8, 4)])
def test_unpadded_each_index_comes_once_over_all_processes(length, processes):
    samplers = [UnpaddedSampler(length, rank=rank, world_size=processes) for rank in range(processes)]
    assert sorted(index for sampler in samplers for index in sampler) == list(range(length))
    # one for none: Lightning skips a loop without a batch, and the other processes would wait
    assert [max(1, len(list(sampler))) for sampler in samplers] == [len(sampler) for sampler in samplers]


@pytest.mark.parametrize("processes", [1, 2, 3, 5])
def test_unpadded_batches_are_those_of_one_process(processes):
    everyone = []
    for rank in range(processes):
        sampler = UnpaddedSampler(11, batch_size=4, rank=rank, world_size=processes)
        everyone += BatchSampler(sampler, batch_size=4, drop_last=False)
    assert sorted(everyone) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]


def test_no_scan_at_all_is_no_batch():
    assert len(UnpaddedSampler(0)) == 0


@pytest.mark.parametrize(("length", "processes"), [(7, 1), (7, 2), (3, 4), (8, 4)])
def test_epochs_have_equally_many_steps_everywhere_and_miss_nothing(length, processes):
    samplers = [EpochSampler(length, shuffle=True, rank=rank, world_size=processes) for rank in range(processes)]
    drawn = [list(sampler) for sampler in samplers]
    assert len({len(items) for items in drawn}) == 1 and len(drawn[0]) == len(samplers[0])
    assert {index for items in drawn for _, index in items} == set(range(length))


def test_an_epoch_is_a_function_of_seed_and_number():
    first, again, other = (EpochSampler(50, shuffle=True, seed=seed) for seed in (1, 1, 2))
    for sampler in (first, again, other):
        sampler.set_epoch(3)
    assert list(first) == list(again) != list(other)
    assert {epoch for epoch, _ in first} == {3}
    first.set_epoch(4)
    assert [index for _, index in first] != [index for _, index in again]
