"""The memory bank: feature rows of normal patches and the search for the nearest of them (eqs. 4 to 7)."""

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from threedzal.errors import UserError
from threedzal.memory.distances import full_precision, partial_squared_distances

SHORTLIST = 8  # rows beyond k that are measured again, so that rounding in the first pass cannot change the k nearest
QUERY_CHUNK = 1024
ROW_CHUNK = 16384
RESCORE_ELEMENTS = 8_000_000  # float32 differences held at a time (32 MB)


class MemoryBank:
    """Rows of features (M, D) float32 with a nearest-neighbour index over them; make one with `MemoryBank.build`.

    `index="Flat"` is exact on every path: FAISS on the CPU, blocked matrix products in torch where FAISS is absent or
    the rows are on a GPU. Either only draws up a shortlist; the distances returned are measured from differences,
    without the cancellation of `|a|^2 - 2ab + |b|^2`, so that a row's distance to itself is 0.

    `coverage`, for reports alone: how many rows it was chosen from, and the coreset's radius; None where unknown.
    """

    def __init__(self, features: Tensor, index: str, engine: Any | None) -> None:
        self.features = features
        self.index = index
        self.coverage: tuple[int, float] | None = None
        self._engine = engine  # a FAISS index over `features - origin`, or None: torch
        self._origin = features.mean(0)  # L2 does not mind the shift, and the first pass rounds less
        self._centred = features - self._origin if engine is None else None

    @classmethod
    def build(
        cls, features: Tensor, index: str = "Flat", *, coverage: tuple[int, float] | None = None
    ) -> "MemoryBank":
        """Index feature rows.

        Args:
            features: (M, D) floating point, finite; kept as float32 on its device.
            index: a FAISS factory string: `Flat` (exact), `HNSW32`, `IVF256,Flat`, `IVF256,PQ32`, ...
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
        if not torch.isfinite(features).all():
            raise UserError("MemoryBank: the features hold NaN or infinite values; check the scans they came from.")
        bank = cls(features, index, _faiss_index(features, index))
        bank.coverage = coverage
        return bank

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

    def to(self, device: torch.device | str) -> "MemoryBank":
        """The same bank with its rows, and for `Flat` its search, on another device."""
        moved = self.features.to(device)
        return self if moved is self.features else MemoryBank.build(moved, self.index, coverage=self.coverage)

    def state_dict(self) -> dict[str, Tensor]:
        """Plain tensors that hold the bank: `features` (M, D) float32; `index`, the factory string's bytes, uint8;
        `coverage` (2,) float64 where it is known."""
        state = {"features": self.features, "index": torch.tensor(list(self.index.encode()), dtype=torch.uint8)}
        if self.coverage is not None:
            state["coverage"] = torch.tensor(self.coverage, dtype=torch.float64)
        return state

    @classmethod
    def from_state_dict(cls, state: dict[str, Tensor]) -> "MemoryBank":
        """The bank that `state_dict` described; its index is built again from the rows."""
        if set(state) - {"coverage"} != {"features", "index"}:
            raise UserError(f"MemoryBank: got a state with {sorted(state)}; wanted features and index.")
        coverage = (int(state["coverage"][0]), float(state["coverage"][1])) if "coverage" in state else None
        return cls.build(state["features"], bytes(state["index"].tolist()).decode(), coverage=coverage)

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
    def load(cls, path: str | Path) -> "MemoryBank":
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
        if self._engine is None:
            rows = _shortlist(queries - self._origin, self._centred, count)
        else:
            rows = torch.from_numpy(self._engine.search((queries - self._origin).numpy(), count)[1])
            short = (rows[:, :k] < 0).any(1)  # -1: an inverted list ran out of rows
            if short.any():
                centred = self.features - self._origin
                rows[short] = _shortlist(queries[short] - self._origin, centred, count)
        return _rescored(queries, self.features, rows, k)


def _faiss_index(features: Tensor, index: str) -> Any | None:
    """A FAISS index over the centred rows, or None where torch answers for it (`Flat` on a GPU or without FAISS)."""
    if index == "Flat" and features.device.type != "cpu":
        return None
    try:
        import faiss
    except ImportError as error:
        if index == "Flat":
            return None
        raise UserError(f"MemoryBank: index {index!r} needs FAISS; install faiss-cpu or use index: Flat.") from error
    if features.device.type != "cpu":
        raise UserError(f"MemoryBank: index {index!r} runs on the CPU; move the features there or use index: Flat.")
    rows = (features - features.mean(0)).numpy()
    try:
        engine = faiss.index_factory(features.shape[1], index)
        engine.train(rows)
        engine.add(rows)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise UserError(
            f"MemoryBank: FAISS cannot build index {index!r} over {len(rows)} rows of {rows.shape[1]} numbers "
            f"({reason}); use index: Flat or another factory string."
        ) from error
    return engine


def _shortlist(queries: Tensor, rows: Tensor, count: int) -> Tensor:
    """Row numbers (Q, count) of the nearest rows by matrix products, in blocks, in no particular order."""
    best: Tensor | None = None
    numbers: Tensor | None = None
    for first in range(0, len(rows), ROW_CHUNK):
        block = rows[first : first + ROW_CHUNK]
        score = partial_squared_distances(queries, block, block.square().sum(1))
        part, at = score.topk(min(count, len(block)), largest=False)
        best = part if best is None else torch.cat([best, part], 1)
        numbers = at + first if numbers is None else torch.cat([numbers, at + first], 1)
        best, keep = best.topk(min(count, best.shape[1]), largest=False)
        numbers = numbers.gather(1, keep)
    return numbers


def _rescored(queries: Tensor, features: Tensor, rows: Tensor, k: int) -> tuple[Tensor, Tensor]:
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
