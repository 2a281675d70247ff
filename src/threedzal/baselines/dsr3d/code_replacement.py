"""Anomalies in the space of codes: inside random regions, codes are replaced by others (3DSR, section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from threedzal.baselines.dsr3d.dada_network import DADANetwork

SKIPPED = 0.05  # share of the codes, the nearest ones, that never replace a code: they would change nothing
SHARES = (0.1, 1.0)  # a replacement is drawn from between a tenth of the codes and all of them
SHUFFLED = 0.5  # how often patches of codes change places instead
PATCHES = (1, 2, 4, 8)  # sides of the patches of codes that change places


@dataclass(frozen=True)
class Disturbed:
    """Codes with anomalies, the same codes without, and the truth."""

    lo: Tensor  # (B,D,H/8,W/8)
    hi: Tensor  # (B,D,H/4,W/4)
    normal_lo: Tensor
    normal_hi: Tensor
    mask: Tensor  # (B,1,H,W) float32, 1 where codes were replaced, in whole cells, and the drawing shows it


@torch.no_grad()
def disturb(
    network: DADANetwork,
    image: Tensor,
    mask: Tensor,
    *,
    shares: tuple[float, float] = SHARES,
    shuffled: float = SHUFFLED,
    visible: float = 0.0,
    generator: torch.Generator,
) -> Disturbed:
    """Encode pictures and replace codes inside the mask: of both levels, or of either.

    Args:
        network: In eval mode. image: (B,C,H,W). mask: (B,1,H,W) float32, 0 or 1; all 0 leaves a picture as it is.
        shares: Range of the share of the codes, the nearest ones, that a replacement is drawn from.
        shuffled: How often, of 1, the codes of other places of the scan take the place of such codes.
        visible: Pixels whose drawing changes by less than this, of 1, are left out of the truth.
        generator: On the CPU.
    """
    draw = {"shares": shares, "shuffled": shuffled, "generator": generator}
    quarter, features_lo = network.features_lo(image)
    lo = network.quantizer_lo(features_lo)[0]
    features_hi = network.features_hi(quarter, lo)
    hi = network.quantizer_hi(features_hi)[0]
    lo_replaced = replace_codes(features_lo, lo, network.quantizer_lo.codebook, mask, **draw)
    after = network.features_hi(quarter, lo_replaced)  # `hi` knows `lo`, so that a replaced `lo` shows in it
    hi_after = network.quantizer_hi(after)[0]
    both = replace_codes(after, hi_after, network.quantizer_hi.codebook, mask, **draw)
    hi_replaced = replace_codes(features_hi, hi, network.quantizer_hi.codebook, mask, **draw)
    kind = torch.randint(4, (len(image), 1, 1, 1), generator=generator).to(image.device)  # 0, 1: both; 2: lo; 3: hi
    codes = Disturbed(
        lo=torch.where(kind == 3, lo, lo_replaced),
        hi=torch.where(kind < 2, both, torch.where(kind == 2, hi, hi_replaced)),
        normal_lo=lo,
        normal_hi=hi,
        mask=torch.where(kind == 3, in_cells(mask, hi), in_cells(mask, lo)),
    )
    return replace(codes, mask=codes.mask * (changed(network, codes) >= visible)) if visible else codes


def changed(network: DADANetwork, codes: Disturbed) -> Tensor:
    """(B,1,H,W): how much the drawing of the codes with anomalies differs from the one without, in any channel."""
    with_anomalies, without = network.decode(codes.lo, codes.hi), network.decode(codes.normal_lo, codes.normal_hi)
    return (with_anomalies - without).abs().amax(1, keepdim=True)


def replace_codes(
    features: Tensor,
    quantised: Tensor,
    codebook: Tensor,
    mask: Tensor,
    *,
    shares: tuple[float, float] = SHARES,
    shuffled: float = SHUFFLED,
    generator: torch.Generator,
) -> Tensor:
    """Inside the mask, codes at a random similarity of each scan, or codes of the same scan from other places.

    Args:
        features, quantised: (B,D,h,w), before and after quantisation. codebook: (K,D). mask: (B,1,H,W), 0 or 1.

    Returns:
        (B,D,h,w), equal to `quantised` in all cells that the mask does not touch.
    """
    cells = F.max_pool2d(mask, mask.shape[-1] // quantised.shape[-1]) > 0
    if torch.rand((), generator=generator) < shuffled:
        return torch.where(cells, shuffled_patches(quantised, generator=generator), quantised)
    replaced = quantised.clone()
    for scan, inside, vectors in zip(replaced, cells[:, 0], features, strict=True):
        share = shares[0] + (shares[1] - shares[0]) * float(torch.rand((), generator=generator))
        codes = similar_codes(vectors[:, inside].T, codebook, share=share, generator=generator)
        scan[:, inside] = codebook[codes].T.to(scan)
    return replaced


def similar_codes(vectors: Tensor, codebook: Tensor, *, share: float, generator: torch.Generator) -> Tensor:
    """(N,D) -> (N,) int64: for each vector one of the `share` of the codes that are nearest to it.

    The nearest 5 % are left out: they mean much the same.
    """
    count = len(codebook)
    skipped = int(SKIPPED * count)
    most = max(skipped + 1, min(int(share * count) + 1, count - 1))
    sizes = codebook.square().sum(1)
    distances = torch.addmm(sizes, vectors.float(), codebook.T, alpha=-2)  # [N, K], less what a row has in common
    nearest = distances.topk(most, dim=1, largest=False).indices[:, skipped:]
    chosen = torch.randint(nearest.shape[1], (len(vectors), 1), generator=generator)
    return nearest.gather(1, chosen.to(nearest.device))[:, 0]


def shuffled_patches(quantised: Tensor, *, generator: torch.Generator) -> Tensor:
    """(B,D,h,w) cut into square patches, of a random side that divides h and w; they change places within each scan."""
    height, width = quantised.shape[-2:]
    sizes = [side for side in PATCHES if height % side == width % side == 0 and min(height, width) > side]
    side = sizes[int(torch.randint(len(sizes), (), generator=generator))]
    patches = F.unfold(quantised, side, stride=side)  # [B, D * side**2, patches]
    order = torch.rand(len(patches), 1, patches.shape[2], generator=generator).argsort(2).to(patches.device)
    return F.fold(patches.gather(2, order.expand_as(patches)), (height, width), side, stride=side)


def in_cells(mask: Tensor, codes: Tensor) -> Tensor:
    """(B,1,H,W) grown to whole cells of `codes` (B,D,h,w): what replaced codes change."""
    ratio = mask.shape[-1] // codes.shape[-1]
    return F.interpolate(F.max_pool2d(mask, ratio), scale_factor=ratio)
