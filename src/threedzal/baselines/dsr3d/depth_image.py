"""A scan as the pictures that 3DSR sees: depth in [0,1], and colour beside it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from threedzal.baselines.dsr3d.levelling import level_colour, level_depth
from threedzal.data.scan import IMAGENET_MEAN, IMAGENET_STD, Scan

NEAR, FAR = 0.1, 0.9  # of the nearest and the farthest point of an object; 0 is nothing
FILLINGS = 2


def depth_image(depth: Tensor, measured: Tensor, object: Tensor) -> Tensor:
    """Depth of the object alone, 0.1 at its nearest point and 0.9 at its farthest, small gaps filled.

    Args:
        depth: (B,H,W) in any unit.
        measured: (B,H,W) bool, pixels of the object that have a depth.
        object: (B,H,W) bool, its silhouette.

    Returns:
        (B,1,H,W) float32; 0 outside the object and in gaps too wide to fill.
    """
    near = depth.masked_fill(~measured, torch.inf).amin((1, 2), keepdim=True)
    far = depth.masked_fill(~measured, -torch.inf).amax((1, 2), keepdim=True)
    scaled = NEAR + (FAR - NEAR) * (depth - near) / (far - near).clamp(min=1e-6)
    scaled = torch.where(measured, scaled, torch.zeros_like(depth))[:, None]
    return fill_missing(scaled, (object & ~measured)[:, None])


def fill_missing(depth: Tensor, missing: Tensor, *, times: int = FILLINGS) -> Tensor:
    """Missing pixels become the mean of the known ones of their 3x3 neighbours, `times` over: gaps close from the rim.

    Args:
        depth: (B,1,H,W), above 0 where known. missing: (B,1,H,W) bool, the pixels to fill.
    """
    for _ in range(times):
        known = (depth > 0).to(depth)
        total = F.avg_pool2d(depth * known, 3, stride=1, padding=1, divisor_override=1)
        count = F.avg_pool2d(known, 3, stride=1, padding=1, divisor_override=1)
        depth = torch.where(missing & (depth <= 0), total / count.clamp(min=1), depth)
    return depth


def scan_image(scan: Scan, *, with_colour: bool, levelled: bool = False) -> Tensor:
    """(B,4,H,W) float32 in [0,1], depth first, ImageNet's mean as the colour outside the object; (B,1,H,W) of depth.

    `levelled`: without tilt, mean colour and differences of contrast, mid-grey outside the object.
    """
    depth = level_depth(scan.xyz[:, 2], scan.valid) if levelled else scan.xyz[:, 2]
    depth = depth_image(depth, scan.valid, scan.object)
    if not with_colour:
        return depth
    mean, std = (torch.tensor(v, device=depth.device)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
    colour = scan.rgb * std + mean
    if colour.shape[-1] != depth.shape[-1]:  # data.rgb_size
        colour = F.interpolate(colour, size=depth.shape[-2:], mode="bilinear", antialias=True)
    if levelled:
        colour = level_colour(colour, scan.object)
    return torch.cat([depth, colour], dim=1)
