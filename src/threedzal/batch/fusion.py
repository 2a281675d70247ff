"""Bringing the branches together: distances scaled and added (late), or features scaled and concatenated (early)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

FLOOR = 0.1  # the share of the values taken for noise
BATCH_SHARE = 2 / 3  # of a map that a batch and a fitted file make together
FEWEST = 16  # patches from which a scan has a scale of its own


@dataclass(frozen=True)
class Scale:
    """What a kind of distance is in this batch: its noise floor, and its standard deviation."""

    floor: float = 0.0
    spread: float = 1.0

    @classmethod
    def measured(cls, values: Tensor) -> Scale:
        """The floor is the lowest tenth's upper end: even a patch whose twin stands in another scan is so far from it.

        Most patches of most scans are normal, so that neither number needs a defect-free scan.
        """
        values = values[values.isfinite()].double()
        if not len(values):
            return cls()
        spread = values.std(correction=0).item()
        return cls(values.kthvalue(max(1, round(FLOOR * len(values)))).values.item(), spread if spread > 0 else 1.0)


def excess(values: Tensor, scale: Scale) -> Tensor:
    """`max(0, value - floor) / spread`: a z-score whose zero is the noise floor; inf stays inf.

    With 0 at the floor and on the background alike, the blur of a map draws no step at the object's rim.
    """
    return ((values - scale.floor) / scale.spread).clamp(min=0)


def blend(batch: Tensor, trained: Tensor) -> Tensor:
    """Two `excess` maps of one shape as one, in which the batch, which knows the product, counts twice."""
    return BATCH_SHARE * batch + (1 - BATCH_SHARE) * trained


def scan_excess(values: Tensor, starts: Sequence[int], scale: Scale, *, own: float) -> Tensor:
    """`excess` with a scale for each scan, between the batch's and the scan's own.

    A scan that is unlike the others as a whole (its pose, its light) is not defective everywhere: its own floor and
    spread take that out. Measured alone they would make all scans equally suspicious.

    Args:
        values: (N,), scan s from `starts[s]` to `starts[s + 1]`.
        scale: of the batch. own: share of the scan's own scale, 0 to 1.
    """
    parts = [values[:0]]
    for low, high in pairwise(starts):
        part, blend = values[low:high], scale
        if own and int(part.isfinite().sum()) >= FEWEST:
            mine = Scale.measured(part)
            blend = Scale(
                (1 - own) * scale.floor + own * mine.floor,
                (1 - own) * scale.spread + own * mine.spread,
            )
        parts.append(excess(part, blend))
    return torch.cat(parts)


def late(
    distances: Mapping[str, Tensor], starts: Sequence[int], scales: Mapping[str, Scale], *, own: float = 0.0
) -> Tensor:
    """Sum over the branches of `scan_excess`: (N,) of each branch -> (N,)."""
    return sum(scan_excess(values, starts, scales[name], own=own) for name, values in distances.items())


def early(features: Mapping[str, Tensor], spreads: Mapping[str, float]) -> Tensor:
    """(N,D_b) of each branch -> (N, sum D_b), each branch divided by its spread so that none decides by its units."""
    return torch.cat([rows / spreads[name] for name, rows in features.items()], dim=1)


def feature_spread(rows: Tensor) -> float:
    """Root of the summed variances of (N,D) features: the typical distance of a row from their mean."""
    if not len(rows):
        return 1.0
    spread = rows.double().var(dim=0, correction=0).sum().sqrt().item()
    return spread if spread > 0 else 1.0
