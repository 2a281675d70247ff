"""Features of a scan against the same scan: z-scores over its own object cells, and how alone a patch is among them.

What differs from product to product goes, what differs inside one part stays: a classifier that has never seen the
product can judge that.
"""

from __future__ import annotations

import torch
from torch import Tensor

RANKS = (1, 3, 11)  # the nearest, third and eleventh nearest other patch
SIMILARITY_WIDTH = 2 * len(RANKS)
_CLIP = 8.0


def instance_normalise(features: Tensor, cells: Tensor) -> Tensor:
    """Z-score every channel over the scan's own object cells.

    Args:
        features: (B,P,D). cells: (B,P) bool, which count.

    Returns:
        (B,P,D) float32 within +-8; 0 outside `cells`, and everywhere in a scan with fewer than two. A channel that
        hardly varies in a scan is not blown up: 2 % of its mean magnitude is added to its standard deviation.
    """
    inside = cells[..., None].float()
    count = inside.sum(dim=1, keepdim=True)  # [B,1,1]
    features = features.float()
    mean = (features * inside).sum(dim=1, keepdim=True) / count.clamp(min=1)
    offset = (features - mean) * inside
    spread = (offset.square().sum(dim=1, keepdim=True) / (count - 1).clamp(min=1)).sqrt()
    magnitude = (features.abs() * inside).sum(dim=1, keepdim=True) / count.clamp(min=1)
    scores = offset / (spread + 1e-3 + 0.02 * magnitude)
    return torch.where(count > 1, scores, torch.zeros_like(scores)).clamp(-_CLIP, _CLIP)


def self_similarity(features: Tensor, cells: Tensor, *, reach: int) -> Tensor:
    """How far a patch is from the patches of its own scan that are most like it: a thread repeats, damage does not.

    Args:
        features: (B,P,D), normalised. cells: (B,P) bool. reach: cells this near do not count as others, for they
            overlap.

    Returns:
        (B,P,6) float32: root mean square distances to the nearest, third and eleventh nearest other patch, then the
        same z-scored over the scan; 0 outside `cells`.
    """
    batch, patches, width = features.shape
    grid = round(patches**0.5)
    out = features.new_zeros(batch, patches, len(RANKS))
    for i in range(batch):
        at = cells[i].nonzero()[:, 0]  # [n]
        if len(at) < 2:
            continue
        own = features[i, at].float()
        place = torch.stack([at // grid, at % grid], 1)
        near = (place[:, None] - place[None]).abs().amax(dim=2) <= reach
        distances = torch.cdist(own, own).div(width**0.5).masked_fill(near, _CLIP)
        nearest = distances.topk(min(max(RANKS), len(at)), dim=1, largest=False).values
        ranks = torch.tensor(RANKS, device=own.device).clamp(max=len(at)) - 1
        out[i, at] = nearest[:, ranks].clamp(max=_CLIP)
    return torch.cat([out, instance_normalise(out, cells)], 2)
