"""The memory bank: feature rows of normal patches and the search for the nearest of them (eqs. 4 to 7)."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor

from threedzal.errors import UserError
from threedzal.memory import coarse
from threedzal.memory.coarse import CoarseSearch
from threedzal.memory.distances import full_precision
from threedzal.memory.flat import ROW_CHUNK, FlatSearch, rescored
from threedzal.memory.indexes import SHORTLIST, FaissSearch

QUERY_CHUNK = 1024


class MemoryBank:
    """Rows of features (M, D) float32 with a nearest-neighbour index over them; make one with `MemoryBank.build`.

    `index="Flat"` is exact, on any device, and keeps no copy of the rows; any other index is one of FAISS. Either only
    draws up a shortlist; the distances returned are measured from differences, without the cancellation of
    `|a|^2 - 2ab + |b|^2`, so that a row's distance to itself is 0.

    The rows may be memory-mapped: they are then read as they are needed.

    `coverage`, for reports alone: how many rows it was chosen from, and the coreset's radius; None where unknown.
    """

    def __init__(
        self,
        features: Tensor,
        index: str,
        search: FlatSearch | FaissSearch,
        coverage: tuple[int, float] | None = None,
    ) -> None:
        self.features, self.index, self.coverage, self._search = features, index, coverage, search
        self._exact: FlatSearch | None = search if isinstance(search, FlatSearch) else None
        self._coarse: CoarseSearch | None = None  # made when it first pays

    @classmethod
    def build(
        cls,
        features: Tensor,
        index: str = "Flat",
        *,
        recall: float = 0.95,
        depth: int | None = None,
        coverage: tuple[int, float] | None = None,
    ) -> MemoryBank:
        """Index feature rows.

        Args:
            features: (M, D) floating point, finite; kept as float32 on its device.
            index: a FAISS factory string: `Flat` (exact), `HNSW32`, `IVF256,Flat`, `IVF256,PQ32`, ...
            recall: how often the nearest row is to be found; decides how deep an inverted file or a graph is searched.
            depth: that depth, `nprobe` or `efSearch`, where it is known; see `FaissSearch`.
            coverage: see the class.

        Raises:
            UserError: wrong shape, values that are not finite, a string FAISS does not know or cannot train on these
                rows, or an index other than `Flat` where FAISS is not installed.
        """
        if features.ndim != 2 or 0 in features.shape or not features.is_floating_point():
            raise UserError(
                f"MemoryBank: got features of shape {tuple(features.shape)} and {features.dtype}; "
                "wanted a floating-point matrix (rows, numbers) with at least one of each."
            )
        features = features.detach().float().contiguous()
        if not all(torch.isfinite(part).all() for part in features.split(ROW_CHUNK)):
            raise UserError("MemoryBank: the features hold NaN or infinite values; check the scans they came from.")
        exact = index == "Flat"
        search = FlatSearch(features) if exact else FaissSearch(features, index, recall=recall, depth=depth)
        return cls(features, index, search, coverage)

    def __len__(self) -> int:
        return len(self.features)

    def search(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The k nearest rows of every query.

        Args:
            queries: (Q, D) floating point, on any device.
            k: neighbours a query, 1 to `len(bank)`.

        Returns:
            distances (Q, k) float32, true L2, ascending; rows (Q, k) int64, the lower row first among equals.
            Both on the queries' device. An approximate index may miss rows; it never returns fewer than k.

        Raises:
            UserError: k out of range or a width other than the bank's.
        """
        if queries.ndim != 2 or queries.shape[1] != self.features.shape[1]:
            raise UserError(
                f"MemoryBank: got queries of shape {tuple(queries.shape)}; wanted (queries, {self.features.shape[1]}), "
                "features made by the same branches as the bank's."
            )
        if not 1 <= k <= len(self):
            raise UserError(f"MemoryBank: got k = {k} for a bank of {len(self)} rows; wanted 1 to {len(self)}.")
        with torch.no_grad(), full_precision(self.features.device):
            wanted = queries.detach().to(self.features.device, torch.float32)
            found = [self._search_chunk(part, k) for part in wanted.split(QUERY_CHUNK)]
        if not found:
            return queries.new_zeros(0, k, dtype=torch.float32), queries.new_zeros(0, k, dtype=torch.int64)
        distances, rows = (torch.cat(parts).to(queries.device) for parts in zip(*found, strict=True))
        return distances, rows

    def to(self, device: torch.device | str) -> MemoryBank:
        """The same bank on another device; one with an index of FAISS stays on the CPU and answers from there."""
        if isinstance(self._search, FaissSearch):
            return self
        moved = self.features.to(device)
        return self if moved is self.features else MemoryBank.build(moved, self.index, coverage=self.coverage)

    @property
    def depth(self) -> int:
        """`nprobe` of an inverted file or `efSearch` of a graph; 0 where there is neither."""
        return self._search.depth if isinstance(self._search, FaissSearch) else 0

    def __str__(self) -> str:
        """`HNSW32 (efSearch 64, recall@1 0.957)`: the index, and what was measured if it was chosen just now."""
        if not self.depth:
            return self.index
        recall = "" if self._search.recall is None else f", recall@1 {self._search.recall:.3f}"
        return f"{self.index} ({self._search.setting}{recall})"

    def state_dict(self) -> dict[str, Tensor]:
        """Plain tensors that hold the bank: `features` (M, D) float32; `index`, the factory string's bytes, uint8;
        `depth` () int64; `coverage` (2,) float64 where it is known."""
        state = {
            "features": self.features,
            "index": torch.tensor(list(self.index.encode()), dtype=torch.uint8),
            "depth": torch.tensor(self.depth),
        }
        return (
            state if self.coverage is None else {**state, "coverage": torch.tensor(self.coverage, dtype=torch.float64)}
        )

    @classmethod
    def from_state_dict(
        cls, state: dict[str, Tensor], *, index: str | None = None, recall: float | None = None
    ) -> MemoryBank:
        """The bank that `state_dict` described; its index is built again from the rows.

        Args:
            index: in place of the one that it had.
            recall: wanted; its depth is then chosen again.
        """
        if set(state) - {"coverage", "depth"} != {"features", "index"}:
            raise UserError(f"MemoryBank: got a state with {sorted(state)}; wanted features and index.")
        was = bytes(state["index"].tolist()).decode()
        as_it_was = recall is None and index in (None, was)
        return cls.build(
            state["features"],
            index or was,
            recall=0.95 if recall is None else recall,
            depth=int(state.get("depth", 0)) or None if as_it_was else None,
            coverage=(int(state["coverage"][0]), float(state["coverage"][1])) if "coverage" in state else None,
        )

    def save(self, path: str | Path) -> None:
        """Write the bank as a safetensors file: complete under its name, or not there at all."""
        from safetensors.torch import save_file

        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            save_file({name: tensor.cpu().contiguous() for name, tensor in self.state_dict().items()}, partial)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | Path) -> MemoryBank:
        """Read a bank written by `save`; no code in the file is executed.

        Raises:
            UserError: no such file, or not a bank.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        if not Path(path).is_file():
            raise UserError(f"{path}: no such memory bank; give a file written by MemoryBank.save.")
        try:
            state = load_file(path)
        except SafetensorError as error:
            raise UserError(f"{path}: not a safetensors file ({error}); give one from MemoryBank.save.") from error
        return cls.from_state_dict(state)

    def _search_chunk(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        count = min(k + SHORTLIST, len(self))
        if self._search is self._exact and coarse.pays(queries, self.features):
            self._coarse = self._coarse or CoarseSearch(self._exact)
            if self._coarse.proves:
                return self._coarse(queries, k, count)
        rows = self._search(queries, count)
        short = (rows[:, :k] < 0).any(1)  # -1: an inverted list ran out of rows
        if short.any():
            self._exact = self._exact or FlatSearch(self.features)
            rows[short] = self._exact(queries[short], count)
        return rescored(queries, self.features, rows, k)
