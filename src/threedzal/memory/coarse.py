"""Exact search by products in bfloat16, where the processor multiplies them several times as fast: bounds, then proof.

Rounded to bfloat16, a query q = q' + e and a row r = r' + f have the product q'r', which is off by eq + q'f at most
|e||r| + |q'||f|. With two columns more, (|e|, |q'|) and (|r|, |f|), the product itself is an upper bound of qr, and
|r|^2 - 2qr is bounded from below. The rows with the smallest bounds are measured exactly. If the k-th of these is
nearer than the bounds of all the others, no other can be nearer; if not, the query is searched in float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from threedzal.compiled import has_numba
from threedzal.memory import flat
from threedzal.memory.flat import FlatSearch, rescored, smallest_of_blocks

FEWEST_QUERIES, FEWEST_ROWS = 64, 1024  # below, rounding the rows takes longer than it saves
ROUNDED_UP = 1 + 2**-7  # so that a number is not smaller once it is bfloat16
FLOAT32 = 1e-5  # relative, more than what squares and norms in float32 are off by
MARGIN = 1e-4  # relative, more than what a squared distance measured in float32 is off by


def has_fast_bfloat16(device: torch.device) -> bool:
    """A CPU with AMX, and a torch that uses it."""
    amx = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    return device.type == "cpu" and torch.backends.mkldnn.is_available() and amx()


def pays(queries: Tensor, features: Tensor) -> bool:
    """Whether bfloat16 is worth it."""
    return len(queries) >= FEWEST_QUERIES and len(features) >= FEWEST_ROWS and has_fast_bfloat16(features.device)


class CoarseSearch:
    """As `FlatSearch`, which it asks where it proves nothing; of the rows it keeps three numbers each.

    Attributes:
        proves: more than half of the last queries; rows that lie closer together than bfloat16 can tell are better
            searched in float32 at once.
    """

    def __init__(self, exact: FlatSearch) -> None:
        self.exact, self.proves = exact, True
        self._norms, self._columns = self._measured()

    def __call__(self, queries: Tensor, k: int, count: int) -> tuple[Tensor, Tensor]:
        """The k nearest rows of queries (Q,D) float32, of a shortlist of `count`: see `rescored`."""
        features = self.exact.features
        rows, beyond = self.shortlist(queries, count)
        distances, found = rescored(queries, features, rows, k)
        proved = distances[:, -1].double().square() * (1 + MARGIN) <= beyond
        self.proves = bool(proved.float().mean() > 0.5)
        if not proved.all():
            left = queries[~proved]
            distances[~proved], found[~proved] = rescored(left, features, self.exact(left, count), k)
        return distances, found

    def shortlist(self, queries: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Row numbers (Q,count) int64, and a lower bound (Q,) float64 of the squared distances to all other rows."""
        queries = queries - self.exact.origin
        rounded = queries.bfloat16().float()
        errors = torch.stack([(queries - rounded).norm(dim=1), rounded.norm(dim=1)], 1)
        rounded = torch.cat([rounded, _rounded_up(errors)], 1)
        with _bfloat16_products():
            bounds, numbers = smallest_of_blocks(self._bounds(rounded), count)
        return numbers, bounds.amax(1).double() + queries.double().square().sum(1) * (1 - FLOAT32)

    def _bounds(self, queries: Tensor) -> Iterator[Tensor]:
        """Blocks (Q,n), each good until the next: lower bounds of |r|^2 - 2qr."""
        features, origin = self.exact.features, self.exact.origin
        most = min(flat.ROW_CHUNK, len(features))  # memory asked for once, as in `FlatSearch.shifted_blocks`
        rows, room = queries.new_empty(most, queries.shape[1]), queries.new_empty(len(queries) * most)
        for first in range(0, len(features), most):
            part = slice(first, min(first + most, len(features)))
            n = part.stop - first
            _round_shifted(features[part], origin, out=rows[:n])
            rows[:n, -2:] = self._columns[part]
            out = room[: len(queries) * n].view(len(queries), n)
            yield torch.addmm(self._norms[part], queries, rows[:n].T, alpha=-2.0, out=out)

    def _measured(self) -> tuple[Tensor, Tensor]:
        """|r|^2 (M,), a little less, and (|r|, |f|) (M,2), a little more: for what float32 sums lose, too."""
        norms, columns = [], []
        sums = (self.exact.features.shape[1] + 8) * 2.0**-23
        for part in self.exact.features.split(flat.ROW_CHUNK):
            part = part - self.exact.origin
            length, error = part.norm(dim=1), (part - part.bfloat16().float()).norm(dim=1)
            norms.append(part.square().sum(1) * (1 - FLOAT32))
            columns.append(_rounded_up(torch.stack([length, error + sums * length], 1)))
        return torch.cat(norms), torch.cat(columns)


def _round_shifted(rows: Tensor, origin: Tensor, *, out: Tensor) -> None:
    """Into the first D columns of `out` the differences of rows (n,D) to the origin, as bfloat16 holds them."""
    if has_numba():
        from threedzal.memory.flat_loops import round_shifted

        round_shifted(rows.numpy(), origin.numpy(), out.numpy(), out.view(torch.int32).numpy())
    else:
        out[:, : len(origin)] = (rows - origin).bfloat16()


def _rounded_up(numbers: Tensor) -> Tensor:
    """Float32 numbers that bfloat16 holds, none smaller than what was given (from 0 on)."""
    return (numbers * ROUNDED_UP).bfloat16().float()


@contextmanager
def _bfloat16_products() -> Iterator[None]:
    """Float32 products may round what goes into them to bfloat16 (here nothing is lost), and are summed in float32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
