"""Pseudo anomalies in whole scans, in geometry and appearance together: what `ThreeDZALPlus` learns from.

As in section 3.2 there are two kinds, *adding* and *removing*, and what is added comes from task-irrelevant scans, at
the points that the random CNN attends to. Unlike there, a region changes in a scan and not a patch alone, and the
picture follows from the new surface (`shading.py`). Every point moves along its viewing ray, so the grid stays.
"""

from __future__ import annotations

import numpy as np

from threedzal.data.anomaly_forms import FORM_OF, REFERENCE_SIDE, Change, Donor, Region, noise
from threedzal.data.shading import Light, fill, fit_light, reshade, smooth
from threedzal.errors import UserError

RADIUS = (4.0, 14.0)  # of a region, in pixels of a scan of 224 a side; other sizes in proportion
FORMS = {"adding": ("bump", "foreign", "pasted", "stain"), "removing": ("dent", "hole", "cut", "scrape")}


def insert_shaded_anomalies(
    xyz: np.ndarray,
    rgb: np.ndarray,
    foreground: np.ndarray,
    *,
    kind: str,
    rng: np.random.Generator,
    donor: Donor | None = None,
    regions: int = 1,
    forms: tuple[str, ...] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Insert pseudo anomalies into a normal scan.

    *Adding*: a bump of 1 to 5 mm, a foreign body, a piece of another scan or of another place with its relief, a
    stain. *Removing*: a dent of 1 to 5 mm, a hole (4 to 20 mm deep, or not measured, and dark), a cut, a scrape that
    takes the fine structure away. Regions have noisy outlines and radii of 4 to 14 pixels (at 224 x 224).

    Args:
        xyz: (h,w,3) float32 metres, camera at the origin, (0,0,0) without a measurement.
        rgb: (h,w,3) uint8. foreground: (h,w) bool, the object's measured pixels.
        kind: `adding` or `removing`. forms: which of `FORMS[kind]`; None: all.
        donor: where pasted pieces come from; None: another place of the scan itself.

    Returns:
        xyz and rgb, changed copies, and mask (h,w) bool, the pixels of the regions: always part of `foreground`.

    Raises:
        UserError: the object has no measured pixel.
    """
    if not foreground.any():
        raise UserError(
            "a scan has no measured pixel on the object, so that no pseudo anomaly can be made of it: look at it, take "
            "it out of the folder, or set background: keep"
        )
    scale = max(foreground.shape) / REFERENCE_SIDE
    light = fit_light(xyz, rgb, foreground)
    source, xyz, picture = xyz, xyz.copy(), rgb.astype(np.float64)
    mask = np.zeros(foreground.shape, dtype=bool)
    for _ in range(regions):
        form = str(rng.choice([f for f in FORMS[kind] if forms is None or f in forms]))
        inside, window = _draw_region(foreground, long=form == "cut", scale=scale, rng=rng)
        region = _region(source, picture, foreground, inside, window, scale=scale)
        own = Donor(source, picture, foreground, _any_pixel(foreground, rng))
        given = donor if donor is not None and rng.random() < 0.6 else own
        change = FORM_OF[form](region, rng, given)
        picture[window] = _developed(region, change, Light.drawn(light, rng))
        xyz[window] = _moved(xyz[window], change, inside)
        mask[window] |= inside
    return xyz.astype(np.float32), np.clip(np.round(picture), 0, 255).astype(np.uint8), mask


def _any_pixel(foreground: np.ndarray, rng: np.random.Generator) -> tuple[int, int]:
    pixels = np.flatnonzero(foreground)
    return divmod(int(pixels[rng.integers(len(pixels))]), foreground.shape[1])


def _draw_region(
    foreground: np.ndarray, *, long: bool, scale: float, rng: np.random.Generator
) -> tuple[np.ndarray, tuple[slice, slice]]:
    """A connected region (bool, in its window) and the window: an ellipse about an object pixel, bent by noise."""
    from scipy import ndimage

    radius = float(np.exp(rng.uniform(*np.log(RADIUS)))) * scale
    radius, aspect = (max(0.8 * radius, 5 * scale), rng.uniform(4, 10)) if long else (radius, rng.uniform(1, 2.5))
    best, best_window = None, None
    for _ in range(5):  # where the object is too narrow, the largest of five places
        centre = np.array(_any_pixel(foreground, rng))
        reach = int(1.9 * radius * aspect**0.5) + 3
        low, high = np.maximum(centre - reach, 0), np.minimum(centre + reach + 1, foreground.shape)
        window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        rows, columns = np.indices(tuple(high - low)) + (low - centre)[:, None, None]
        angle = rng.uniform(0, np.pi)
        along = (rows * np.cos(angle) + columns * np.sin(angle)) / aspect**0.5
        across = (columns * np.cos(angle) - rows * np.sin(angle)) * aspect**0.5
        distance = np.hypot(along, across) * np.exp(0.3 * noise(rows.shape, max(1.0, 0.3 * radius), rng))
        middle = tuple(centre - low)
        distance[middle] = 0
        pieces, _ = ndimage.label((distance < radius) & foreground[window], np.ones((3, 3)))
        inside = pieces == pieces[middle]
        if best is None or inside.sum() > best.sum():
            best, best_window = inside, window
        if best.sum() >= 0.5 * np.pi * radius**2:
            break
    return best, best_window


def _region(xyz, picture, foreground, inside, window, *, scale: float) -> Region:
    from scipy import ndimage

    depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    points = fill(xyz[window], foreground[window])
    pitch = float(np.median(np.linalg.norm(np.diff(points, axis=1), axis=-1))) if points.shape[1] > 1 else 1e-4
    return Region(inside, depth / depth.max(), depth, points, picture[window].copy(), scale, pitch)


def _developed(region: Region, change: Change, light: Light) -> np.ndarray:
    """The window's picture after the change."""
    from scipy import ndimage

    before = smooth(region.points, sigma=1.5 * region.scale)
    shaded = change.away if change.reshaded is None else change.reshaded
    shaded = smooth(shaded[..., None], sigma=0.7 * region.scale)
    after = before + shaded * before / np.maximum(np.linalg.norm(before, axis=-1, keepdims=True), 1e-6)
    near = ndimage.binary_dilation(region.inside, iterations=max(1, int(region.scale)))
    seen = change.colour
    if shaded.any():
        seen = reshade(change.colour, before, after, light=light)
    gain = np.broadcast_to(change.gain, near.shape)
    return np.clip(np.where(near[..., None], seen * gain[..., None], change.colour), 0, 255)


def _moved(points: np.ndarray, change: Change, inside: np.ndarray) -> np.ndarray:
    """The window's points (h,w,3) after the change, each on its viewing ray."""
    distance = np.linalg.norm(points, axis=-1)
    measured = inside & (distance > 0)
    stretch = np.where(measured, 1 + change.away / np.maximum(distance, 1e-6), 1.0)
    moved = points * stretch[..., None]
    if change.lost:
        moved[inside] = 0
    return moved
