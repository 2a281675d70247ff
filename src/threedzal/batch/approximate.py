"""Very large batches: the nearest patch of any other scan by a FAISS index, and how often it is the true one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from threedzal.batch.search import ScanIndex
from threedzal.errors import UserError

CHECKED = 512  # queries that are also searched exactly
PROBES, DEPTH = 32, 128  # inverted lists looked into, and candidates kept in a graph


def approximate_leave_one_out(
    features: Tensor,
    starts: Sequence[int],
    queries: Tensor,
    query_starts: Sequence[int],
    own: Sequence[int],
    index: str,
) -> tuple[Tensor, float]:
    """As `search.leave_one_out` with one neighbour, with a FAISS index such as `IVF1024,Flat` or `HNSW32`.

    The own scan's rows are left out by a selector in the search itself, so that they cannot crowd the others out.

    Returns:
        (Q,) float32 L2 distances, inf where nothing was found; the recall: how often, among `CHECKED` queries spread
        over the batch, the distance is the exact one (to 0.1 %).
    """
    faiss, engine = _engine(features, index)
    found = torch.full((len(queries),), torch.inf)
    for i, scan in enumerate(own):
        low, high = query_starts[i], query_starts[i + 1]
        if high > low:
            others = faiss.IDSelectorNot(faiss.IDSelectorRange(starts[scan], starts[scan + 1]))
            squared, rows = engine.search(
                queries[low:high].contiguous().numpy(), 1, params=_parameters(faiss, index, others)
            )
            distances = torch.from_numpy(squared[:, 0]).clamp(min=0).sqrt()
            found[low:high] = distances.where(torch.from_numpy(rows[:, 0] >= 0), torch.inf)
    return found, _recall(features, starts, queries, query_starts, own, found)


def _engine(features: Tensor, index: str):
    try:
        import faiss
    except ImportError as error:
        raise UserError(f"batch_index {index!r} needs FAISS; install faiss-cpu or use batch_index: Flat") from error
    if not index.startswith(("IVF", "HNSW")):
        raise UserError(f"batch_index is {index!r}, but wanted Flat, or a FAISS index that begins with IVF or HNSW")
    rows = features.contiguous().numpy()
    try:
        engine = faiss.index_factory(rows.shape[1], index)
        engine.train(rows)
        engine.add(rows)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise UserError(f"batch_index {index!r} cannot be built over {len(rows)} patches ({reason})") from error
    return faiss, engine


def _parameters(faiss, index: str, selector):
    if index.startswith("IVF"):
        return faiss.SearchParametersIVF(sel=selector, nprobe=PROBES)
    return faiss.SearchParametersHNSW(sel=selector, efSearch=DEPTH)


def _recall(features, starts, queries, query_starts, own, found: Tensor) -> float:
    """The share of some queries, spread over all, whose distance is that of the exact search."""
    checked = torch.arange(0, len(queries), max(1, len(queries) // CHECKED))
    if not len(checked):
        return 1.0
    scans = torch.bucketize(checked, torch.tensor(query_starts[1:]), right=True)
    distances = ScanIndex(features, starts).nearest(queries[checked])
    distances[torch.arange(len(checked)), torch.tensor(own)[scans]] = torch.inf
    return (found[checked] <= distances.amin(1) * 1.001 + 1e-6).float().mean().item()
