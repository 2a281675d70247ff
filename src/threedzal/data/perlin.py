"""Perlin noise: smooth random surfaces, and random regions where they are high (Perlin, SIGGRAPH 1985 and 2002)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

OCTAVES = 6  # lattice cells along a side are 2**0 to 2**(OCTAVES - 1), on a picture large enough
FINEST = 8  # pixels: no cell is smaller, as 32 on a side of 256; finer ones are grain that no code of 4x4 pixels holds


def perlin_noise(
    size: tuple[int, int], cells: tuple[int, int], *, angle: float = 0.0, generator: torch.Generator | None = None
) -> Tensor:
    """One picture of 2D Perlin noise.

    Args:
        size: (H,W) in pixels.
        cells: Lattice cells along the height and the width.
        angle: The lattice turned about the picture's centre, in radians.
        generator: On the CPU; what draws the gradients.

    Returns:
        (H,W) float32 in [-1,1], 0 at the lattice's nodes, continuous with its first and second derivatives.
    """
    reach = [2 * n + 2 for n in cells]  # nodes along a side: a turned picture needs up to sqrt(2) times its cells
    directions = 2 * math.pi * torch.rand(*reach, generator=generator)
    gradients = torch.stack([directions.cos(), directions.sin()], dim=-1)  # [R0, R1, 2]
    at = _lattice_coordinates(size, cells, angle)  # [H, W, 2]
    node = at.floor().long()
    inside = at - node
    fade = inside**3 * (inside * (6 * inside - 15) + 10)

    def ramp(down: int, right: int) -> Tensor:
        corner = torch.tensor([down, right])
        row, column = ((node + corner) % torch.tensor(reach)).unbind(-1)
        return (gradients[row, column] * (inside - corner)).sum(-1)

    upper = torch.lerp(ramp(0, 0), ramp(0, 1), fade[..., 1])
    lower = torch.lerp(ramp(1, 0), ramp(1, 1), fade[..., 1])
    return math.sqrt(2) * torch.lerp(upper, lower, fade[..., 0])


def random_perlin(size: tuple[int, int], *, generator: torch.Generator | None = None) -> Tensor:
    """`perlin_noise` (H,W) of random scales, each side its own, turned by up to a quarter to either side."""
    exponents = torch.randint(octaves_of(size), (2,), generator=generator).tolist()
    angle = math.pi * (float(torch.rand((), generator=generator)) - 0.5)
    return perlin_noise(size, (2 ** exponents[0], 2 ** exponents[1]), angle=angle, generator=generator)


def octaves_of(size: tuple[int, int]) -> int:
    """How many scales a picture (H,W) has: 6 from 256 pixels on, fewer where the finest cells would be too small."""
    return max(1, min(OCTAVES, 1 + int(math.log2(max(1, min(size) // FINEST)))))


def perlin_mask(
    size: tuple[int, int],
    *,
    thresholds: tuple[float, float] = (0.4, 0.8),
    generator: torch.Generator | None = None,
) -> Tensor:
    """Random regions (H,W) bool: where the size of `random_perlin` is above a threshold drawn from a range."""
    noise = random_perlin(size, generator=generator)
    low, high = thresholds
    return noise.abs() > low + (high - low) * torch.rand((), generator=generator)


def _lattice_coordinates(size: tuple[int, int], cells: tuple[int, int], angle: float) -> Tensor:
    """(H,W,2): where each pixel is in the lattice; pixel (0,0) on a node where nothing is turned."""
    rows, columns = (torch.arange(length) / length - 0.5 for length in size)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    turned = math.cos(angle) * y - math.sin(angle) * x, math.sin(angle) * y + math.cos(angle) * x
    return torch.stack([n * (t + 0.5) for n, t in zip(cells, turned, strict=True)], dim=-1)
