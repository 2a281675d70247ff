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
    """Each index once over all processes, in order: a bank or a metric must not count a scan twice.

    Whole batches are dealt out in turn, so that a batch holds the same scans whatever the number of processes, and
    what is computed of it is the same to the last bit. A process may get none; its length is 1 all the same, since
    Lightning skips a loop without a batch, and with it the hooks in which the processes meet.
    """

    def __init__(self, length: int, *, batch_size: int = 1, rank: int = 0, world_size: int = 1) -> None:
        self.length, self.batch_size, self.rank, self.num_replicas, self.epoch = length, batch_size, rank, world_size, 0

    def __len__(self) -> int:
        return max(sum(1 for _ in self), min(1, self.length))

    def __iter__(self) -> Iterator[int]:
        for first in range(self.rank * self.batch_size, self.length, self.num_replicas * self.batch_size):
            yield from range(first, min(first + self.batch_size, self.length))
