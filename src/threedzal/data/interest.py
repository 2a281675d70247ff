"""The points of interest of the task-irrelevant scans: what pseudo anomalies are made of (section 3.2)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from threedzal.data.attention import RandomAttention, points_of_interest
from threedzal.data.pseudo_anomalies import interest_points
from torch import Tensor

from threedzal.data.scan import Scan


@dataclass
class InterestPool:
    """Task-irrelevant scans and their most attended pixels; `draw` hands out one set of points of interest."""

    scans: list[tuple[Tensor, Tensor, Tensor]]  # xyz (3,H,W), valid (H,W), flat indices of the top pixels (n,)
    mode: Literal["local", "global"] = "local"
    count: int = 50

    @classmethod
    @torch.no_grad()
    def build(
        cls, scans: Iterable[Scan], attention: RandomAttention, *, tau: float = 0.001, mode: str = "local"
    ) -> InterestPool:
        """Run the random CNN over the scans once and keep their top `tau` share of pixels (50 of 50 176 in the paper).

        A scan without a measured point has none of interest and is left out.
        """
        kept = []
        for scan in scans:
            mask = attention(scan.xyz[None], scan.valid[None])[0]
            top = points_of_interest(mask, scan.valid, tau=tau)
            if len(top):
                kept.append((scan.xyz, scan.valid, top))
        return cls(kept, mode=mode, count=max(1, round(tau * mask.numel())) if kept else 0)

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """(count,3) float32 metres: the points of interest of a random scan."""
        xyz, valid, top = self.scans[rng.integers(len(self.scans))]
        return interest_points(xyz, valid, top, count=self.count, mode=self.mode, rng=rng)
