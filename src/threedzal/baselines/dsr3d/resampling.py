"""The pictures of a scan seen anew: turned, or closer, so that a small object's defects get more pixels.

Depth is taken from the nearest pixel, never mixed: between an object and nothing there is no depth.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

MARGIN = 1.08  # side of the frame, of the object's longer side


def turned(image: Tensor, inside: Tensor, *, most: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pictures (B,C,H,W), depth first, and pixels (B,1,H,W), turned by up to `most` degrees to either side."""
    angles = (2 * torch.rand(len(image), generator=generator) - 1) * math.radians(most)
    zero = torch.zeros_like(angles)
    turn = torch.stack([angles.cos(), -angles.sin(), zero, angles.sin(), angles.cos(), zero], dim=1).view(-1, 2, 3)
    return _seen_through(F.affine_grid(turn.to(image), list(image.shape), align_corners=False), image, inside)


def object_frames(object: Tensor) -> Tensor:
    """The square about each object (B,H,W) bool, H = W: (B,3) float32, its middle's x and y and half its side, of a
    picture that reaches from -1 to 1; the whole picture where there is no object."""
    size = object.shape[-1]
    frames = []
    for silhouette in object:
        rows, columns = silhouette.nonzero(as_tuple=True)
        if not len(rows):
            frames.append(torch.tensor([0.0, 0.0, 1.0]))
            continue
        (top, bottom), (left, right) = ((i.min().item(), i.max().item() + 1) for i in (rows, columns))
        side = MARGIN * max(bottom - top, right - left)
        frames.append(torch.tensor([(left + right) / size - 1, (top + bottom) / size - 1, side / size]))
    return torch.stack(frames).to(object.device)


def framed(image: Tensor, pixels: Tensor, frames: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Pictures (B,C,H,W), depth first, and pixels (B,N,H,W) of 0 and 1: what lies in the frames, `side` a side."""
    return _seen_through(_grid(frames[:, 2], frames[:, :2], side).to(image), image, pixels)


def unframed(maps: Tensor, frames: Tensor, size: int) -> Tensor:
    """(B,side,side) -> (B,size,size): the maps of the frames where they were taken from, 0 outside."""
    scale = 1 / frames[:, 2]
    grid = _grid(scale, -frames[:, :2] * scale[:, None], size).to(maps)
    return F.grid_sample(maps[:, None], grid, align_corners=False)[:, 0]


def _grid(scale: Tensor, shift: Tensor, side: int) -> Tensor:
    """(B,side,side,2): `grid_sample`'s places of a square scaled (B,) and then moved (B,2)."""
    zero = torch.zeros_like(scale)
    theta = torch.stack([scale, zero, shift[:, 0], zero, scale, shift[:, 1]], dim=1).view(-1, 2, 3)
    return F.affine_grid(theta, [len(scale), 1, side, side], align_corners=False)


def _seen_through(grid: Tensor, image: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
    nearest = F.grid_sample(torch.cat([image[:, :1], pixels], dim=1), grid, mode="nearest", align_corners=False)
    pictures = [nearest[:, :1]]
    if image.shape[1] > 1:
        pictures.append(F.grid_sample(image[:, 1:], grid, padding_mode="border", align_corners=False))
    return torch.cat(pictures, dim=1), nearest[:, 1:]
