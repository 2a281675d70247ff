"""What the detector learns: to restore codes to those of good objects, to draw the object, and to compare drawings."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from threedzal.baselines.dsr3d.layers import ResidualStack, conv_block, upsample_block
from threedzal.baselines.dsr3d.vector_quantizer import VectorQuantizer


class SubspaceRestriction(nn.Module):
    """Brings codes (B,D,h,w) back to those of good objects: an hourglass without shortcuts, then the codebook."""

    def __init__(self, width: int) -> None:
        super().__init__()
        base = width // 2
        self.network = nn.Sequential(
            conv_block(width, base, base),
            nn.MaxPool2d(2),
            conv_block(base, 2 * base, 2 * base),
            nn.MaxPool2d(2),
            conv_block(2 * base, 4 * base, 4 * base),
            upsample_block(4 * base, 2 * base),
            conv_block(2 * base, 2 * base, 2 * base),
            upsample_block(2 * base, base),
            conv_block(base, base, base),
            nn.Conv2d(base, width, 3, padding=1),
        )

    def forward(self, vectors: Tensor, quantizer: VectorQuantizer) -> tuple[Tensor, Tensor]:
        """The restored vectors before and after quantisation, both (B,D,h,w)."""
        restored = self.network(vectors)
        return restored, quantizer(restored)[0]


class ObjectDecoder(nn.Module):
    """Vectors of both levels (B,2D,h,w) -> pictures (B,C,4h,4w) of this object alone: it draws no anomaly."""

    def __init__(
        self, vectors: int, hidden: int, channels: int, *, layers: int, residual: int, bottleneck: int = 64
    ) -> None:
        super().__init__()
        self.network = nn.Sequential(
            conv_block(vectors, vectors, 2 * vectors),
            nn.MaxPool2d(2),
            conv_block(2 * vectors, 2 * vectors, 4 * vectors),
            nn.MaxPool2d(2),
            nn.Conv2d(4 * vectors, bottleneck, 1),
            nn.ConvTranspose2d(bottleneck, bottleneck, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(bottleneck, bottleneck, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(bottleneck, hidden, 3, padding=1),
            ResidualStack(hidden, layers=layers, hidden=residual),
            nn.ConvTranspose2d(hidden, hidden // 2, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(hidden // 2, channels, 4, stride=2, padding=1),
        )

    def forward(self, vectors: Tensor) -> Tensor:
        return self.network(vectors)


class SegmentationUNet(nn.Module):
    """Two drawings of a scan, (B,2C,H,W), -> logits (B,2,H,W) of normal and anomalous."""

    def __init__(self, channels: int, base: int = 32) -> None:
        super().__init__()
        widths = (base, 2 * base, 4 * base, 4 * base)
        self.down = nn.ModuleList(
            conv_block(before, after, after) for before, after in zip((channels, *widths), widths, strict=False)
        )
        self.up = nn.ModuleList(
            upsample_block(below, here) for below, here in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.join = nn.ModuleList(conv_block(2 * here, here, here) for here in widths[-2::-1])
        self.last = nn.Conv2d(base, 2, 3, padding=1)

    def forward(self, drawings: Tensor) -> Tensor:
        x, levels = drawings, []
        for i, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if i else x)
            levels.append(x)
        for up, join, level in zip(self.up, self.join, levels[-2::-1], strict=True):
            x = join(torch.cat([up(x), level], dim=1))
        return self.last(x)


def focal_loss(logits: Tensor, target: Tensor, *, gamma: float = 2.0) -> Tensor:
    """Mean of -(1 - p)^gamma log p, with p the probability of the true class (Lin et al., ICCV 2017).

    Args:
        logits: (B,2,H,W). target: (B,1,H,W), 1 where the second class is true.
    """
    logs = logits.float().log_softmax(1).gather(1, target.long())
    return -((1 - logs.exp()) ** gamma * logs).mean()
