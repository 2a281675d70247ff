"""What all scans of an object have in common is taken out of its picture, so that a defect has a larger share of it:
the tilt of its depth, the mean of its colour, and the little contrast and hue that many a material has."""

from __future__ import annotations

import torch
from torch import Tensor

CONTRAST = 0.18  # standard deviation of a levelled colour, of its range of 1; hardly anything of it is cut off
LEAST = 0.02  # of the colour as it was: nothing but noise is made no stronger than this allows
HUE = 2.0  # what a channel's distance from the mean of three is multiplied by


def level_depth(depth: Tensor, measured: Tensor) -> Tensor:
    """Depth (B,H,W), in any unit, less the plane that fits its measured pixels (B,H,W) best; 0 where not measured."""
    rows, columns = (torch.linspace(-1, 1, length, device=depth.device) for length in depth.shape[-2:])
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    plane = torch.stack([x, y, torch.ones_like(x)], dim=-1).flatten(0, 1).double()  # [HW, 3]
    weights = measured.flatten(1).double()
    values = torch.where(measured, depth, torch.zeros_like(depth)).flatten(1).double()
    normal = torch.einsum("bp,pi,pj->bij", weights, plane, plane)
    solution = torch.linalg.pinv(normal, hermitian=True) @ (values @ plane)[..., None]  # few pixels: any such plane
    left = (values - (plane @ solution)[..., 0]) * weights
    return left.view_as(depth).to(depth)


def level_colour(colour: Tensor, object: Tensor) -> Tensor:
    """Colour (B,3,H,W) in [0,1], around 0.5 and of one contrast on each object (B,H,W bool), 0.5 outside; more hue."""
    inside = object[:, None].to(colour)
    count = inside.sum((1, 2, 3), keepdim=True).clamp(min=1)
    apart = (colour - (colour * inside).sum((2, 3), keepdim=True) / count) * inside
    spread = (apart.square().sum((1, 2, 3), keepdim=True) / (3 * count)).sqrt().clamp(min=LEAST)
    levelled = CONTRAST * apart / spread
    light = levelled.mean(1, keepdim=True)
    return (0.5 + light + HUE * (levelled - light)).clamp(0, 1)
