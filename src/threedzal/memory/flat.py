"""Exact search for the nearest rows, by matrix products in blocks; no copy of the rows is kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from threedzal.compiled import has_numba
from threedzal.memory.distances import partial_squared_distances

ROW_CHUNK = 1024  # rows centred and compared at a time; they and their products stay in the processor's cache
RESCORE_ELEMENTS = 200_000  # float32 differences held at a time, in the processor's cache


class FlatSearch:
    """Over rows (M,D) float32 on any device, possibly memory-mapped: they are read block by block."""

    def __init__(self, features: Tensor) -> None:
        self.features = features
        self.origin = column_means(features)  # L2 does not mind the shift, and the products round less
        self._norms = torch.cat([(part - self.origin).square().sum(1) for part in features.split(ROW_CHUNK)])

    def __call__(self, queries: Tensor, count: int) -> Tensor:
        """Row numbers (Q,count) int64 of the nearest rows to the precision of float32 products, in no order."""
        return smallest_of_blocks(self._distances(queries - self.origin), count)[1]

    def shifted_blocks(self, queries: int) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Of each block which rows they are, their difference (n,D) to the origin, and room (queries,n) for products.

        Both are written over by the next: pages that are given back and asked for again cost as much as the sums.
        """
        most = min(ROW_CHUNK, len(self.features))
        differences, room = self.origin.new_empty(most, len(self.origin)), self.origin.new_empty(queries * most)
        for first in range(0, len(self.features), ROW_CHUNK):
            rows = self.features[first : first + ROW_CHUNK]
            n = len(rows)
            shifted = torch.sub(rows, self.origin, out=differences[:n])
            yield slice(first, first + n), shifted, room[: queries * n].view(queries, n)

    def _distances(self, queries: Tensor) -> Iterator[Tensor]:
        for part, rows, out in self.shifted_blocks(len(queries)):
            yield partial_squared_distances(queries, rows, self._norms[part], out=out)


def smallest_of_blocks(blocks: Iterable[Tensor], count: int) -> tuple[Tensor, Tensor]:
    """The `count` smallest values of each line (Q,count) and their columns, int64, in no order; blocks are (Q,n)."""
    best, columns, first = torch.empty(0), torch.empty(0, dtype=torch.int64), 0
    for block in blocks:
        if first >= count and block.device.type == "cpu" and has_numba():
            from threedzal.memory.flat_loops import keep_smallest

            keep_smallest(block.numpy(), first, best.numpy(), columns.numpy())
        else:
            values, at = block.topk(min(count, block.shape[1]), largest=False)
            if first:
                values, at = torch.cat([best, values], 1), torch.cat([columns, at + first], 1)
            best, keep = values.topk(min(count, values.shape[1]), largest=False)
            columns = at.gather(1, keep)
        first += block.shape[1]
    return best, columns


def column_means(features: Tensor) -> Tensor:
    """(D,) float32, the mean of rows (M,D), in blocks: no more memory than a block takes."""
    total = sum(part.double().sum(0) for part in features.split(ROW_CHUNK))
    return (total / len(features)).float()


def rescored(queries: Tensor, features: Tensor, rows: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Distances of the shortlist from differences, sorted, the k nearest kept: (Q, k) float32, (Q, k) int64."""
    rows = rows.sort(1).values  # so that the stable sort below puts the lower row first
    step = max(1, RESCORE_ELEMENTS // (rows.shape[1] * features.shape[1]))
    distances = torch.cat(
        [
            torch.linalg.vector_norm(features[near.clamp(min=0)] - part[:, None], dim=-1)
            for part, near in zip(queries.split(step), rows.split(step), strict=True)
        ]
    )
    distances = distances.masked_fill(rows < 0, torch.inf)
    order = distances.sort(dim=1, stable=True).indices[:, :k]
    return distances.gather(1, order), rows.gather(1, order)
