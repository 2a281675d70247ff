"""From the features of all patches, as they come, to the rows of a memory bank, in bounded memory (section 3.3)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from threedzal.distributed import add_up, agree, gather_objects, several_processes
from threedzal.errors import UserError
from threedzal.files import require_room
from threedzal.memory.coreset import Coreset, Progress, choose
from threedzal.memory.distances import full_precision
from threedzal.memory.farthest import PointSet, farthest_first
from threedzal.memory.numbering import Numbering
from threedzal.memory.projection import EPS, draw_projection, project, projection_dim
from threedzal.memory.released import farthest_first_in_half
from threedzal.memory.shared import assembled
from threedzal.memory.store import RowStore

SURPLUS = 2.0  # of a composed coreset: how many times its share each group keeps for the last choice
ADVICE = (
    "free space there, name another folder (memory_bank.scratch), halve it (memory_bank.precision float16), "
    "or keep no more than the coresets of groups (memory_bank.coreset_mode composed)"
)


@dataclass(frozen=True)
class RowOptions:
    """How the bank's rows are chosen, and where all rows are kept until then.

    Args:
        coreset: share of the rows that the bank keeps; above 1, how many.
        mode: `exact`, greedy over all rows; `composed`, greedy over what greedy keeps of each group of rows;
            `released`, from the first row on, and in half precision where rows are so few numbers that they are not
            projected: the choice of BTF's released code (where they are, its projection depends on what ran before).
        group: rows of a group.
        precision: of the rows on their way.
        memory: GiB of rows that a process keeps in memory; when they are more they go to a file.
        scratch: folder of that file.
        seed: draws the projection and the first row.
    """

    coreset: float = 0.1
    mode: Literal["exact", "composed", "released"] = "exact"
    group: int = 25_000
    precision: Literal["float32", "float16"] = "float32"
    memory: float = 1.0
    scratch: str | Path = "."
    seed: int = 0

    def size(self, rows: int) -> int:
        """How many of `rows` rows the bank keeps, at least one."""
        share = self.coreset * rows if self.coreset <= 1 else self.coreset
        return max(1, min(rows, int(share) if self.mode == "released" else round(share)))


@dataclass(frozen=True)
class Chosen:
    """The rows of a bank, and how well they stand for all.

    `rows` (M,D) float32 on the CPU, in the order of choice. No row of all `seen` ones is farther than `radius` from the
    nearest of them, after projection, and whichever M rows were taken, one would be at `least` away at least.
    """

    rows: Tensor
    seen: int
    radius: float
    least: float


class BankRows:
    """Takes this process's features batch by batch and, when all processes have given theirs, chooses among all.

    The choice is that of one process which was given the batches in turn: with `exact`, to the last row.

    Args:
        options: how.
        expected: rows of all processes, about; the same number on each.
        here: share of them that is kept on this machine.
        device: where the products are computed.
    """

    def __init__(self, options: RowOptions, *, expected: int, here: float = 1.0, device: torch.device) -> None:
        self.options, self.expected, self.here, self.device = options, expected, here, device
        self._kept, self._points = self._store(), self._store()
        self._group: list[Tensor] = []
        self._seen, self._radius = 0, 0.0

    def __enter__(self) -> BankRows:
        return self

    def __exit__(self, *_: object) -> None:
        self._kept.close()
        self._points.close()

    def add(self, features: Tensor) -> None:
        """Give the features (n,D) of the next batch.

        Raises:
            UserError: no room for what is expected, or values that are not finite or too large for float16.
        """
        self._seen += len(features)
        if not torch.isfinite(features).all():
            raise UserError("features hold NaN or infinite values, and so would the memory bank: check the scans")
        if self.options.mode != "composed":
            if self._kept.blocks == 0:
                self._require_room(features.shape[1])
            self._kept.append(features)
            return
        self._group.append(features.float().cpu())
        if sum(map(len, self._group)) >= self.options.group:
            self._reduce()

    def choose(self, progress: Progress | None = None) -> Chosen:
        """The bank's rows, the same on every process; all must call it."""
        if self._group:
            self._reduce()
        width = max(gather_objects([self._kept.width]))
        seen = sum(gather_objects([self._seen]))
        numbering = Numbering.dealt([last - first for first, last in pairwise(self._kept.starts)])
        if not seen:
            raise UserError("there is no patch to build a memory bank of: give training scans with an object in them")
        size = min(self.options.size(seen), numbering.total)
        coreset = self._coreset(numbering, width, size, progress)
        places, own = numbering.own(coreset.chosen)
        rows = assembled(self._kept.take(own), places, size, folder=self.options.scratch)
        group = max(gather_objects([self._radius]))
        return Chosen(rows, seen, group + coreset.radius, coreset.radius / 2)

    def _coreset(self, numbering: Numbering, width: int, size: int, progress: Progress | None) -> Coreset:
        """Greedy over the kept rows of all processes."""
        generator = torch.Generator().manual_seed(self.options.seed)
        start = int(torch.randint(numbering.total, (1,), generator=generator))
        if self.options.mode == "composed":
            matrix = self._group_matrix(width)
        else:
            matrix = draw_projection(numbering.total, width, generator=generator)
        if self.options.mode == "released":
            if matrix is None:
                places, own = numbering.own(torch.arange(numbering.total))
                rows = assembled(self._kept.take(own), places, numbering.total, folder=self.options.scratch)
                return farthest_first_in_half(rows.to(self.device), size, progress=progress)
            start = 0
        with torch.no_grad(), full_precision(self.device):
            _, own = numbering.own(torch.tensor([start]))
            held = self._kept.take(own) if len(own) else torch.zeros(1, width)
            origin = (add_up(held) if several_processes() else held)[0].to(self.device)
            agree(lambda: self._project(origin, matrix))
            points = PointSet(
                _Blocks(self._points, self.device),
                numbering,
                width=width if matrix is None else matrix.shape[1],
                device=self.device,
                shared=several_processes(),
            )
            return Coreset(*farthest_first(points, size, start=start, progress=progress))

    def _project(self, origin: Tensor, matrix: Tensor | None) -> None:
        for number in range(self._kept.blocks):
            self._points.append(project(self._kept.block(number).to(self.device), origin, matrix))

    def _reduce(self) -> None:
        """Keep of the group what greedy chooses of it."""
        group = torch.cat(self._group)
        self._group = []
        size = min(len(group), math.ceil(SURPLUS * len(group) * self.options.size(self.expected) / self.expected))
        coreset = choose(group.to(self.device), size, start=0, matrix=self._group_matrix(group.shape[1]))
        self._radius = max(self._radius, coreset.radius)
        self._kept.append(group[coreset.chosen])

    def _group_matrix(self, width: int) -> Tensor | None:
        """One projection for all groups and the last choice, so that their distances can be added."""
        generator = torch.Generator().manual_seed(self.options.seed)
        return draw_projection(self.expected, width, generator=generator)

    def _store(self) -> RowStore:
        return RowStore(
            limit=int(self.options.memory * 2**30),
            folder=self.options.scratch,
            dtype=getattr(torch, self.options.precision),
            advice=ADVICE,
        )

    def _require_room(self, width: int) -> None:
        rows = self.expected * self.here
        numbers = width + min(width, projection_dim(max(2, self.expected), EPS))
        needed = int(rows * numbers * self._kept.dtype.itemsize)
        if needed > self._kept.limit:
            require_room(self.options.scratch, needed, f"{int(rows)} patches of {numbers} numbers", advice=ADVICE)


class _Blocks(Sequence):
    """The blocks of a store on a device: kept there where they fit into half its free memory, else read each time."""

    def __init__(self, store: RowStore, device: torch.device) -> None:
        self.store, self.device = store, device
        room = torch.cuda.mem_get_info(device)[0] / 2 if device.type == "cuda" else 0
        fits = 4 * len(store) * store.width <= room
        self._kept = [store.block(number).to(device) for number in range(len(self))] if fits else None

    def __len__(self) -> int:
        return self.store.blocks

    def __getitem__(self, number: int) -> Tensor:
        return self.store.block(number).to(self.device) if self._kept is None else self._kept[number]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[number] for number in range(len(self)))
