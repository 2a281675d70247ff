"""The camera: a pinhole over a tilted table, and sphere tracing through its pixels. Units: millimetres, camera frame
(x right, y down, z away from the camera)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy import ndarray as Array

Field = Callable[[Array, Array, Array], Array]
SENSOR_FOCUS = 0.0103431  # metres; the real camera's lens
HIT = 0.01  # mm: a ray this close to the surface has arrived


@dataclass(frozen=True)
class Camera:
    """Pinhole without distortion; a pixel's centre has integer coordinates."""

    width: int
    height: int
    focal: float  # pixels
    cx: float
    cy: float

    def rays(self) -> Array:
        """(3, h*w) float64: each pixel's direction, scaled to z = 1, so that a ray's parameter is the depth."""
        v, u = np.mgrid[: self.height, : self.width].reshape(2, -1)
        return np.stack([(u - self.cx) / self.focal, (v - self.cy) / self.focal, np.ones(u.size)])

    def points(self, depth: Array) -> Array:
        """(h, w, 3) float32 in metres from `depth` (h, w) in millimetres; (0, 0, 0) where the depth is 0."""
        xyz = self.rays() * (depth.reshape(-1).astype(np.float64) * 1e-3)
        return np.ascontiguousarray(xyz.T.reshape(self.height, self.width, 3).astype(np.float32))

    def parameters(self) -> dict[str, object]:
        """MVTec's `camera_parameters.json`: a division model whose `kappa` is 0; the pixel pitch holds the size."""
        pitch = SENSOR_FOCUS / self.focal
        return {
            "camera_type": "area_scan_division",
            "focus": SENSOR_FOCUS,
            "kappa": 0.0,
            "sx": pitch,
            "sy": pitch,
            "cx": self.cx,
            "cy": self.cy,
            "image_width": self.width,
            "image_height": self.height,
        }


@dataclass(frozen=True)
class Pose:
    """Rigid motion from the camera frame into an object's frame: `object = rotation @ (camera - centre)`."""

    rotation: Array  # (3, 3)
    centre: Array  # (3,) mm, the object's origin in the camera frame

    def origin(self) -> Array:
        """(3,) the camera in the object's frame."""
        return -self.rotation @ self.centre

    def turn(self, directions: Array) -> Array:
        """(3, n) float32 directions in the object's frame."""
        return rotate(self.rotation, directions).astype(np.float32)


def rotate(matrix: Array, vectors: Array) -> Array:
    """`matrix @ vectors` for (3, 3) and (3, n), without BLAS: the same bits whatever the number of threads."""
    return np.stack([row[0] * vectors[0] + row[1] * vectors[1] + row[2] * vectors[2] for row in matrix])


def positions(origin: Array, rays: Array, t: Array) -> tuple[Array, Array, Array]:
    """Points `origin + t * rays` as three (n,) float32 arrays."""
    return tuple(np.float32(o) + t * r for o, r in zip(origin, rays, strict=True))


def sphere_span(origin: Array, rays: Array, *, centre: Array, radius: float) -> tuple[Array, Array]:
    """Ray parameters (n,) at which each ray enters and leaves a sphere; entry > exit where it misses."""
    offset = (np.asarray(origin) - centre).astype(np.float32)
    a = (rays * rays).sum(0)
    b = (rays * offset[:, None]).sum(0)
    root = b * b - a * np.float32(offset @ offset - radius * radius)
    half = np.sqrt(np.maximum(root, 0))
    return np.where(root > 0, (-b - half) / a, 1).astype(np.float32), np.where(root > 0, (half - b) / a, 0).astype(
        np.float32
    )


