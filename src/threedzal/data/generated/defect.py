"""What a defect is: a change of a piece's geometry or colour near a point of its surface. Millimetres, its frame.

A defect never knows the camera or the noise: the same piece is rendered with and without it, and what differs is the
ground truth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy import ndarray as Array

from threedzal.data.generated.piece import Piece, Rng, mix
from threedzal.data.generated.sdf import smoothstep


@dataclass(frozen=True)
class Frame:
    """Tangent frame at a point of the surface; `n` looks out of it."""

    point: Array  # (3,)
    u: Array
    v: Array
    n: Array

    @classmethod
    def draw(cls, point: Array, normal: Array, rng: Rng) -> Frame:
        """Frame at `point` whose tangents are turned at random."""
        helper = np.eye(3)[np.argmin(np.abs(normal))]
        u = np.cross(normal, helper)
        u /= np.linalg.norm(u)
        v = np.cross(normal, u)
        angle = rng.uniform(0, 2 * np.pi)
        return cls(point, np.cos(angle) * u + np.sin(angle) * v, np.cos(angle) * v - np.sin(angle) * u, normal)

    def local(self, x: Array, y: Array, z: Array) -> tuple[Array, Array, Array]:
        """Coordinates along u, v, n as (n,) float32."""
        dx, dy, dz = (c - np.float32(p) for c, p in zip((x, y, z), self.point, strict=True))
        return tuple(
            np.float32(a[0]) * dx + np.float32(a[1]) * dy + np.float32(a[2]) * dz for a in (self.u, self.v, self.n)
        )


def same(d: Array, *_: Array) -> Array:
    """No change."""
    return d


@dataclass(frozen=True)
class Defect:
    """Attributes:
    reach: nothing changes outside the sphere of this radius about `centre` (3,).
    shape: `(distance, x, y, z) -> distance`.
    warp: moves the points before the piece's field and colour are asked.
    paint: `(rgb (3, n), x, y, z, clean distance (n,)) -> rgb`.
    """

    centre: Array
    reach: float
    shape: Callable[..., Array] = same
    paint: Callable[..., Array] = same
    warp: Callable[..., tuple[Array, Array, Array]] | None = None

    @property
    def moves(self) -> bool:
        """Whether it changes geometry at all."""
        return self.warp is not None or self.shape is not same

    def field(self, piece: Piece) -> Callable[[Array, Array, Array], Array]:
        """Distance field of the piece with the defect."""

        def changed(x, y, z):
            moved = self.warp(x, y, z) if self.warp else (x, y, z)
            return self.shape(piece.field(*moved), x, y, z)

        return changed

    def albedo(self, piece: Piece) -> Callable[[Array, Array, Array], Array]:
        """Colour of the piece with the defect."""

        def changed(x, y, z):
            moved = self.warp(x, y, z) if self.warp else (x, y, z)
            clean = piece.field(*moved)
            fresh = smoothstep(0.15, 0.8, self.shape(clean, x, y, z) - clean)  # under the surface as it was
            rgb = mix(piece.albedo(*moved), piece.inside, 0.6 * fresh)
            return np.clip(self.paint(rgb, x, y, z, clean), 0.005, 1)

        return changed
