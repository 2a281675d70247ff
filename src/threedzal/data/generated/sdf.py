"""Signed-distance primitives and operators, in millimetres.

Every function takes the coordinates as three float32 arrays `x, y, z` of one shape `(n,)` and returns `(n,)` float32
distances: negative inside. Three arrays instead of one `(n, 3)` keep numpy's loops contiguous, on which the renderer's
speed rests.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

Array = ndarray


def sphere(x: Array, y: Array, z: Array, *, centre: tuple[float, float, float], radius: float) -> Array:
    """Distance to a sphere."""
    dx, dy, dz = x - centre[0], y - centre[1], z - centre[2]
    return np.sqrt(dx * dx + dy * dy + dz * dz) - radius


def ellipsoid(x: Array, y: Array, z: Array, *, axes: tuple[float, float, float]) -> Array:
    """First-order distance to an ellipsoid at the origin with semi-axes `axes`."""
    a, b, c = (np.float32(v) for v in axes)
    k0 = np.sqrt((x / a) ** 2 + (y / b) ** 2 + (z / c) ** 2)
    k1 = np.sqrt((x / (a * a)) ** 2 + (y / (b * b)) ** 2 + (z / (c * c)) ** 2)
    return k0 * (k0 - 1) / np.maximum(k1, 1e-6)


def rounded_box(x: Array, y: Array, z: Array, *, half: tuple[float, float, float], radius: float) -> Array:
    """Distance to a box with half sides `half` (outer) and edges rounded by `radius`."""
    qx, qy, qz = (np.abs(v) - (h - radius) for v, h in zip((x, y, z), half, strict=True))
    outside = np.sqrt(np.maximum(qx, 0) ** 2 + np.maximum(qy, 0) ** 2 + np.maximum(qz, 0) ** 2)
    return outside + np.minimum(np.maximum(np.maximum(qx, qy), qz), 0) - radius


def rounded_profile(r: Array, h: Array, *, radius: float | Array, half: float | Array, edge: float) -> Array:
    """Distance to a cylinder (outer `radius`, half height `half`, rounded `edge`); `r` from its axis, `h` along it."""
    qr, qh = r - (radius - edge), np.abs(h) - (half - edge)
    outside = np.sqrt(np.maximum(qr, 0) ** 2 + np.maximum(qh, 0) ** 2)
    return outside + np.minimum(np.maximum(qr, qh), 0) - edge


def round_cone(r: Array, h: Array, *, radius0: float, radius1: float, height: float) -> Array:
    """Distance to two spheres (`radius0` at h=0, `radius1` at h=`height`) and the cone that touches both."""
    b = (radius0 - radius1) / height
    a = float(np.sqrt(1 - b * b))
    k = -b * r + a * h
    side = a * r + b * h - radius0
    low = np.sqrt(r * r + h * h) - radius0
    high = np.sqrt(r * r + (h - height) ** 2) - radius1
    return np.where(k < 0, low, np.where(k > a * height, high, side))


def triangle(v: Array) -> Array:
    """Triangle wave of period 1 between -1 and 1."""
    return 4 * np.abs(v - np.floor(v) - 0.5) - 1


def hexagon(y: Array, z: Array, *, radius: float) -> Array:
    """Distance to a hexagonal prism along x whose flats are `radius` from the axis (outside its corners: a bound)."""
    y, z = np.abs(y), np.abs(z)
    return np.maximum(y * 0.8660254 + z * 0.5, z) - radius


def smooth_min(a: Array, b: Array, k: float) -> Array:
    """Union whose seam is rounded over about `k` mm."""
    h = np.maximum(k - np.abs(a - b), 0)
    return np.minimum(a, b) - h * h * (0.25 / k)


def smooth_max(a: Array, b: Array, k: float) -> Array:
    """Intersection (or subtraction of `-b`) whose seam is rounded over about `k` mm."""
    h = np.maximum(k - np.abs(a - b), 0)
    return np.maximum(a, b) + h * h * (0.25 / k)


def fade(q: Array) -> Array:
    """`(1 - q)^2` inside `q < 1`, 0 outside, for `q` a squared relative distance: a smooth bump of height 1."""
    return np.maximum(1 - q, 0) ** 2


def smoothstep(low: float, high: float, v: Array) -> Array:
    """0 below `low`, 1 above `high`, a smooth ramp between."""
    t = np.clip((v - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


@dataclass(frozen=True)
class Waves:
    """Smooth noise as a chain of waves: cheap, seamless, the same for one point whatever else is in the batch."""

    direction: Array  # (m, 3) float32, radians a mm
    phase: Array  # (m,) float32
    amplitude: float  # root-mean-square value of the sum
    mixing: float = 0.6  # radians by which a wave shifts the next

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        *,
        wavelength: tuple[float, float],
        amplitude: float,
        count: int = 6,
        stretch: tuple[float, float, float] = (1, 1, 1),
        mixing: float = 0.6,
    ) -> Waves:
        """`count` waves of random direction and a length between `wavelength` mm, pulled by `stretch`."""
        direction = rng.normal(size=(count, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        length = np.exp(rng.uniform(*np.log(wavelength), size=(count, 1)))
        direction = direction * (2 * np.pi / length) / np.asarray(stretch)
        return cls(direction.astype(np.float32), rng.uniform(0, 2 * np.pi, count).astype(np.float32), amplitude, mixing)

    def __call__(self, x: Array, y: Array, z: Array) -> Array:
        total = np.zeros_like(x)
        wave = np.zeros_like(x)
        for (kx, ky, kz), phase in zip(self.direction, self.phase, strict=True):
            argument = kx * x
            argument += ky * y
            argument += kz * z
            argument += phase
            wave *= np.float32(self.mixing)  # each wave bends the next one: no visible period
            argument += wave
            wave = np.sin(argument, out=argument)
            total += wave
        total *= np.float32(self.amplitude * np.sqrt(2 / len(self.phase)))
        return total


@dataclass(frozen=True)
class Pores:
    """One sphere in every cell of a cubic lattice, wholly inside its cell, so that a look-up of one cell is enough."""

    table: Array  # (16, 16, 16, 4) float32: centre in the cell and radius, in cells
    cell: float  # mm

    @classmethod
    def draw(cls, rng: np.random.Generator, *, cell: float, radius: tuple[float, float]) -> Pores:
        """Radii are uniform between `radius` (mm, below half a cell)."""
        r = rng.uniform(radius[0], radius[1], (16, 16, 16)) / cell
        centre = r[..., None] + rng.random((16, 16, 16, 3)) * (1 - 2 * r[..., None])
        return cls(np.concatenate([centre, r[..., None]], -1).astype(np.float32), cell)

    def __call__(self, x: Array, y: Array, z: Array) -> Array:
        """Distance to the pore of the cell that each point lies in (mm, negative inside the pore)."""
        scaled = [v * np.float32(1 / self.cell) for v in (x, y, z)]
        floor = [np.floor(v) for v in scaled]
        i, j, k = (f.astype(np.int32) & 15 for f in floor)
        entry = self.table.reshape(-1, 4)[(i * 16 + j) * 16 + k]
        square = sum((s - f - entry[:, a]) ** 2 for a, (s, f) in enumerate(zip(scaled, floor, strict=True)))
        return (np.sqrt(square) - entry[:, 3]) * np.float32(self.cell)


@dataclass(frozen=True)
class Bumps:
    """Soft bumps (positive height) and dents (negative) at given points."""

    centre: Array  # (m, 3) mm
    radius: Array  # (m,) mm
    height: Array  # (m,) mm

    def __call__(self, x: Array, y: Array, z: Array) -> Array:
        """Height to take off the distance (mm)."""
        total = np.zeros_like(x)
        for (cx, cy, cz), r, h in zip(self.centre.astype(np.float32), self.radius, self.height, strict=True):
            near = np.flatnonzero(np.abs(x - cx) < r)
            if near.size:
                px, py, pz = x[near] - cx, y[near] - cy, z[near] - cz
                total[near] += np.float32(h) * fade((px * px + py * py + pz * pz) * np.float32(1 / (r * r)))
        return total
