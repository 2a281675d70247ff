"""The points of interest of the task-irrelevant scans: what pseudo anomalies are made of (section 3.2)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from threedzal.data.anomaly_forms import Donor
from threedzal.data.attention import RandomAttention, points_of_interest
from threedzal.data.pseudo_anomalies import interest_points
from threedzal.data.scan import IMAGENET_MEAN, IMAGENET_STD, Scan


@dataclass
class InterestPool:
    """Task-irrelevant scans and their most attended pixels; `draw` hands out one set of points of interest.

    `masks` holds the random CNN's soft mask (H,W) float16 of every scan looked at, by its record's key.
    """

    scans: list[tuple[Tensor, Tensor, Tensor]]  # xyz (3,H,W), valid (H,W), flat indices of the top pixels (n,)
    mode: Literal["local", "global"] = "local"
    count: int = 50
    pictures: list[np.ndarray] = field(default_factory=list)  # (H,W,3) uint8 of each scan
    masks: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    @torch.no_grad()
    def build(
        cls, scans: Iterable[Scan], attention: RandomAttention, *, tau: float = 0.001, mode: str = "local"
    ) -> InterestPool:
        """Run the random CNN over the scans once and keep their top `tau` share of pixels (50 of 50 176 in the paper).

        A scan without a measured point has none of interest and is left out.
        """
        kept, pictures, masks = [], [], {}
        for scan in scans:
            mask = attention(scan.xyz[None], scan.valid[None])[0]
            masks[scan.record.key] = mask.half()
            top = points_of_interest(mask, scan.valid, tau=tau)
            if len(top):
                kept.append((scan.xyz, scan.valid, top))
                pictures.append(_picture(scan))
        return cls(kept, mode, max(1, round(tau * mask.numel())) if kept else 0, pictures, masks)

    @torch.no_grad()
    def attend(self, scans: Iterable[Scan], attention: RandomAttention) -> None:
        """Add the soft masks of more scans: those that pseudo anomalies will be put into."""
        for scan in scans:
            self.masks[scan.record.key] = attention(scan.xyz[None], scan.valid[None])[0].half()

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """(count,3) float32 metres: the points of interest of a random scan."""
        xyz, valid, top = self.scans[rng.integers(len(self.scans))]
        return interest_points(xyz, valid, top, count=self.count, mode=self.mode, rng=rng)

    def draw_donor(self, rng: np.random.Generator) -> Donor:
        """A random scan, and one of its top pixels: where a pasted piece comes from."""
        index = int(rng.integers(len(self.scans)))
        xyz, valid, top = self.scans[index]
        place = divmod(int(top[rng.integers(len(top))]), xyz.shape[2])
        return Donor(xyz.permute(1, 2, 0).numpy(), self.pictures[index], valid.numpy(), place)


def _picture(scan: Scan) -> np.ndarray:
    """(H,W,3) uint8 at the size of the scan's points, the normalisation undone."""
    mean, std = torch.tensor(IMAGENET_MEAN)[:, None, None], torch.tensor(IMAGENET_STD)[:, None, None]
    picture = (scan.rgb * std + mean).clamp(0, 1)
    picture = F.interpolate(picture[None], size=scan.xyz.shape[1:], mode="bilinear", antialias=True)[0]
    return (255 * picture).round().byte().permute(1, 2, 0).numpy()
