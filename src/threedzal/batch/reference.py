"""A batch of scans judged by itself: given scan by scan, then searched, each scan against all the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from threedzal.batch.approximate import approximate_leave_one_out
from threedzal.batch.duplicates import near_duplicates
from threedzal.batch.fusion import Scale, early, feature_spread, late
from threedzal.batch.options import BatchOptions
from threedzal.batch.rows import Rows, gathered, sampled
from threedzal.batch.search import ScanIndex, leave_one_out
from threedzal.distributed import gather_rows
from threedzal.errors import UserError
from threedzal.memory.store import RowStore

TRIM_SHARE = 0.3  # what is unlike this share of the scans is unlike the batch, whatever its one twin says


@dataclass(frozen=True)
class BatchJudgement:
    """What a batch says of this process's scans, in the order in which they were given.

    `cells` (B,P) float32, 0 on the background and at the noise floor; `branches` the same of each branch, raw L2
    distances; `between` (B,S) how far each scan is from each of the S `references`, 1 is usual, inf to itself.
    """

    keys: list[str]
    cells: Tensor
    branches: dict[str, Tensor]
    between: Tensor
    references: list[str]
    duplicates: list[tuple[str, str]]
    recall: float | None = None


class BatchReference:
    """Leave-one-scan-out nearest patches over the scans that are given.

    Args:
        widths: {branch: numbers}, the parts of a feature in their order.
        options: how.
        device: where the products are computed.
        history: patches of scans seen before, which serve as reference beside those given (streaming). With it, be it
            empty, a scan without any other is let through: all its patches are at 0.

    Example:
        >>> batch = BatchReference({"rgb": 1536, "fpfh": 33})
        >>> for features, cells, key in scans:  # (784,1569), (784,) bool
        ...     batch.add(features, cells, key=key)
        >>> batch.judge().cells.shape
        torch.Size([108, 784])
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        options: BatchOptions | None = None,
        *,
        device: torch.device | str = "cpu",
        history: Rows | None = None,
    ) -> None:
        self.options, self.device = options or BatchOptions(), device
        chosen = self.options.branches
        if unknown := sorted(set(chosen or ()) - set(widths)):
            raise UserError(f"batch_branches names {', '.join(unknown)}, but the method has {', '.join(widths)}")
        self.columns: dict[str, slice] = {}
        self.width = 0
        for name, width in widths.items():
            if chosen is None or name in chosen:
                self.columns[name] = slice(self.width, self.width + width)
            self.width += width
        self.streaming = history is not None
        self.history = history if history is not None else Rows(torch.zeros(0, self.width))
        self._store = RowStore()
        self._cells: list[Tensor] = []
        self._keys: list[str] = []
        self.everyone: Rows | None = None  # all processes' scans, once judged

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, features: Tensor, cells: Tensor, *, key: str) -> None:
        """Give the next scan: (P,D) features of its grid cells, (P,) bool which of them are the object's."""
        if features.ndim != 2 or features.shape[1] != self.width or cells.shape != features.shape[:1]:
            raise ValueError(
                f"BatchReference: got features {tuple(features.shape)} and cells {tuple(cells.shape)}; "
                f"wanted (P, {self.width}) and (P,)."
            )
        self._store.append(features[cells])
        self._cells.append(cells.cpu())
        self._keys.append(key)

    @property
    def own(self) -> Rows:
        """The patches given to this process."""
        rows = self._store.rows()
        return Rows(rows if len(self._keys) else rows.new_zeros(0, self.width), self._store.starts, self._keys)

    @torch.no_grad()
    def judge(self) -> BatchJudgement:
        """Search every scan against all the others; every process of a run takes part.

        Raises:
            UserError: there is only one scan.
        """
        own = self.own
        everyone, mine = gathered(own)
        self.everyone = everyone
        references = Rows.joined(self.history.without(everyone.keys), everyone)
        before = len(references.keys) - len(everyone.keys)  # scans of the history stand first
        if len(references.keys) < 2 and not self.streaming:
            raise UserError(
                f"{', '.join(references.keys) or 'no scan'}: a batch judges itself, each scan by the others, and one "
                "scan alone has none: give at least 2 scans, some 64 if you can, or use reference training"
            )
        search = _Search(references, own, [before + i for i in mine], self.options, self.columns, self.device)
        sample = sampled(references, before)
        branches, scales = search.distances(sample)
        if self.options.trim:
            wide, wide_scales = search.distances(sample, neighbours=TRIM_SHARE)
            worst = gather_rows(self._fused(wide, wide_scales)[:, None])[:, 0]
            keep = torch.ones(len(references), dtype=torch.bool)
            kept = max(1, round((1 - self.options.trim) * len(worst)))
            keep[len(references) - len(worst) :] = worst <= worst.kthvalue(kept).values
            branches, scales = search.distances(sample, keep=keep)
        own_between = search.between
        between = gather_rows(own_between)
        usual = between[between.isfinite()].median() if between.isfinite().any() else torch.tensor(1.0)
        pairs = near_duplicates(between, [before + i for i in range(len(everyone.keys))])
        return BatchJudgement(
            keys=list(self._keys),
            cells=self._on_grid(self._fused(branches, scales)),
            branches={name: self._on_grid(values) for name, values in branches.items()},
            between=own_between / usual,
            references=references.keys,
            duplicates=[(references.keys[a], references.keys[b]) for a, b in pairs],
            recall=search.recall,
        )

    def _fused(self, branches: dict[str, Tensor], scales: dict[str, Scale]) -> Tensor:
        return late(branches, self._store.starts, scales, own=self.options.own_scale)

    def _on_grid(self, values: Tensor) -> Tensor:
        """(n,) of this process's object patches -> (B,P), 0 elsewhere and where there was nothing to compare with."""
        if not self._cells:
            return torch.zeros(0, 0)
        cells = torch.stack(self._cells)
        grid = torch.zeros(cells.shape)
        grid[cells] = values.where(values.isfinite(), 0.0)
        return grid


