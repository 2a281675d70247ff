"""The DataLoaders of a run: how samples are dealt out to processes and gathered to batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils.data import DataLoader, Dataset

from threedzal.data.samplers import EpochSampler, UnpaddedSampler
from threedzal.data.scan import collate_scans


@dataclass(frozen=True)
class Loaders:
    """What the loaders of a process have in common. The defaults are one process that sees everything."""

    batch_size: int
    workers: int
    rank: int = 0
    world_size: int = 1

    def epochs(self, dataset: Dataset, collate: Callable, *, shuffle: bool, seed: int) -> DataLoader:
        """Samples drawn anew in each epoch, equally many for each process. The workers live on from epoch to epoch."""
        sampler = EpochSampler(len(dataset), shuffle=shuffle, seed=seed, rank=self.rank, world_size=self.world_size)
        return self._loader(dataset, sampler, collate, keep_workers=True)

    def once(self, dataset: Dataset, collate: Callable = collate_scans, *, keep_workers: bool = False) -> DataLoader:
        """Each sample once over all processes, batch by batch."""
        sampler = UnpaddedSampler(len(dataset), batch_size=self.batch_size, rank=self.rank, world_size=self.world_size)
        return self._loader(dataset, sampler, collate, keep_workers=keep_workers)

    def _loader(self, dataset: Dataset, sampler, collate: Callable, *, keep_workers: bool) -> DataLoader:
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            sampler=sampler,
            collate_fn=collate,
            num_workers=self.workers,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=keep_workers and self.workers > 0,
        )
