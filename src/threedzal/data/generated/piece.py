"""What a piece is: geometry, colour and how it may lie on the table. Millimetres, in the piece's own frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy import ndarray as Array

from threedzal.data.generated.sdf import Bumps

Field = Callable[[Array, Array, Array], Array]
Rng = np.random.Generator


@dataclass(frozen=True)
class Piece:
    """One piece of a class.

    Attributes:
        field: signed distance (n,) of points x, y, z (n,).
        albedo: reflectance (3, n) in [0, 1], linear, of points on the surface.
        radius: of a sphere about the origin that holds the piece.
        feet: ellipsoids (centre, semi-axes) whose hull stands in for the piece when it is laid on the table.
        pose: (3, 3) rotation that turns the piece's frame into its rest position (z up) before yaw, tilt and offset.
        spots: for a defect kind, which points x, y, z of the surface may carry it (default: all).
        gloss, shine: strength and exponent of the highlight.
        inside: reflectance of the material under the surface.
        relax: share of the distance that one tracing step may take.
    """

    field: Field
    albedo: Field
    radius: float
    feet: list[tuple[tuple[float, float, float], tuple[float, float, float]]]
    inside: tuple[float, float, float]
    pose: Array = field(default_factory=lambda: np.eye(3))
    spots: dict[str, Callable[[Array, Array, Array], Array]] = field(default_factory=dict)
    gloss: float = 0.1
    shine: float = 20.0
    relax: float = 0.85

    def support(self, up: Array) -> float:
        """Height of the origin above the table whose normal is `up` (3,) in the piece's frame."""
        return max(float(np.linalg.norm(np.asarray(axes) * up) - np.dot(centre, up)) for centre, axes in self.feet)


def axis_rotation(axis: int, angle: float) -> Array:
    """(3, 3) rotation by `angle` radians about a coordinate axis."""
    i, j = [(1, 2), (2, 0), (0, 1)][axis]
    turn = np.eye(3)
    turn[i, i] = turn[j, j] = np.cos(angle)
    turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
    return turn


def mix(low: tuple | Array, high: tuple | Array, share: Array) -> Array:
    """(3, n) colours between `low` and `high`, each (3,) or (3, n), by `share` (n,)."""
    low, high = (np.asarray(c, np.float32).reshape(3, -1) for c in (low, high))
    return low + (high - low) * share


def tint(rng: Rng, colour: tuple[float, float, float], *, spread: float = 0.08) -> tuple[float, ...]:
    """A piece's own version of its class's colour: lighter or darker, and a little off in hue."""
    shift = rng.normal(0, spread) + rng.normal(0, spread * 0.3, 3)
    return tuple(np.clip(np.asarray(colour) * np.exp(shift), 0.01, 0.95).astype(float))


def on_surface(field_: Field, rng: Rng, *, count: int, radius: float) -> Array:
    """(count, 3) points on the zero level, reached from random points in the sphere of `radius` along the gradient."""
    p = rng.normal(size=(3, count * 3))
    p = (p / np.linalg.norm(p, axis=0) * radius * rng.uniform(0.3, 1, count * 3)).astype(np.float32)
    for _ in range(12):
        d = field_(*p)
        h = np.float32(0.5)
        gradient = np.stack([field_(*(p + h * e[:, None])) - d for e in np.eye(3, dtype=np.float32)]) / h
        p = p - 0.8 * d * gradient / np.maximum((gradient * gradient).sum(0), 0.25)
    best = np.argsort(np.abs(field_(*p)) > 0.5, kind="stable")
    return p[:, best[:count]].T


def dents(
    field_: Field,
    rng: Rng,
    *,
    count: tuple[int, int],
    radius: tuple[float, float],
    height: tuple[float, float],
    bound: float,
) -> Bumps:
    """Normal irregularities: between `count` bumps or dents of `radius` and `height` mm (below 0: dents)."""
    n = int(rng.integers(count[0], count[1] + 1))
    points = on_surface(field_, rng, count=n, radius=bound) if n else np.zeros((0, 3))
    return Bumps(points, rng.uniform(*radius, n), rng.uniform(*height, n))


def speckle(noise: Array, *, share: float, soft: float = 0.25) -> Array:
    """0 to 1: spots where a unit-variance noise field is in its highest `share` (roughly normal)."""
    from scipy.special import ndtri

    level = float(ndtri(1 - share))
    return np.clip((noise - level) / soft + 0.5, 0, 1)
