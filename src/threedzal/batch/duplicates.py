"""Scans of one and the same part: each is the other's twin, defect and all, and so both look normal."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

NEAR = 0.5  # of the usual distance between scans


def near_duplicates(between: Tensor, own: Sequence[int], *, near: float = NEAR) -> list[tuple[int, int]]:
    """Pairs of scans much more alike than scans of the batch usually are.

    Args:
        between: (B,S) mean patch distance of B scans to each of S, inf to themselves (`search.leave_one_out`).
        own: B numbers, which of the S each of the B is.
        near: a pair is reported where its distance is below this share of the median over the scan's other pairs.

    Returns:
        (a, b) numbers among the S, a < b, sorted. None in a batch of fewer than 4: there is no usual distance.
    """
    if between.shape[1] < 4:
        return []
    pairs = set()
    for row, a in zip(between, own, strict=True):
        finite = row[row.isfinite()]
        if len(finite) < 3:
            continue
        for b in torch.nonzero(row < near * finite.median()).flatten().tolist():
            pairs.add((min(a, b), max(a, b)))
    return sorted(pairs)
