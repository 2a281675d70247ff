"""Approximate search by a FAISS index, as deep as a wanted recall asks for."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from threedzal.errors import UserError
from threedzal.memory.flat import ROW_CHUNK, FlatSearch, column_means, rescored

SHORTLIST = 8  # rows beyond k that are measured again, so that rounding in the first pass cannot change the k nearest
TRAINING_ROWS = 65_536  # that an index is trained on, at least, where there are as many
ROWS_A_LIST = 64  # of them for each inverted list; FAISS asks for 39 at least
ASKED, ASIDE = 512, 0.3  # points that the recall is measured with
PLATEAU = 0.01  # where the wanted recall is out of reach: a depth this near to the best will do


class FaissSearch:
    """Over rows (M,D) float32 on the CPU.

    An inverted file (`IVF`) looks into `nprobe` lists, a graph (`HNSW`) keeps `efSearch` candidates. FAISS's defaults,
    1 and 16, miss many neighbours. Here either is doubled until the nearest row is found as often as `recall` says, for
    `ASKED` points that lie `ASIDE` of the way from one row to any other. (To ask for rows
    themselves would be too easy: nearly all are found in the first list. For real patches see docs/scaling.md.)

    Args:
        index: a FAISS factory string. Rows are padded with zeros to the multiple that `PQ` needs.
        recall: wanted, for the choice of `depth`.
        depth: as chosen before; None: to be chosen now.

    Attributes:
        depth: `nprobe` or `efSearch`; 0 for an index without either.
        recall: reached when it was chosen; None where it was given.

    Raises:
        UserError: FAISS is not there, does not know the string, or cannot train it on so few rows.
    """

    def __init__(self, features: Tensor, index: str, *, recall: float = 0.95, depth: int | None = None) -> None:
        try:
            import faiss
        except ImportError as error:
            raise UserError(
                f"MemoryBank: index {index!r} needs FAISS; install faiss-cpu or use index: Flat."
            ) from error
        if features.device.type != "cpu":
            raise UserError(f"MemoryBank: index {index!r} runs on the CPU; move the features there or use index: Flat.")
        self.features, self.origin = features, column_means(features)
        multiple = re.match(r"(?!.*(?:OPQ|PCA|ITQ|RR)).*PQ(\d+)", index)
        self._padding = -features.shape[1] % int(multiple[1]) if multiple else 0
        try:
            self._engine = self._built(faiss, index)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise UserError(
                f"MemoryBank: FAISS cannot build index {index!r} over {len(features)} rows of {features.shape[1]} "
                f"numbers ({reason}); use index: Flat or another factory string."
            ) from error
        self._space = faiss.ParameterSpace()
        self._knob, self._deepest = _knob(faiss, self._engine)
        self.recall: float | None = None
        if self._knob is None:
            self.depth = 0
        elif depth:
            self.depth = depth
            self._set_depth(depth)
        else:
            self.depth, self.recall = self._chosen_depth(recall)

    @property
    def setting(self) -> str:
        """The depth in FAISS's words, such as `nprobe 32`; empty where there is none."""
        return f"{self._knob} {self.depth}" if self._knob else ""

    def __call__(self, queries: Tensor, count: int) -> Tensor:
        """Row numbers (Q,count) int64 of near rows; -1 where no more were found."""
        return torch.from_numpy(self._engine.search(self._prepared(queries), count)[1])

    def _prepared(self, rows: Tensor) -> np.ndarray:
        return torch.nn.functional.pad(rows - self.origin, (0, self._padding)).numpy()

    def _built(self, faiss: Any, index: str) -> Any:
        engine = faiss.index_factory(self.features.shape[1] + self._padding, index)
        lists = _lists(faiss, engine)
        if lists and len(self.features) < 39 * lists:
            warnings.warn(
                f"index {index!r} has {lists} lists for {len(self.features)} rows; FAISS advises 39 rows a list, "
                f"such as IVF{max(1, len(self.features) // 39)}",
                stacklevel=2,
            )
        if not engine.is_trained:
            wanted = max(TRAINING_ROWS, ROWS_A_LIST * lists)
            engine.train(self._prepared(self.features[_evenly(len(self.features), wanted)]))
        for part in self.features.split(ROW_CHUNK):
            engine.add(self._prepared(part))
        return engine

    def _chosen_depth(self, wanted: float) -> tuple[int, float]:
        """The lowest power of two with the wanted recall, and the recall."""
        if len(self.features) < 2:
            return 1, 1.0
        near = self.features[_evenly(len(self.features), ASKED)]
        others = torch.randint(len(self.features), (len(near),), generator=torch.Generator().manual_seed(0))
        queries = near + ASIDE * (self.features[others] - near)
        count = min(1 + SHORTLIST, len(self.features))
        nearest = rescored(queries, self.features, FlatSearch(self.features)(queries, count), 1)[1]
        reached: dict[int, float] = {}
        depth = 1
        while True:
            self._set_depth(depth)
            reached[depth] = (self(queries, count) == nearest).any(1).float().mean().item()
            if reached[depth] >= wanted or depth >= self._deepest:
                break
            depth = min(2 * depth, self._deepest)
        best = max(reached.values())
        chosen = depth if best >= wanted else min(d for d, recall in reached.items() if recall >= best - PLATEAU)
        self._set_depth(chosen)
        return chosen, reached[chosen]

    def _set_depth(self, depth: int) -> None:
        self._space.set_index_parameter(self._engine, self._knob, depth)


def _lists(faiss: Any, engine: Any) -> int:
    inverted = faiss.try_extract_index_ivf(engine)
    return inverted.nlist if inverted else 0


def _knob(faiss: Any, engine: Any) -> tuple[str | None, int]:
    """The name of what makes the search deeper, and its largest value worth trying."""
    if lists := _lists(faiss, engine):
        return "nprobe", lists
    inner = faiss.downcast_index(engine)
    while isinstance(inner, (faiss.IndexPreTransform, faiss.IndexRefine)):
        inner = faiss.downcast_index(inner.index if isinstance(inner, faiss.IndexPreTransform) else inner.base_index)
    return ("efSearch", 1024) if isinstance(inner, faiss.IndexHNSW) else (None, 0)


def _evenly(rows: int, wanted: int) -> Tensor:
    """At most `wanted` of `rows` row numbers, spread over them."""
    return torch.arange(rows) if rows <= wanted else torch.arange(wanted) * rows // wanted
