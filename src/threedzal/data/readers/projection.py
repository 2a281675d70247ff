"""An unorganised cloud as an organised one, seen by a virtual camera; every point knows its pixel.

The networks want rows and columns. A cloud that was taken from one place is seen again from there: all its points have
z ahead of the origin, and the camera stands at the origin. Any other cloud (a robot's frame, a table's, a merged one)
is looked at from above, down its z axis. No point is moved or invented: a pixel holds the nearest point that falls on
it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from threedzal.data.readers.camera import Camera
from threedzal.errors import UserError

_POINTS_PER_PIXEL = 2.0  # on average: 13 % of the pixels of randomly scattered points stay empty, none of a grid's
_NEIGHBOURS = 8  # within whose distance the density is measured
_SAMPLE = 50_000  # points that it is measured on
_MOST_PIXELS = 1536  # along a side
_FEWEST_POINTS = 500
_WIDEST = 2.5  # tangent of half the field of view, and
_DEEPEST = 20.0  # farthest over nearest, of a cloud in a camera's frame
_ALTITUDE = 4.0  # of the camera that looks from above, in extents of the cloud
_HIDDEN = 12.0  # pixel footprints behind what is in front; a surface seen at 80 degrees falls off by six a pixel


@dataclass(frozen=True)
class Projection:
    """An organised view of N points."""

    xyz: np.ndarray  # (h,w,3) float32, in the camera's frame: x right, y down, z ahead; (0,0,0) where no point falls
    pixels: np.ndarray  # (N,) int64: row * w + column of each point; -1 for a point that is not seen
    chosen: np.ndarray  # (h,w) int64: the point that a pixel holds; -1 for none


def camera_frame(points: np.ndarray) -> np.ndarray:
    """(N,3) points -> the same in a frame with the camera at the origin, x right, y down, z ahead.

    As they are where they lie ahead of the origin already, turned about x where they lie behind it (OpenGL's camera),
    else seen from above, from where the whole cloud is well in view.
    """
    flipped = points * (1.0, -1.0, -1.0)
    for candidate in (points, flipped):
        if _ahead(candidate):
            return candidate
    low, high = np.percentile(flipped, [0.5, 99.5], axis=0)
    extent = max(high - low) or 1.0
    return flipped - [*((low + high) / 2)[:2], low[2] - _ALTITUDE * extent]


def project(points: np.ndarray, camera: Camera | None = None) -> Projection:
    """Look at points (N,3) through `camera` at the origin, or through a virtual one that suits their frame and density.

    The image is cut to what there is to see.

    Raises:
        UserError: too few points, or none ahead of the camera.
    """
    points = points if camera is not None else camera_frame(points)
    ahead = points[:, 2] > 0
    if ahead.sum() < _FEWEST_POINTS:
        raise UserError(f"{ahead.sum()} points are ahead of the camera, wanted at least {_FEWEST_POINTS}")
    tangents = np.where(ahead[:, None], points[:, :2] / np.where(ahead, points[:, 2], 1.0)[:, None], np.nan)
    if camera is None:
        pixel = _pixel(tangents[ahead])
        image = tangents / pixel
    else:
        pixel = 1 / camera.fx
        image = tangents * (camera.fx, camera.fy) + (camera.cx or 0.0, camera.cy or 0.0)
    image = np.rint(image - np.nanmin(image, axis=0))
    width, height = (int(side) + 1 for side in np.nanmax(image, axis=0))
    if max(width, height) > 4 * _MOST_PIXELS:
        raise UserError(f"the cloud covers {width}x{height} pixels of the camera: check the intrinsics and the units")
    flat = np.where(ahead, image[:, 1] * width + image[:, 0], -1).astype(np.int64)
    depth = np.full(height * width, np.inf)
    np.minimum.at(depth, flat[ahead], points[ahead, 2])
    pixels = np.where(_seen(points[:, 2], flat, depth.reshape(height, width), pixel), flat, -1)

    chosen = np.full(height * width, -1, dtype=np.int64)
    order = np.argsort(-points[:, 2], kind="stable")  # the nearest last, so that it stays
    order = order[pixels[order] >= 0]
    chosen[pixels[order]] = order
    xyz = np.where(chosen[:, None] >= 0, points[chosen], 0.0).astype(np.float32)
    return Projection(xyz.reshape(height, width, 3), pixels, chosen.reshape(height, width))


def _ahead(points: np.ndarray) -> bool:
    """Whether the cloud may be what a camera at the origin saw."""
    nearest, farthest = np.percentile(points[:, 2], [0.5, 99.5])
    if nearest <= 0 or farthest / nearest > _DEEPEST:
        return False
    seen = points[points[:, 2] > 0]
    return bool(np.percentile(np.abs(seen[:, :2]) / seen[:, 2:], 99.5) < _WIDEST)


def _pixel(tangents: np.ndarray) -> float:
    """Side of a pixel in the plane z = 1 such that `_POINTS_PER_PIXEL` points fall on one."""
    from scipy.spatial import cKDTree

    thinned = tangents  # a random part of the points is as much thinner everywhere
    if len(tangents) > _SAMPLE:
        thinned = tangents[np.random.default_rng(0).choice(len(tangents), _SAMPLE, replace=False)]
    distances = cKDTree(thinned).query(thinned[:: max(1, len(thinned) // 2000)], k=_NEIGHBOURS + 1)[0][:, -1]
    density = _NEIGHBOURS / (np.pi * np.median(distances) ** 2) * len(tangents) / len(thinned)
    extent = np.ptp(tangents, axis=0).max()
    return float(max(np.sqrt(_POINTS_PER_PIXEL / density), extent / _MOST_PIXELS))


def _seen(z: np.ndarray, flat: np.ndarray, depth: np.ndarray, pixel: float) -> np.ndarray:
    """(N,) bool: nothing is clearly in front, neither in the point's pixel nor in four of the nine around it (three are
    what stands beside an edge; more are a surface that the point is seen through a gap of)."""
    from scipy.ndimage import rank_filter

    limit = np.minimum(depth, rank_filter(depth, rank=3, size=3, mode="nearest")).ravel() * (1 + _HIDDEN * pixel)
    return (flat >= 0) & (z <= limit[flat])
