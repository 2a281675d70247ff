"""Which rows of all a process holds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

import torch
from torch import Tensor

from threedzal.distributed import gather_objects, process_rank


class Numbering:
    """The rows of a process's blocks, each block a run of consecutive numbers among the rows of all processes.

    Args:
        lengths: rows of each block; may be 0.
        firsts: number of each block's first row, ascending.
        total: rows of all processes.
    """

    def __init__(self, lengths: Sequence[int], firsts: Sequence[int], total: int) -> None:
        self.lengths = torch.tensor(lengths, dtype=torch.int64)
        self.firsts = torch.tensor(firsts, dtype=torch.int64)
        self.starts = torch.tensor([0, *lengths]).cumsum(0)  # in the process's own count
        self.total = total

    def __len__(self) -> int:
        return int(self.starts[-1])

    @classmethod
    def alone(cls, lengths: Sequence[int]) -> Numbering:
        """One process holds all."""
        starts = torch.tensor([0, *lengths]).cumsum(0).tolist()
        return cls(lengths, starts[:-1], starts[-1])

    @classmethod
    def dealt(cls, lengths: Sequence[int]) -> Numbering:
        """Blocks dealt out to the processes in turn, numbered as one process would; all must call it."""
        firsts: list[int] = []
        total = 0
        for turn in zip_longest(*gather_objects([list(lengths)]), fillvalue=0):
            if len(firsts) < len(lengths):
                firsts.append(total + sum(turn[: process_rank()]))
            total += sum(turn)
        return cls(lengths, firsts, total)

    def find(self, numbers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of each number (n,) int64: the block, the place in it, and whether this process holds it at all."""
        if not len(self.firsts):
            return torch.zeros_like(numbers), torch.zeros_like(numbers), torch.zeros_like(numbers, dtype=torch.bool)
        block = (torch.searchsorted(self.firsts, numbers, right=True) - 1).clamp(min=0)
        at = numbers - self.firsts[block]
        return block, at, (at >= 0) & (at < self.lengths[block])

    def own(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Which of the numbers (n,) are this process's, (m,) places in `numbers`, and which of its rows they are."""
        block, at, held = self.find(numbers)
        return held.nonzero()[:, 0], (self.starts[block] + at)[held]

    def of(self, rows: Tensor) -> Tensor:
        """The numbers of some of this process's rows (n,) int64."""
        block = torch.searchsorted(self.starts, rows, right=True) - 1  # the last that starts there: no empty one
        return self.firsts[block] + rows - self.starts[block]
