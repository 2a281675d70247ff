"""How a batch judges itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from threedzal.errors import UserError

FEW_SCANS = 64  # below, the learning curve of docs/batch.md is still steep


@dataclass(frozen=True)
class BatchOptions:
    """The knobs of `BatchReference`; the defaults held on the real sample and on the generated classes.

    Args:
        neighbours: Which of the other scans' nearest patches count: their mean over the k nearest scans (an integer; 1
            is the nearest one), or over a share of the scans (a float below 1; 0.3 is MuSc's rule, ICLR 2024).
        fusion: `late` searches each branch apart and adds the scaled distances; `early` searches the concatenation.
        branches: Names of the branches to use; None: all that the method has.
        trim: Share of the patches, those least like the batch as a whole, that serve as reference no longer in a
            second pass. Helps where the same defect stands in several scans; 0: one pass.
        own_scale: Share of a scan's own noise floor and spread in the scale of its distances; the rest is the batch's.
        index: `Flat` is exact; a FAISS factory string is for very large batches, with its recall printed.
    """

    neighbours: int | float = 1
    fusion: Literal["late", "early"] = "late"
    branches: tuple[str, ...] | None = None
    trim: float = 0.0
    own_scale: float = 0.5
    index: str = "Flat"

    def __post_init__(self) -> None:
        k = self.neighbours
        if not (isinstance(k, int) and k >= 1) and not (isinstance(k, float) and 0 < k < 1):
            raise UserError(
                f"batch_neighbours is {k}, but wanted a number of scans (1, 2, ...) or a share of them between 0 and 1"
            )
        if self.fusion not in ("late", "early"):
            raise UserError(f"batch_fusion is {self.fusion!r}, but wanted late or early")
        if not 0 <= self.trim < 1:
            raise UserError(f"batch_trim is {self.trim}, but it is a share of the patches: 0 to below 1")
        if not 0 <= self.own_scale <= 1:
            raise UserError(f"batch_own_scale is {self.own_scale}, but it is a share: 0 to 1")
        if self.index != "Flat" and (k != 1 or self.trim):
            raise UserError(
                f"batch_index {self.index} finds the nearest patch alone: use batch_neighbours 1 and batch_trim 0 with "
                "it, or batch_index Flat"
            )
