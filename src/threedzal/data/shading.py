"""How a small change of a surface shows in its picture: normals before and after, under the light the scan shows.

A pseudo anomaly whose picture and points contradict each other teaches a classifier to look for the contradiction.
Here the picture follows from the points: Lambert's law with an ambient part and, where asked for, a highlight.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_LEAST_PIXELS = 50  # below that a light cannot be fitted
_INWARDS = np.array([0.0, 0.0, -1.0])  # from the object to the camera


@dataclass(frozen=True)
class Light:
    """A distant light: unit `direction (3,)` from the object to it, `ambient` share in [0, 1], and a highlight's
    `strength` (grey levels) and `sharpness` (exponent)."""

    direction: np.ndarray
    ambient: float = 0.4
    strength: float = 0.0
    sharpness: float = 20.0

    @classmethod
    def drawn(cls, direction: np.ndarray, rng: np.random.Generator, *, spread: float = 0.25) -> Light:
        """A light near `direction`; what a scan does not tell (ambient share, highlights) is drawn."""
        direction = direction + rng.normal(0, spread, 3)
        strength = rng.uniform(20, 120) if rng.random() < 0.4 else 0.0
        return cls(direction / np.linalg.norm(direction), rng.uniform(0.15, 0.6), strength, rng.uniform(10, 40))


def surface_normals(points: np.ndarray) -> np.ndarray:
    """Unit normals (h,w,3), towards the camera at the origin, of an organised surface (h,w,3) without gaps."""
    rows, columns = np.gradient(points, axis=0), np.gradient(points, axis=1)
    normals = np.cross(rows, columns)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True) + 1e-20
    return np.where((normals * points).sum(axis=-1, keepdims=True) > 0, -normals, normals)


def reshade(colour: np.ndarray, before: np.ndarray, after: np.ndarray, *, light: Light) -> np.ndarray:
    """The picture of a surface that has changed: (h,w,3) float, not clipped.

    Args:
        colour: (h,w,3) float, the picture of the surface as it was.
        before, after: (h,w,3) metres, smooth and without gaps: noise would be shaded too.
        light: what shines on it. The ratio of the two shades is kept between 0.15 and 3.
    """
    old, new = surface_normals(before), surface_normals(after)

    def shade(normals: np.ndarray) -> np.ndarray:
        return light.ambient + (1 - light.ambient) * np.clip(normals @ light.direction, 0, None)

    changed = colour * np.clip(shade(new) / np.maximum(shade(old), 0.1), 0.15, 3)[..., None]
    if not light.strength:
        return changed
    half = light.direction - before / np.linalg.norm(before, axis=-1, keepdims=True)
    half /= np.linalg.norm(half, axis=-1, keepdims=True)
    glare = [np.clip((normals * half).sum(axis=-1), 0, 1) ** light.sharpness for normals in (old, new)]
    return changed + light.strength * (glare[1] - glare[0])[..., None]


def hidden_behind(away: np.ndarray, *, towards: np.ndarray, slope: float, pitch: float) -> np.ndarray:
    """Which pixels a changed surface hides from a viewpoint, or from a light: (h,w) bool.

    A pixel is hidden where, on its way to the viewpoint, the surface stands higher than the line of sight. The surface
    as it was counts as level, so that nothing is hidden where nothing changed.

    Args:
        away: (h,w) metres, how far each pixel moved from the camera; negative towards it.
        towards: (2,) unit, rows and columns, the viewpoint's direction in the picture.
        slope: metres that the line of sight rises on a metre along the picture. pitch: metres a pixel.
    """
    hidden, rise = np.zeros(away.shape, dtype=bool), slope * pitch
    rows, columns = np.indices(away.shape)
    reach = int((away.max() - away.min()) / max(rise, 1e-9)) if away.any() else 0
    for step in range(1, min(reach, *away.shape) + 1):
        at_row, at_column = (np.rint(i + step * t).astype(int) for i, t in zip((rows, columns), towards, strict=True))
        inside = (at_row >= 0) & (at_column >= 0) & (at_row < away.shape[0]) & (at_column < away.shape[1])
        between = away[np.where(inside, at_row, 0), np.where(inside, at_column, 0)]
        hidden |= inside & (away - between > step * rise)
    return hidden


def fit_light(xyz: np.ndarray, rgb: np.ndarray, foreground: np.ndarray) -> np.ndarray:
    """Where the light of a scan comes from, unit (3,): the direction of b in grey = a + b . n, by least squares.

    Args:
        xyz: (h,w,3) metres. rgb: (h,w,3). foreground: (h,w) bool, the object's measured pixels.
    """
    from scipy import ndimage

    if foreground.sum() < _LEAST_PIXELS:
        return _INWARDS
    box = ndimage.find_objects(foreground.astype(np.uint8))[0]
    xyz, rgb, foreground = xyz[box], rgb[box], foreground[box]
    normals = surface_normals(smooth(fill(xyz, foreground), sigma=2.0))
    inner = ndimage.binary_erosion(foreground, iterations=3)
    if inner.sum() < _LEAST_PIXELS:
        return _INWARDS
    factors = np.concatenate([np.ones((int(inner.sum()), 1)), normals[inner]], axis=1)
    ridge = 1e-3 * len(factors) * np.eye(4)
    solution = np.linalg.solve(factors.T @ factors + ridge, factors.T @ rgb[inner].mean(axis=-1))
    length = np.linalg.norm(solution[1:])
    return solution[1:] / length if length > 0 else _INWARDS


def fill(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(h,w,...) float64 with unknown pixels taken from the nearest known one; as it is where none is known."""
    from scipy import ndimage

    values = values.astype(np.float64)
    if known.all() or not known.any():
        return values
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    return values[tuple(nearest)]


def smooth(values: np.ndarray, *, sigma: float) -> np.ndarray:
    """Gaussian blur of (h,w,C) along the picture; the rim is repeated."""
    from scipy import ndimage

    return ndimage.gaussian_filter(values, (sigma, sigma, 0), mode="nearest")
