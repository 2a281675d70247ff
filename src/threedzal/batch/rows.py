"""Patches of several scans, one scan after another, and whose they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate

import torch
from torch import Tensor

from threedzal.distributed import gather_objects, gather_rows, process_rank

SAMPLE = 1024  # rows of the history that are measured for the scales


@dataclass
class Rows:
    """Patches of several scans: features (N,D) float32, scan s in `starts[s]:starts[s+1]`, its key, and what it is."""

    features: Tensor
    starts: list[int] = field(default_factory=lambda: [0])
    keys: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.features)

    @classmethod
    def joined(cls, first: Rows, then: Rows) -> Rows:
        """The scans of both; no copy where one has none."""
        if not first.keys or not then.keys:
            return then if not first.keys else first
        starts = [*first.starts, *(len(first) + start for start in then.starts[1:])]
        return cls(torch.cat([first.features, then.features]), starts, [*first.keys, *then.keys])

    def without(self, keys: list[str]) -> Rows:
        """The scans that are none of those with these keys (see `identity`)."""
        excluded = {identity(key) for key in keys}
        wanted = [i for i, key in enumerate(self.keys) if identity(key) not in excluded]
        if len(wanted) == len(self.keys):
            return self
        parts = [self.features[self.starts[i] : self.starts[i + 1]] for i in wanted]
        starts = [0, *accumulate(len(part) for part in parts)]
        return Rows(torch.cat(parts) if parts else self.features[:0], starts, [self.keys[i] for i in wanted])


def identity(key: str) -> str:
    """What makes two keys the same scan: the digest after `#` where there is one, else the whole key."""
    return key.rsplit("#", 1)[-1]


def gathered(own: Rows) -> tuple[Rows, list[int]]:
    """All processes' scans, and which of them are this process's."""
    listed = gather_objects([(own.keys, own.starts)])
    features = gather_rows(own.features)
    starts, keys, mine = [0], [], []
    for rank, (part_keys, part_starts) in enumerate(listed):
        if rank == process_rank():
            mine = list(range(len(keys), len(keys) + len(part_keys)))
        starts += [starts[-1] + start for start in part_starts[1:]]
        keys += part_keys
    return Rows(features, starts, keys), mine


def sampled(references: Rows, before: int) -> tuple[Tensor, list[int], list[int]] | None:
    """Every n-th row of the history: their numbers, where each scan's begin, and which scans those are."""
    rows = references.starts[before]
    if not rows:
        return None
    chosen = torch.arange(0, rows, max(1, -(-rows // SAMPLE)))
    counts = torch.bincount(
        torch.bucketize(chosen, torch.tensor(references.starts[1 : before + 1]), right=True), minlength=before
    )
    return chosen, [0, *counts.cumsum(0).tolist()], list(range(before))
