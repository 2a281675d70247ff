"""What the instrument makes of a true scene: noise, missing measurements, shading. Depths in millimetres.

The figures follow the real cable gland: on the table 38 to 52 % of the pixels have no measurement, in a 2x2 pattern,
and the rest wander by 0.5 mm in patches; the object misses about 5 %, most of it at edges and in the blind spot of the
second viewpoint, and its noise is 5 to 20 micrometres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy import ndarray as Array

BASELINE = 75.0  # mm to the second viewpoint, along the rows
LIGHT = 160.0  # mm to the lamp, along the columns
TABLE_MISSING = ((0.17, 0.31), (0.37, 0.80))  # share by row and column parity


@dataclass(frozen=True)
class Scene:
    """The truth: depth (h, w) mm; albedo (3, h, w); normal (3, h, w) towards the camera; on (h, w): on the object."""

    depth: Array
    albedo: Array
    normal: Array
    on: Array
    view: Array  # (3, h, w) unit vector towards the camera
    gloss: float
    shine: float


@dataclass(frozen=True)
class Noise:
    """All random numbers of one exposure, drawn beforehand: a scan and its defect-free twin use the same."""

    fine: Array  # (h, w) normal
    smooth: Array  # (h, w) normal, correlated over a few pixels
    wide: Array  # (h, w) normal, correlated over many
    chance: Array  # (h, w) uniform
    colour: Array  # (3, h, w) normal
    exposure: float
    dark: float  # how much of the table fails beyond the usual

    @classmethod
    def draw(cls, rng: np.random.Generator, shape: tuple[int, int]) -> Noise:
        """Noise for a picture of `shape` (h, w)."""
        from scipy.ndimage import gaussian_filter

        def field(sigma):
            values = gaussian_filter(rng.standard_normal(shape, np.float32), sigma, mode="wrap")
            return values / values.std()

        return cls(
            fine=rng.standard_normal(shape, np.float32),
            smooth=field(1.2),
            wide=field(5.0),
            chance=rng.random(shape, np.float32),
            colour=rng.standard_normal((3, *shape), np.float32),
            exposure=float(np.exp(rng.normal(0, 0.07))),
            dark=float(rng.uniform(0.85, 1.2)),
        )


def hidden(depth: Array, *, shift: float, margin: float) -> Array:
    """(h, w) bool: the surface in front blocks the way from the pixel to a viewpoint beside the camera.

    `shift` is focal length times the viewpoint's offset along the columns index (pixels x mm): seen from there, a pixel
    moves by `shift / depth`. Where the order of pixels in a row is broken, something stands before them.
    """
    place = np.arange(depth.shape[1], dtype=np.float32) - np.float32(shift) / depth
    if shift < 0:
        front = np.maximum.accumulate(place, axis=1)
        return place < front - margin
    front = np.minimum.accumulate(place[:, ::-1], axis=1)[:, ::-1]
    return place > front + margin


def measured(scene: Scene, noise: Noise, *, focal: float) -> Array:
    """(h, w) float32 depth as measured, 0 where the instrument has nothing."""
    from scipy.ndimage import maximum_filter, minimum_filter

    facing = np.clip((scene.normal * scene.view).sum(0), 0.02, 1)
    steep = 1 / facing
    object_error = 0.012 * noise.fine + 0.018 * noise.smooth + 0.012 * noise.wide
    table_error = 0.08 * noise.fine + 0.34 * noise.smooth + 0.40 * noise.wide
    error = np.where(scene.on, object_error * np.minimum(steep, 6), table_error)

    pitch = scene.depth.mean() / focal
    jump = maximum_filter(scene.depth, 3) - minimum_filter(scene.depth, 3)
    brightness = scene.albedo.mean(0)
    fails = 0.003 + 0.75 * np.clip((steep - 3.6) / 3.5, 0, 1)
    fails += 0.10 * np.clip((0.09 - brightness) / 0.09, 0, 1)  # too dark to see the pattern
    fails = np.where(jump > 3.0 + 6 * pitch, 0.7, fails)  # the matching window straddles an edge
    h, w = scene.depth.shape
    parity = np.tile(np.asarray(TABLE_MISSING, np.float32), (h // 2 + 1, w // 2 + 1))[:h, :w]
    across = np.linspace(1.12, 0.92, h, dtype=np.float32)[:, None]  # farther off at the top
    fails = np.where(scene.on, fails, np.maximum(parity * across * noise.dark, np.where(jump > 2 + 5 * pitch, 0.97, 0)))
    lost = noise.chance < fails
    lost |= hidden(scene.depth, shift=focal * BASELINE, margin=1.0)
    return np.where(lost, 0, scene.depth + error).astype(np.float32)


def shaded(scene: Scene, noise: Noise, *, focal: float) -> Array:
    """(h, w, 3) uint8 picture: diffuse lamp with a soft cast shadow, ambient light with occlusion, highlight, noise."""
    from scipy.ndimage import gaussian_filter

    pitch = scene.depth.mean() / focal
    lamp = np.array([-0.25, -0.55, -0.8], np.float32)
    lamp /= np.linalg.norm(lamp)
    diffuse = np.clip((lamp[:, None, None] * scene.normal).sum(0), 0, 1)
    shade = hidden(np.ascontiguousarray(scene.depth.T), shift=-focal * LIGHT, margin=0.5).T
    shade = gaussian_filter(shade.astype(np.float32), 1.2 / pitch * 0.4)
    hollow = sum(np.clip(scene.depth - gaussian_filter(scene.depth, s / pitch), 0, 4 * s) / s for s in (1.2, 3.0))
    open_sky = 1 / (1 + 1.1 * hollow)
    half = lamp[:, None, None] + scene.view
    half /= np.sqrt((half * half).sum(0))
    highlight = scene.gloss * np.clip((half * scene.normal).sum(0), 0, 1) ** np.float32(scene.shine)
    light = 0.72 * diffuse * (1 - 0.75 * shade) + 0.30 * open_sky
    rgb = scene.albedo * light + np.where(scene.on, highlight * (1 - 0.8 * shade) * open_sky * 0.5, 0)
    rgb = np.stack([gaussian_filter(c, 0.55) for c in rgb * np.float32(noise.exposure)])
    rgb = np.clip(rgb, 0, 1) ** np.float32(1 / 1.8) * 235 + 2
    rgb = rgb + noise.colour * (0.9 + 0.006 * rgb)
    return np.ascontiguousarray(np.clip(np.rint(rgb), 0, 255).astype(np.uint8).transpose(1, 2, 0))
