"""Pseudo anomalies in whole scans, in geometry and appearance together: what `ThreeDZALPlus` learns from.

As in section 3.2 there are two kinds, *adding* and *removing*, and what is added comes from task-irrelevant scans, at
the points that the random CNN attends to. Unlike there, a region changes in a scan and not a patch alone, and the
picture follows from the new surface (`shading.py`). Every point moves along its viewing ray, so the grid stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from threedzal.data.anomaly_forms import FORM_OF, REFERENCE_SIDE, Change, Donor, Region, noise
from threedzal.data.shading import Light, fill, fit_light, hidden_behind, reshade, smooth
from threedzal.errors import UserError

PATCH = 8  # pixels of a scan of 224 a side
SECOND_VIEW = (4.0, 10.0)  # metres that a sensor's second line of sight rises on a metre along the picture
FORMS = {"adding": ("bump", "foreign", "pasted", "stain"), "removing": ("dent", "hole", "cut", "scrape")}


@dataclass(frozen=True)
class AnomalySize:
    """How large a region is: its radius, evenly in the logarithm between two numbers, and its relief.

    Args:
        radius: in `unit`: widths of the paper's `patches` (8 pixels of 224, whatever the scan shows and however fine
            the grid), or `millimetres` on the surface.
        relief: millimetres that bumps rise and dents sink.
    """

    radius: tuple[float, float] = (0.5, 1.75)
    unit: Literal["patches", "millimetres"] = "patches"
    relief: tuple[float, float] = (1.0, 5.0)

    def __post_init__(self) -> None:
        for name in ("radius", "relief"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise UserError(f"anomaly_{name} is {[low, high]}, but wanted two numbers above 0, the smaller first")

    def pixels(self, *, scale: float, pitch: float) -> tuple[float, float]:
        """The radius in pixels, of which `scale` make one of a scan of 224 a side, `pitch` metres apart."""
        one = PATCH * scale if self.unit == "patches" else 0.001 / pitch
        return self.radius[0] * one, self.radius[1] * one


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
    size: AnomalySize | None = None,
    attention: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Insert pseudo anomalies into a normal scan.

    *Adding*: a bump, a foreign body, a piece of another scan or of another place with its relief, a stain. *Removing*:
    a dent, a hole (4 to 20 mm deep, or not measured, and dark), a cut, a scrape that takes the fine structure away.
    Regions have noisy outlines. What rises casts a shadow and hides the surface from the sensor's second viewpoint.

    Args:
        xyz: (h,w,3) float32 metres, camera at the origin, (0,0,0) without a measurement.
        rgb: (h,w,3) uint8. foreground: (h,w) bool, the object's measured pixels.
        kind: `adding` or `removing`. forms: which of `FORMS[kind]`; None: all.
        donor: where pasted pieces come from; None: another place of the scan itself.
        size: of the regions; by default radii of half a patch to 1.75 patches, 1 to 5 mm of relief.
        attention: (h,w) at least 0, how likely each pixel of the object is a region's middle; None: all alike.

    Returns:
        xyz and rgb, changed copies, and mask (h,w) bool, the pixels of the regions and those that they hide: always
        part of `foreground`.

    Raises:
        UserError: the object has no measured pixel.
    """
    if not foreground.any():
        raise UserError(
            "a scan has no measured pixel on the object, so that no pseudo anomaly can be made of it: look at it, take "
            "it out of the folder, or set background: keep"
        )
    size = size or AnomalySize()
    scale, pitch = max(foreground.shape) / REFERENCE_SIDE, pixel_pitch(xyz, foreground)
    radii = size.pixels(scale=scale, pitch=pitch)
    relief = tuple(0.001 * millimetres for millimetres in size.relief)
    light = fit_light(xyz, rgb, foreground)
    source, xyz, picture = xyz, xyz.copy(), rgb.astype(np.float64)
    mask = np.zeros(foreground.shape, dtype=bool)
    for _ in range(regions):
        form = str(rng.choice([f for f in FORMS[kind] if forms is None or f in forms]))
        inside, window = _draw_region(foreground, radii, long=form == "cut", scale=scale, rng=rng, attention=attention)
        region = _region(source, picture, foreground, inside, window, scale=scale, pitch=pitch, relief=relief)
        own = Donor(source, picture, foreground, _any_pixel(foreground, rng))
        given = donor if donor is not None and rng.random() < 0.6 else own
        change = FORM_OF[form](region, rng, given)
        mask[window] |= inside | develop(xyz, picture, foreground, window, region, change, light, rng)
    return xyz.astype(np.float32), np.clip(np.round(picture), 0, 255).astype(np.uint8), mask


