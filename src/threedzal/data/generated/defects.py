"""The kinds of defect, as in the real set: each maker draws one around a frame on the surface.

`grow` scales what is drawn: small pieces get smaller defects, coarse pictures larger ones.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy import ndarray as Array

from threedzal.data.generated.defect import Defect, Frame
from threedzal.data.generated.piece import Rng, mix
from threedzal.data.generated.sdf import Waves, fade, smooth_max, smooth_min, smoothstep


def polyline(u: Array, v: Array, corners: Array) -> Array:
    """(n,) distance in the tangent plane to the polyline through `corners` (m, 2)."""
    best = np.full_like(u, np.inf)
    for (au, av), (bu, bv) in zip(corners[:-1].astype(np.float32), corners[1:].astype(np.float32), strict=True):
        du, dv = bu - au, bv - av
        t = np.clip(((u - au) * du + (v - av) * dv) / (du * du + dv * dv), 0, 1)
        np.minimum(best, (u - au - t * du) ** 2 + (v - av - t * dv) ** 2, out=best)
    return np.sqrt(best)


def engrave(frame: Frame, corners: Array, *, width: float, depth: float, reach: float) -> Defect:
    """A groove along a polyline, `depth` below the surface as it was, narrowing towards its floor."""

    def shape(d, x, y, z):
        u, v, n = frame.local(x, y, z)
        near = np.flatnonzero((np.abs(n) < reach) & (d < depth + 2) & (u * u + v * v < reach * reach))
        if near.size:
            q = polyline(u[near], v[near], corners)
            wall = np.float32(width / 2) * np.clip(1 + d[near] / np.float32(depth), 0.15, 1) - q
            d = d.copy()
            d[near] = smooth_max(d[near], np.minimum(wall, d[near] + np.float32(depth)), 0.2)
        return d

    return Defect(frame.point, reach, shape)


def hole(frame: Frame, rng: Rng, grow: float) -> Defect:
    """Material gone: a round or oval pit with an uneven rim, sometimes a deep bore."""
    radius = np.exp(rng.uniform(np.log(2.6), np.log(7.0))) * grow
    deep = rng.uniform(0.4, 1.6) * radius
    oval, tilt = rng.uniform(0.7, 1.0), rng.uniform(-0.3, 0.3, 2)
    rim = Waves.draw(rng, wavelength=(radius, radius * 3), amplitude=0.12 * radius)

    def shape(d, x, y, z):
        u, v, n = frame.local(x, y, z)
        u, v = u + np.float32(tilt[0]) * n, v + np.float32(tilt[1]) * n
        pit = np.sqrt(u * u + (v / np.float32(oval)) ** 2 + np.minimum(n + np.float32(deep - radius * 0.6), 0) ** 2)
        return smooth_max(d, np.maximum(np.float32(radius) - pit + rim(x, y, z), -d - 12) * np.float32(0.8), 0.4)

    return Defect(frame.point, deep + radius * 2.2 + 2, shape)


def cut(frame: Frame, rng: Rng, grow: float) -> Defect:
    """A knife's cut: long, narrow, straight or slightly bowed."""
    length = rng.uniform(12, 32) * grow
    s = np.linspace(-0.5, 0.5, 5)
    corners = np.stack([s * length, rng.normal(0, 0.08) * length * (4 * s * s - 1)], 1)
    return engrave(
        frame, corners, width=rng.uniform(1.4, 3.6) * grow, depth=rng.uniform(1.2, 4.5), reach=length * 0.6 + 4
    )


def crack(frame: Frame, rng: Rng, grow: float) -> Defect:
    """A fracture: a jagged line of uneven width."""
    length, pieces = rng.uniform(14, 36) * grow, int(rng.integers(5, 9))
    s = np.linspace(-0.5, 0.5, pieces + 1)
    corners = np.stack([s * length, rng.normal(0, 0.07, pieces + 1) * length], 1)
    return engrave(
        frame, corners, width=rng.uniform(1.3, 3.2) * grow, depth=rng.uniform(1.0, 3.5), reach=length * 0.65 + 4
    )


def thread(frame: Frame, rng: Rng, grow: float) -> Defect:
    """Worn or chipped thread: its crests gone over a patch."""
    length = rng.uniform(4, 9) * grow
    corners = np.array([[-length / 2, 0], [length / 2, rng.normal(0, 0.5)]])
    return engrave(frame, corners, width=rng.uniform(3, 6) * grow, depth=rng.uniform(0.6, 1.3), reach=length + 4)


def bulge(frame: Frame, rng: Rng, grow: float) -> Defect:
    """A swelling of 0.5 to 3 mm, with a soft or a plain foot."""
    height, radius = rng.uniform(0.5, 3.0) * grow, rng.uniform(5, 12) * grow
    oval = rng.uniform(0.6, 1)

    def shape(d, x, y, z):
        u, v, n = frame.local(x, y, z)
        q = (u * u + (v / np.float32(oval)) ** 2 + n * n * 0.5) * np.float32(1 / radius**2)
        return d - np.float32(height) * fade(q)

    return Defect(frame.point, radius * 1.45, shape)


