"""For each patch the nearest patch of every other scan: exact, in blocked matrix products.

Rows of a batch stand scan by scan: scan s has the rows `starts[s]` to `starts[s + 1]`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from threedzal.memory.distances import full_precision, partial_squared_distances

REFERENCE_BLOCK = 8192  # rows of the reference a matrix product, whole scans
QUERY_BLOCK = 2048
PAIRS_BYTES = 2**30  # of distances of all patches to all scans, up to which each product serves both its sides


class ScanIndex:
    """Reference rows, by scan.

    Args:
        features: (M,D) float32, possibly memory-mapped: read in blocks, and kept whole only on a GPU.
        starts: S+1 row numbers, ascending, from 0 to M. A scan may be without rows.
        keep: (M,) bool, rows that serve as reference; None: all.
        device: where the products are computed.
    """

    def __init__(
        self,
        features: Tensor,
        starts: Sequence[int],
        *,
        keep: Tensor | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.starts, self.device = list(starts), torch.device(device)
        self._features = features if self.device.type == "cpu" else features.to(self.device)
        total = sum((rows.sum(0, dtype=torch.float64) for rows in features.split(REFERENCE_BLOCK)), start=0.0)
        # L2 does not mind the shift, and the products round less
        self.origin = (total / max(1, len(features))).float().to(self.device)
        parts = [(part - self.origin).square().sum(1) for part in self._features.split(REFERENCE_BLOCK)]
        self._norms = torch.cat(parts) if parts else torch.zeros(0, device=self.device)
        self.partial = keep is not None
        if keep is not None:
            self._norms = self._norms.masked_fill(~keep.to(self.device), torch.inf)  # farther than anything

    @property
    def scans(self) -> int:
        return len(self.starts) - 1

    @property
    def rows(self) -> Tensor:
        """(M,D), as they were given."""
        return self._features

    def nearest(self, queries: Tensor) -> Tensor:
        """L2 distances (Q,S) float32 of queries (Q,D) to the nearest row of each scan; inf where a scan has none.

        Differences of matrix products: a distance below about 0.1 % of the rows' spread is lost in rounding, so that
        equal rows are at 0 to that precision.
        """
        best = torch.full((len(queries), self.scans), torch.inf, device=self.device)
        with full_precision(self.device):
            for first, last in _blocks(self.starts, REFERENCE_BLOCK):
                for at in range(0, len(queries), QUERY_BLOCK):
                    part = queries[at : at + QUERY_BLOCK].to(self.device) - self.origin
                    squared = self._squared(part, part.square().sum(1), first, last)
                    self._fill(best[at : at + QUERY_BLOCK], squared, first, last)
        return best.clamp_(min=0).sqrt_()

    def among_themselves(self) -> Tensor:
        """`nearest` of the index's own rows, (M,S), at half the price: each product is read by rows and by columns."""
        if self.partial:
            return self.nearest(self._features)
        best = torch.full((len(self._features), self.scans), torch.inf, device=self.device)
        blocks = list(_blocks(self.starts, QUERY_BLOCK))
        with full_precision(self.device):
            for number, (first, last) in enumerate(blocks):
                rows = slice(self.starts[first], self.starts[last])
                part = self._features[rows] - self.origin
                for then, end in blocks[number:]:
                    squared = self._squared(part, self._norms[rows], then, end)
                    self._fill(best[rows], squared, then, end)
                    if then > first:
                        self._fill(best[self.starts[then] : self.starts[end]], squared.T, first, last)
        return best.clamp_(min=0).sqrt_()

    def _squared(self, part: Tensor, norms: Tensor, first: int, last: int) -> Tensor:
        """(q,m) squared distances of centred queries to the rows of the scans from `first` up to `last`."""
        rows = slice(self.starts[first], self.starts[last])
        squared = partial_squared_distances(part, self._features[rows] - self.origin, self._norms[rows])
        return squared.add_(norms[:, None])

    def _fill(self, best: Tensor, squared: Tensor, first: int, last: int) -> None:
        """Columns `first` up to `last` of best (q,S), from squared distances (q,m) to the rows of those scans."""
        for scan in range(first, last):
            a, b = (self.starts[s] - self.starts[first] for s in (scan, scan + 1))
            if b > a:
                best[:, scan] = squared[:, a:b].amin(1)


def leave_one_out(
    index: ScanIndex, queries: Tensor | None, starts: Sequence[int], own: Sequence[int], *, neighbours: int | float = 1
) -> tuple[Tensor, Tensor]:
    """How far each patch is from those of other scans, its own excluded.

    Args:
        queries: (Q,D) rows of B scans, scan i from `starts[i]` to `starts[i + 1]`; None: the index's own.
        own: B numbers, which scan of the index each of them is.
        neighbours: as `aggregate`.

    Returns:
        (Q,) float32, `aggregate` over the other scans; inf where there is no other scan.
        (B,S) float32, the mean distance of a scan's patches to each scan of the index; inf to its own.
    """
    everything = None
    if queries is None:
        queries = index.rows
        if 4 * len(queries) * index.scans <= PAIRS_BYTES:
            everything = index.among_themselves()
    values = torch.full((len(queries),), torch.inf)
    between = torch.full((len(own), index.scans), torch.inf)
    for first, last in _blocks(starts, QUERY_BLOCK):
        low, high = starts[first], starts[last]
        distances = index.nearest(queries[low:high]) if everything is None else everything[low:high]
        for i in range(first, last):
            one = distances[starts[i] - low : starts[i + 1] - low]
            one[:, own[i]] = torch.inf
            if len(one):
                between[i] = one.mean(0).cpu()
        values[low:high] = aggregate(distances, neighbours=neighbours).cpu()
    return values, between


def aggregate(distances: Tensor, *, neighbours: int | float) -> Tensor:
    """(Q,S) distances to the nearest row of each scan -> (Q,) the mean of the lowest of them; inf counts for nothing.

    Args:
        neighbours: how many of the lowest, or which share of the finite ones (a float below 1; at least one).
    """
    present = distances.isfinite()
    others = present.sum(1)
    if isinstance(neighbours, int):
        wanted, most = others.clamp(max=neighbours), min(neighbours, distances.shape[1])
    else:
        wanted = (others * neighbours).round().long().clamp(min=1).minimum(others)
        most = int(wanted.max()) if len(wanted) else 0
    if most <= 1:
        return distances.amin(1) if distances.shape[1] else distances.new_full((len(distances),), torch.inf)
    lowest = distances.topk(most, dim=1, largest=False).values
    counted = torch.arange(most, device=distances.device) < wanted[:, None]
    mean = lowest.where(counted, 0.0).sum(1) / wanted.clamp(min=1)
    return mean.where(wanted > 0, torch.inf)


def _blocks(starts: Sequence[int], rows: int) -> Iterator[tuple[int, int]]:
    """Runs of whole scans (first, one past the last) of about `rows` rows each, at least one scan."""
    first = 0
    for scan, (_, end) in enumerate(pairwise(starts)):
        if end - starts[first] >= rows or scan == len(starts) - 2:
            yield first, scan + 1
            first = scan + 1