def develop(
    xyz: np.ndarray,
    picture: np.ndarray,
    foreground: np.ndarray,
    window: tuple[slice, slice],
    region: Region,
    change: Change,
    light: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Bring a change of a region into the scan's points and picture, in place, under a light from about `light` (3,).

    Returns:
        The window's (h,w) bool: pixels of the object that the change hides from the light or the sensor.
    """
    shine, object = Light.drawn(light, rng), foreground[window]
    dark, lost = _hidden(region, change, shine, rng)
    picture[window] = _developed(region, change, shine, dark & object)
    xyz[window] = _moved(xyz[window], change, region.inside, lost & object)
    return (dark | lost) & object


def pixel_pitch(xyz: np.ndarray, foreground: np.ndarray) -> float:
    """Metres from one of the object's pixels to the next in its row, the median; 0.0004 where none has a neighbour."""
    both = foreground[:, 1:] & foreground[:, :-1]
    steps = np.linalg.norm(xyz[:, 1:][both] - xyz[:, :-1][both], axis=-1)
    return float(np.median(steps)) if len(steps) else 4e-4


def _any_pixel(
    foreground: np.ndarray, rng: np.random.Generator, attention: np.ndarray | None = None
) -> tuple[int, int]:
    pixels = np.flatnonzero(foreground)
    chosen = rng.random() * len(pixels)
    if attention is not None and (weight := np.cumsum(attention.ravel()[pixels], dtype=np.float64))[-1] > 0:
        chosen = np.searchsorted(weight, chosen / len(pixels) * weight[-1], side="right")
    return divmod(int(pixels[min(int(chosen), len(pixels) - 1)]), foreground.shape[1])


def _draw_region(
    foreground: np.ndarray,
    radii: tuple[float, float],
    *,
    long: bool,
    scale: float,
    rng: np.random.Generator,
    attention: np.ndarray | None = None,
) -> tuple[np.ndarray, tuple[slice, slice]]:
    """A connected region (bool, in its window) and the window: an ellipse about an object pixel, bent by noise."""
    from scipy import ndimage

    radius = float(np.exp(rng.uniform(*np.log(radii))))
    radius, aspect = (max(0.8 * radius, 5 * scale), rng.uniform(4, 10)) if long else (radius, rng.uniform(1, 2.5))
    best, best_window = None, None
    for _ in range(5):  # where the object is too narrow, the largest of five places
        centre = np.array(_any_pixel(foreground, rng, attention))
        reach = int(1.9 * radius * aspect**0.5 + 4 * scale) + 3
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


def _region(xyz, picture, foreground, inside, window, **sizes) -> Region:
    from scipy import ndimage

    depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    points = fill(xyz[window], foreground[window])
    return Region(inside, depth / depth.max(), depth, points, picture[window].copy(), **sizes)


def _hidden(region: Region, change: Change, light: Light, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (h,w) bool in the shadow that the change casts, and those that a second viewpoint no longer sees."""
    away = smooth((change.away * region.inside)[..., None], sigma=0.5 * region.scale)[..., 0]
    across = light.direction[1::-1]  # rows, columns
    length = np.linalg.norm(across)
    dark = np.zeros(away.shape, dtype=bool)
    if length > 0.05:  # a light behind the camera casts no shadow that the camera sees
        slope = abs(light.direction[2]) / length
        dark = hidden_behind(away, towards=across / length, slope=slope, pitch=region.pitch)
    side = np.array([0.0, rng.choice([-1.0, 1.0])])
    return dark, hidden_behind(away, towards=side, slope=rng.uniform(*SECOND_VIEW), pitch=region.pitch)


def _developed(region: Region, change: Change, light: Light, dark: np.ndarray) -> np.ndarray:
    """The window's picture after the change; `dark` (h,w) bool lies in the shadow of what has risen."""
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
    picture = np.where(near[..., None], seen * gain[..., None], change.colour)
    shadow = smooth(dark[..., None].astype(float), sigma=0.5 * region.scale)
    return np.clip(picture * (1 - (1 - light.ambient) * shadow), 0, 255)


def _moved(points: np.ndarray, change: Change, inside: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """The window's points (h,w,3) after the change, each on its viewing ray; (0,0,0) where `lost`."""
    distance = np.linalg.norm(points, axis=-1)
    measured = inside & (distance > 0)
    stretch = np.where(measured, 1 + change.away / np.maximum(distance, 1e-6), 1.0)
    moved = points * stretch[..., None]
    moved[lost | inside if change.lost else lost] = 0
    return moved