CONTAMINANTS = (
    (0.60, 0.58, 0.52),
    (0.10, 0.09, 0.08),
    (0.38, 0.14, 0.10),
    (0.16, 0.26, 0.14),
    (0.50, 0.40, 0.20),
    (0.16, 0.20, 0.36),
)


def contamination(frame: Frame, rng: Rng, grow: float) -> Defect:
    """Foreign matter on the surface: a crumb, a smear or a thread, of another colour."""
    form = rng.choice(["crumb", "smear", "fibre"])
    colour = np.clip(np.asarray(CONTAMINANTS[rng.integers(len(CONTAMINANTS))]) * np.exp(rng.normal(0, 0.25)), 0.02, 0.9)
    rough = Waves.draw(rng, wavelength=(1.5, 5), amplitude=0.18)
    length = {"crumb": 0.0, "smear": rng.uniform(2, 9), "fibre": rng.uniform(12, 26)}[form] * grow
    radius = {"crumb": rng.uniform(1.8, 5.0), "smear": rng.uniform(2.5, 5), "fibre": rng.uniform(0.6, 1.1)}[form] * grow
    flat = {"crumb": rng.uniform(0.5, 1), "smear": rng.uniform(0.12, 0.3), "fibre": 1.0}[form]
    bow = rng.normal(0, 0.15) * length
    opaque = np.float32(rng.uniform(0.45, 1))  # some are near the surface's own colour

    def body(x, y, z, d):
        u, v, n = frame.local(x, y, z)
        s = np.clip(u / np.float32(max(length, 1e-3)), -0.5, 0.5)
        v = v - np.float32(bow) * (4 * s * s - 1)
        # it lies on the surface as that is, so its height is the clean distance, not the tangent plane's
        lift = d / np.float32(flat) - np.float32(radius * 0.3)
        span = np.sqrt((u - s * np.float32(length)) ** 2 + v * v + lift * lift)
        return (span - np.float32(radius) - rough(x, y, z)) * np.float32(min(flat, 0.8)) + 5 * (
            np.abs(n) > 9 + length / 2
        )

    def shape(d, x, y, z):
        return smooth_min(d, body(x, y, z, d), 0.15)

    def paint(rgb, x, y, z, d):
        return mix(rgb, colour, opaque * smoothstep(0.12, 0.04, body(x, y, z, d)))

    return Defect(frame.point, length * 0.6 + radius * 1.6 + 2, shape, paint)


def colour(frame: Frame, rng: Rng, grow: float) -> Defect:
    """Discoloration of the surface alone: a stain or a bleached or burnt patch with a ragged edge; no geometry."""
    radius = rng.uniform(4, 11) * grow
    strength = rng.uniform(0.22, 0.7)
    edge = Waves.draw(rng, wavelength=(radius * 0.5, radius * 2), amplitude=0.25)
    other = np.clip(rng.choice(np.array(CONTAMINANTS)) * np.exp(rng.normal(0, 0.3)), 0.02, 0.9)
    scale = rng.choice([0.35, 0.5, 1.5, 1.8]) if rng.random() < 0.5 else None

    def paint(rgb, x, y, z, d):
        u, v, n = frame.local(x, y, z)
        q = np.sqrt(u * u + v * v * 1.6 + n * n * 0.3) / np.float32(radius)
        target = rgb * np.float32(scale) if scale else np.asarray(other, np.float32)[:, None]
        return mix(rgb, target, np.float32(strength) * smoothstep(1.0, 0.7, q + edge(x, y, z)))

    return Defect(frame.point, radius * 2, paint=paint)


def bent(frame: Frame, rng: Rng, grow: float) -> Defect:
    """A part pushed out of its place: everything near the point leans sideways."""
    radius = rng.uniform(7, 11) * grow
    push = frame.n * rng.choice([-1.0, 1.0]) * rng.uniform(1.2, 3.0) + frame.u * rng.normal(0, 0.8)

    def warp(x, y, z):
        u, v, n = frame.local(x, y, z)
        weight = fade((u * u + v * v + n * n) * np.float32(1 / radius**2))
        return tuple(c - np.float32(p) * weight for c, p in zip((x, y, z), push, strict=True))

    return Defect(frame.point, radius, warp=warp)


def bent_rod(frame: Frame, rng: Rng, grow: float) -> Defect:
    """The end of a long piece bent aside: a kink some way from the end nearer to the point, along x."""
    side = 1.0 if frame.point[0] >= 0 else -1.0
    kink, angle = rng.uniform(16, 28), rng.uniform(0, 2 * np.pi)
    slope = rng.uniform(0.06, 0.20) * grow

    def warp(x, y, z):
        past = np.maximum(x * np.float32(side) - np.float32(kink), 0)
        lift = np.float32(slope) * past * past / (past + 3)
        return x, y - np.float32(np.cos(angle)) * lift, z - np.float32(np.sin(angle)) * lift

    return Defect(np.array([side * 46.0, 0, 0]), 34.0, warp=warp)


MAKERS: dict[str, Callable[[Frame, Rng, float], Defect]] = {
    "bent": bent,
    "bulge": bulge,
    "colour": colour,
    "contamination": contamination,
    "crack": crack,
    "cut": cut,
    "hole": hole,
    "thread": thread,
}
