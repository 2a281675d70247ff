"""Which scan goes to which process, and in which order."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import DistributedSampler


class EpochSampler(DistributedSampler):
    """Yields `(epoch, index)`, so that a dataset in a worker knows the epoch and can draw from (seed, epoch, index).

    That makes every patch a function of three numbers: whatever the worker, and resumed or not, an epoch is the same.
    All processes get equally many items (the last ones repeat the first), since they step together.

    A `DistributedSampler` by type, so that Lightning leaves it as it is; it needs no process group.
    """

    def __init__(self, length: int, *, shuffle: bool, seed: int = 0, rank: int = 0, world_size: int = 1) -> None:
        self.length, self.shuffle, self.seed = length, shuffle, seed
        self.rank, self.num_replicas, self.epoch = rank, world_size, 0

    def __len__(self) -> int:
        return -(-self.length // self.num_replicas)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.arange(self.length)
        if self.shuffle:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(self.length)
        order = np.resize(order, len(self) * self.num_replicas)  # repeats from the start
        return ((self.epoch, int(index)) for index in order[self.rank :: self.num_replicas])


class UnpaddedSampler(DistributedSampler):
    """Each index once over all processes, in order: a bank or a metric must not count a scan twice."""

    def __init__(self, length: int, *, rank: int = 0, world_size: int = 1) -> None:
        self.length, self.rank, self.num_replicas, self.epoch = length, rank, world_size, 0

    def __len__(self) -> int:
        return len(range(self.rank, self.length, self.num_replicas))

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.rank, self.length, self.num_replicas))