class _Search:
    """The passes over one set of references; remembers how far the scans are from one another."""

    def __init__(self, references: Rows, queries: Rows, own: list[int], options: BatchOptions, columns, device) -> None:
        self.references, self.queries, self.own = references, queries, own
        self.options, self.device = options, device
        self.alone = own == list(range(len(references.keys)))  # no other process, no history
        self.recall: float | None = None
        self.between = torch.full((len(own), len(references.keys)), torch.inf)
        parts = {name: references.features[:, at] for name, at in columns.items()}
        asked = {name: queries.features[:, at] for name, at in columns.items()}
        if options.fusion == "early":
            spreads = {name: feature_spread(rows) for name, rows in parts.items()}
            parts, asked = {"early": early(parts, spreads)}, {"early": early(asked, spreads)}
        self.parts, self.asked = parts, asked

    def distances(
        self, sample: tuple[Tensor, list[int], list[int]] | None, *, neighbours=None, keep: Tensor | None = None
    ) -> tuple[dict[str, Tensor], dict[str, Scale]]:
        """{branch: (n,) distances of this process's patches} and the branches' scales over all processes."""
        neighbours = self.options.neighbours if neighbours is None else neighbours
        found, scales, between = {}, {}, []
        for name, rows in self.parts.items():
            if self.options.index != "Flat":
                found[name], self.recall = approximate_leave_one_out(
                    rows, self.references.starts, self.asked[name], self.queries.starts, self.own, self.options.index
                )
                scales[name] = Scale.measured(gather_rows(found[name][:, None]))
                continue
            index = ScanIndex(rows, self.references.starts, keep=keep, device=self.device)
            asked = None if self.alone else self.asked[name]
            found[name], apart = leave_one_out(index, asked, self.queries.starts, self.own, neighbours=neighbours)
            measured = gather_rows(found[name][:, None])[:, 0]
            if sample is not None:
                chosen, starts, scans = sample
                earlier, _ = leave_one_out(index, rows[chosen], starts, scans, neighbours=neighbours)
                measured = torch.cat([measured, earlier])
            scales[name] = Scale.measured(measured)
            everyones = gather_rows(apart)
            finite = everyones[everyones.isfinite()]
            between.append(apart / (finite.median() if len(finite) else 1.0))
        if between and keep is None and neighbours == self.options.neighbours:
            self.between = sum(between) / len(between)
        return found, scales