def trace(
    field: Field,
    origin: Array,
    rays: Array,
    start: Array,
    stop: Array,
    *,
    relax: float,
    cone: float = 0.0,
    steps: int = 90,
) -> Array:
    """First ray parameter at which `field` is reached, `inf` where `stop` comes first.

    Args:
        origin, rays: (3,) and (3, n), in the field's frame.
        start, stop: (n,) ray parameters between which to look.
        relax: share of the distance that one step may take (1 for a true distance field).
        cone: half-opening of a ray as a share of its depth; a cone stops as soon as the surface may be inside it.
    """
    reached = np.full(start.shape, np.inf, np.float32)
    alive = np.flatnonzero(start < stop)
    t, r, end = start[alive], rays[:, alive], stop[alive]
    pace = np.float32(relax) / np.sqrt((r * r).sum(0))
    for step in range(steps):
        if not alive.size:
            break
        d = field(*positions(origin, r, t))
        hit = d < np.maximum(np.float32(cone) * t, HIT if step < 40 else 4 * HIT)  # skimming rays converge slowly
        reached[alive[hit]] = t[hit]
        if not cone:
            settle(field, origin, r[:, hit], alive[hit], reached, d[hit], pace[hit])
        t = t + d * pace
        keep = np.flatnonzero(~hit & (t < end))
        if keep.size < alive.size:
            alive, t, r, end, pace = alive[keep], t[keep], r[:, keep], end[keep], pace[keep]
    else:
        reached[alive] = t  # a ray that skims the surface: as near as `steps` brought it
    return reached


def settle(field: Field, origin: Array, rays: Array, which: Array, reached: Array, d: Array, pace: Array) -> None:
    """Step back where the last step of rays `which` went through the surface (`reached` is changed in place)."""
    for _ in range(3):
        deep = np.flatnonzero(d < -HIT)
        if not deep.size:
            return
        which, rays, pace = which[deep], rays[:, deep], pace[deep]
        reached[which] += d[deep] * pace
        d = field(*positions(origin, rays, reached[which]))


def trace_image(
    field: Field,
    origin: Array,
    rays: Array,
    stop: Array,
    *,
    shape: tuple[int, int],
    radius: float,
    relax: float,
    block: int = 4,
) -> Array:
    """Trace a whole image of rays (3, h*w), coarse to fine: one cone a block says where its pixels may start.

    Returns:
        (h*w,) ray parameters, `inf` where the object (inside `radius` of its origin) is not hit before `stop`.
    """
    height, width = shape
    rows, columns = (np.minimum(np.arange(block // 2, n + block // 2, block), n - 1) for n in (height, width))
    centres = (rows[:, None] * width + columns).reshape(-1)
    enter, leave = sphere_span(origin, rays, centre=np.zeros(3), radius=radius)
    spread = np.linalg.norm(rays[:, 1] - rays[:, 0])
    cone = np.float32(spread * (block * 0.75 + 0.5))
    # the sphere itself needs the cone's width too: a block whose centre misses it may still hold pixels that do not
    wide, far = sphere_span(origin, rays[:, centres], centre=np.zeros(3), radius=radius * 1.02 + float(cone) * 700)
    coarse = trace(field, origin, rays[:, centres], wide, np.minimum(far, stop[centres] + 15), relax=relax, cone=cone)
    coarse = np.where(np.isfinite(coarse), coarse - 0.5, np.inf).reshape(len(rows), len(columns))
    first = np.repeat(np.repeat(coarse, block, 0)[:height], block, 1)[:, :width].reshape(-1)
    return trace(field, origin, rays, np.maximum(first, enter), np.minimum(stop, leave), relax=relax)


def surface_normals(field: Field, x: Array, y: Array, z: Array, *, step: float) -> Array:
    """(3, n) unit normals from four samples of the field at the corners of a tetrahedron of size `step` mm."""
    total = np.zeros((3, x.size), np.float32)
    for sx, sy, sz in ((1, -1, -1), (-1, -1, 1), (-1, 1, -1), (1, 1, 1)):
        d = field(x + np.float32(sx * step), y + np.float32(sy * step), z + np.float32(sz * step))
        total += np.array([[sx], [sy], [sz]], np.float32) * d
    return total / np.maximum(np.sqrt((total * total).sum(0)), 1e-9)
