"""Between a scan's own size and the network's: padding to a square and resizing, there and back."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def resized(image: Tensor, *, size: int, pad: bool, mode: str) -> Tensor:
    """(C,h,w) float -> (C,size,size): zero-padded to a square about its centre, so that a metre is as many pixels in
    both directions, then resized. Points are never interpolated: that would invent some."""
    height, width = image.shape[-2:]
    if pad and height != width:
        side = max(height, width)
        top, left = (side - height) // 2, (side - width) // 2
        image = F.pad(image, (left, side - width - left, top, side - height - top))
    options = {"antialias": True, "align_corners": False} if mode == "bicubic" else {}
    return F.interpolate(image[None], size=(size, size), mode=mode, **options)[0]


def restore_map(score_map: Tensor, *, size: tuple[int, int], pad_to_square: bool) -> Tensor:
    """(H,W) float map at the network's size -> (h,w) at the scan's own: the inverse of padding and resizing."""
    height, width = size
    if not pad_to_square:
        return F.interpolate(score_map[None, None], size=(height, width), mode="bilinear", align_corners=False)[0, 0]
    side = max(height, width)
    square = F.interpolate(score_map[None, None], size=(side, side), mode="bilinear", align_corners=False)[0, 0]
    top, left = (side - height) // 2, (side - width) // 2
    return square[top : top + height, left : left + width].contiguous()
