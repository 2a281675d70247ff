"""A closer picture, which the object fills: a small object's defects get more pixels of a small picture."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

MARGIN = 1.08  # side of the frame, of the object's longer side


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


def framed(values: Tensor, frames: Tensor, side: int, *, mode: str, padding_mode: str = "zeros") -> Tensor:
    """(B,C,H,W) -> (B,C,side,side): what lies in the frames; `mode` and `padding_mode` are those of `grid_sample`."""
    return _sampled(values, frames[:, 2], frames[:, :2], side, mode=mode, padding_mode=padding_mode)


def unframed(maps: Tensor, frames: Tensor, size: int) -> Tensor:
    """(B,side,side) -> (B,size,size): the maps of the frames where they were taken from, 0 outside."""
    scale = 1 / frames[:, 2]
    return _sampled(maps[:, None], scale, -frames[:, :2] * scale[:, None], size, mode="bilinear")[:, 0]


def _sampled(values: Tensor, scale: Tensor, shift: Tensor, side: int, **options) -> Tensor:
    zero = torch.zeros_like(scale)
    rows = [scale, zero, shift[:, 0], zero, scale, shift[:, 1]]
    theta = torch.stack(rows, dim=1).view(-1, 2, 3).to(values)
    grid = F.affine_grid(theta, [*values.shape[:2], side, side], align_corners=False)
    return F.grid_sample(values, grid, align_corners=False, **options)
