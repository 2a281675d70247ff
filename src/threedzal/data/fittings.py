"""What a part has once and is no defect: bosses, recesses, ribs, bands, ends of another material, print.

Most generated and natural products are alike all over, so that a classifier learns that what is alone is a defect. A
manufactured part has places that are alone and right; they are regular, which defects are not. Fittings are put into a
training scan before its pseudo anomalies, with the same light, shadows and viewing rays, and count as normal.
"""

from __future__ import annotations

import numpy as np

from threedzal.data.anomaly_forms import REFERENCE_SIDE, Change, Region, noise
from threedzal.data.scan_anomalies import PATCH, develop, pixel_pitch
from threedzal.data.shading import fill, fit_light, smooth

RADIUS = (0.75, 5.0)  # patches
RELIEF = (2e-4, 4e-3)  # metres
FORMS = ("round", "polygon", "band", "side", "row")


def insert_fittings(
    xyz: np.ndarray, rgb: np.ndarray, foreground: np.ndarray, rng: np.random.Generator, *, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """None to `most` fittings on the object.

    Args:
        xyz: (h,w,3) float32 metres, camera at the origin, (0,0,0) without a measurement. rgb: (h,w,3) uint8.
        foreground: (h,w) bool, the object's measured pixels: what lies outside stays as it is.

    Returns:
        Changed copies of xyz and rgb.
    """
    count = int(rng.integers(most + 1))
    if not count or not foreground.any():
        return xyz, rgb
    scale, pitch = max(foreground.shape) / REFERENCE_SIDE, pixel_pitch(xyz, foreground)
    light = fit_light(xyz, rgb, foreground)
    xyz, picture, pixels = xyz.copy(), rgb.astype(np.float64), np.argwhere(foreground)
    low, high = pixels.min(axis=0), pixels.max(axis=0) + 1
    window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    for _ in range(count):
        centre = pixels[rng.integers(len(pixels))] - low
        form = str(rng.choice(FORMS))
        depth = outline(tuple(high - low), centre, form=form, scale=scale, rng=rng)
        if form != "side" and rng.random() < 0.3:  # its rim alone
            half = max(depth.max(), scale)
            depth = max(rng.uniform(0.1, 0.3) * half, 2 * scale) - np.abs(depth - 0.3 * half)
        inside = (depth > 0) & foreground[window]
        if not inside.any():
            continue
        points = fill(xyz[window], foreground[window])
        share = np.clip(depth / depth.max(), 0, 1)
        region = Region(inside, share, depth, points, picture[window].copy(), scale=scale, pitch=pitch)
        develop(xyz, picture, foreground, window, region, _fitting(region, rng), light, rng)
    picture[~foreground] = rgb[~foreground]
    return xyz.astype(np.float32), np.clip(np.round(picture), 0, 255).astype(np.uint8)


def outline(
    shape: tuple[int, int], centre: np.ndarray, *, form: str, scale: float, rng: np.random.Generator
) -> np.ndarray:
    """(h,w) pixels from a regular outline about `centre` (2,), above 0 within.

    Args:
        form: a `round` or `polygon`, a `band` across the picture, one `side` of a line, a `row` of round ones.
        scale: pixels for one of a scan of 224 a side.
    """
    rows, columns = np.indices(shape) - np.asarray(centre)[:, None, None]
    angle = rng.uniform(0, 2 * np.pi)
    along, across = rows * np.cos(angle) + columns * np.sin(angle), columns * np.cos(angle) - rows * np.sin(angle)
    radius = PATCH * scale * float(np.exp(rng.uniform(*np.log(RADIUS))))
    if form == "side":
        return along
    if form == "row":  # as print, or perforation
        radius = min(radius, 1.5 * PATCH * scale)
        step = rng.uniform(2.2, 3.5) * radius
        along = along - step * np.clip(np.rint(along / step), -rng.integers(1, 4), rng.integers(1, 4))
    across = across * rng.uniform(1, 2)
    if form == "band":
        depth = max(0.5 * radius, 3 * scale) - np.abs(along)
    elif form == "polygon":
        turns = 2 * np.pi * np.arange(corners := int(rng.integers(3, 9))) / corners
        depth = np.min([radius - along * np.cos(turn) - across * np.sin(turn) for turn in turns], axis=0)
    else:
        depth = radius - np.hypot(along, across)
    return depth


def _fitting(region: Region, rng: np.random.Generator) -> Change:
    """Raised, sunk or level; a step, a dome or ridges; of the part's material or of another."""
    inside, depth = region.inside, region.depth
    profile = np.clip(depth / (rng.uniform(1, 4) * region.scale), 0, 1)
    if rng.random() < 0.25:
        profile = np.sqrt(np.clip(region.share, 0, 1))
    away = rng.choice([-1.0, -1.0, 0.0, 1.0]) * np.exp(rng.uniform(*np.log(RELIEF))) * profile
    if rng.random() < 0.25:  # knurled, threaded
        rows, columns = np.indices(inside.shape)
        angle, period = rng.uniform(0, np.pi), rng.uniform(3, 10) * region.scale
        wave = np.sin(2 * np.pi * (rows * np.cos(angle) + columns * np.sin(angle)) / period)
        away = away + rng.uniform(0.05, 0.2) * period * region.pitch * wave * profile
    colour = region.colour
    if rng.random() < 0.6:
        own = colour[inside].mean(axis=0)
        body = rng.uniform(15, 235, 3) if rng.random() < 0.4 else np.clip(own * rng.uniform(0.4, 1.8), 5, 245)
        shade = smooth(colour, sigma=3 * region.scale) if rng.random() < 0.5 else colour
        grain = 1 + rng.uniform(0, 0.1) * noise(inside.shape, rng.uniform(0.5, 3) * region.scale, rng)[..., None]
        plain = shade.mean(axis=-1, keepdims=True) / max(own.mean(), 1) * body * grain
        colour = (1 - region.blend) * colour + region.blend * plain
    return Change(away * inside, colour)
