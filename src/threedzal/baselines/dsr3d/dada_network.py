"""The depth-aware discrete autoencoder: VQ-VAE-2 in which grouped convolutions keep depth and colour apart."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from threedzal.baselines.dsr3d.layers import ResidualStack, keep_variance
from threedzal.baselines.dsr3d.vector_quantizer import VectorQuantizer


def by_modality(*tensors: Tensor, groups: int) -> Tensor:
    """Concatenate channels so that each group holds its own part of every tensor: (B,C_i,h,w) -> (B,sum C_i,h,w)."""
    parts = [tensor.chunk(groups, dim=1) for tensor in tensors]
    return torch.cat([part[group] for group in range(groups) for part in parts], dim=1)


def without_codes(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What a `VectorQuantizer` returns, the features (B,D,h,w) as they are."""
    return features, features.new_zeros(len(features), *features.shape[2:], dtype=torch.int64), features.new_zeros(())


class Encoder(nn.Module):
    """Pictures (B,C,H,W), depth first, -> features (B,hidden,H/4,W/4); the first half of the channels is depth's."""

    def __init__(self, modalities: tuple[int, ...], hidden: int, *, layers: int, residual: int) -> None:
        super().__init__()
        self.modalities, groups = modalities, len(modalities)
        one = groups == 1
        self.stems = None if one else nn.ModuleList(nn.Conv2d(c, hidden // (2 * groups), 1) for c in modalities)
        self.body = nn.Sequential(
            nn.Conv2d(modalities[0] if one else hidden // 2, hidden // 2, 4, stride=2, padding=1, groups=groups),
            nn.ReLU(),
            nn.Conv2d(hidden // 2, hidden, 4, stride=2, padding=1, groups=groups),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 3, padding=1, groups=groups),
            ResidualStack(hidden, layers=layers, hidden=residual, groups=groups),
        )

    def forward(self, image: Tensor) -> Tensor:
        if self.stems is not None:
            parts = image.split(self.modalities, dim=1)
            image = torch.cat([stem(part) for stem, part in zip(self.stems, parts, strict=True)], dim=1).relu()
        return self.body(image)


class Decoder(nn.Module):
    """Vectors of both levels, (B,2D,h,w) by modality, -> pictures (B,C,4h,4w)."""

    def __init__(self, modalities: tuple[int, ...], hidden: int, width: int, *, layers: int, residual: int) -> None:
        super().__init__()
        groups = len(modalities)
        self.body = nn.Sequential(
            nn.Conv2d(2 * width, hidden, 3, padding=1, groups=groups),
            ResidualStack(hidden, layers=layers, hidden=residual, groups=groups),
            nn.ConvTranspose2d(hidden, hidden // 2, 4, stride=2, padding=1, groups=groups),
            nn.ReLU(),
        )
        last = modalities[0] if groups == 1 else hidden // 4
        self.last = nn.ConvTranspose2d(hidden // 2, last, 4, stride=2, padding=1, groups=groups)
        self.heads = None if groups == 1 else nn.ModuleList(nn.Conv2d(last // groups, c, 1) for c in modalities)

    def forward(self, vectors: Tensor) -> Tensor:
        x = self.last(self.body(vectors))
        if self.heads is None:
            return x
        parts = x.chunk(len(self.heads), dim=1)
        return torch.cat([head(part) for head, part in zip(self.heads, parts, strict=True)], dim=1)


class DADANetwork(nn.Module):
    """Two levels of codes: `lo` at an eighth of the picture's size, and `hi` at a quarter, which knows `lo`.

    Args:
        colour: Depth and colour (4 channels, two groups), or depth alone (1 channel).
        hidden: Channels of encoders and decoder.
        layers: Residual layers of each.
        residual: Channels inside a residual layer.
        codes: Codes of each codebook. A code is of both modalities: they are apart in the networks, not in the book.
        width: Numbers of a code.
        decay: Of the codebooks' moving averages.
    """

    def __init__(
        self,
        *,
        colour: bool = True,
        hidden: int = 256,
        layers: int = 2,
        residual: int = 128,
        codes: int = 2048,
        width: int = 256,
        decay: float = 0.99,
    ) -> None:
        super().__init__()
        modalities = (1, 3) if colour else (1,)
        self.channels, self.groups = sum(modalities), len(modalities)
        groups = self.groups
        self.encoder_hi = Encoder(modalities, hidden, layers=layers, residual=residual)
        self.encoder_lo = nn.Sequential(
            nn.Conv2d(hidden, hidden, 4, stride=2, padding=1, groups=groups),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 3, padding=1, groups=groups),
            nn.ReLU(),
            ResidualStack(hidden, layers=layers, hidden=residual, groups=groups),
        )
        self.to_lo = nn.Conv2d(hidden, width, 1, groups=groups)
        self.to_hi = nn.Conv2d(hidden + width, width, 1, groups=groups)
        self.quantizer_lo = VectorQuantizer(codes, width, decay=decay)
        self.quantizer_hi = VectorQuantizer(codes, width, decay=decay)
        self.upsample = nn.ConvTranspose2d(width, width, 4, stride=2, padding=1, groups=groups)
        self.decoder = Decoder(modalities, hidden, width, layers=layers, residual=residual)
        keep_variance(self)

    def features_lo(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(B,C,H,W) in [0,1] -> the quarter-size features (B,hidden,H/4,W/4) and F_lo (B,D,H/8,W/8)."""
        quarter = self.encoder_hi(image)
        return quarter, self.to_lo(self.encoder_lo(quarter))

    def features_hi(self, quarter: Tensor, lo: Tensor) -> Tensor:
        """F_hi (B,D,H/4,W/4) from the quarter-size features and quantised `lo` (B,D,H/8,W/8)."""
        return self.to_hi(by_modality(quarter, self.upsample(lo), groups=self.groups))

    def decode(self, lo: Tensor, hi: Tensor) -> Tensor:
        """Quantised (B,D,H/8,W/8) and (B,D,H/4,W/4) -> (B,C,H,W), whatever object they are of."""
        return self.decoder(by_modality(self.upsample(lo), hi, groups=self.groups))

    def forward(self, image: Tensor, *, quantise: bool = True) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """(B,C,H,W) in [0,1] -> the same from its codes, the commitment loss (), and the codes (lo, hi).

        Not quantised, it is drawn from the features themselves: the loss is 0, and so are all codes.
        """
        quarter, features = self.features_lo(image)
        lo, codes_lo, loss_lo = self.quantizer_lo(features) if quantise else without_codes(features)
        features = self.features_hi(quarter, lo)
        hi, codes_hi, loss_hi = self.quantizer_hi(features) if quantise else without_codes(features)
        return self.decode(lo, hi), loss_lo + loss_hi, (codes_lo, codes_hi)
