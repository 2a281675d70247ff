"""Whole pseudo-anomalous scans with exact pixel truth: something to validate on where no defect may be had.

The paper chooses nothing without defects; here both kinds of its section 3.2 are inserted as whole regions into normal
scans at their own resolution. Every point moves along its viewing ray, so the grid stays organised, as a sensor's is.
"""

from typing import Literal

import numpy as np

from threedzal.data.readers.arrays import measured_pixels
from threedzal.errors import UserError

REGION_PIXELS = (20, 400)  # of a scan of 224 pixels a side; other sizes in proportion to their area
RELIEF = (0.001, 0.005)  # metres towards the camera (adding) or away from it (removing)
_REFERENCE_SIDE = 224
_LEAST_SHIFT = 0.1  # of the relief, at a region's rim, so that the truth ends where the change does


def insert_pseudo_anomalies(
    xyz: np.ndarray,
    rgb: np.ndarray | None,
    foreground: np.ndarray,
    *,
    interest: np.ndarray | None = None,
    kind: Literal["adding", "removing"],
    rng: np.random.Generator,
    colour: bool = True,
    regions: int = 1,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Insert pseudo anomalies into a normal scan.

    *Adding*: a region of the surface rises towards the camera by 1 to 5 mm, with the relief of `interest` where it is
    given, else as a smooth bump. *Removing*: the region is either not measured any more or lies 1 to 5 mm deeper.
    Regions have 20 to 400 pixels (at 224 x 224) and noisy outlines.

    Args:
        xyz: `(h, w, 3)` float32, metres, camera at the origin, `(0, 0, 0)` without a measurement.
        rgb: `(h, w, 3)` uint8, or None.
        foreground: `(h, w)` bool, the object's measured pixels; only these change.
        interest: `(m, 3)` points of interest of a task-irrelevant scan (`interest_points`).
        colour: change `rgb` too, on the same pixels: shading by the new relief and, at random, a foreign colour for
            adding; a darker ground for removing.
        regions: how many regions; they may overlap.

    Returns:
        xyz and rgb, changed copies (rgb None where it was), and mask `(h, w)` bool: the pixels whose point changed.

    Raises:
        UserError: an unknown kind, or a foreground smaller than the smallest region.
    """
    if kind not in ("adding", "removing"):
        raise UserError(f"pseudo-anomaly kinds are 'adding' and 'removing', got {kind!r}: name one of them")
    foreground = foreground & measured_pixels(xyz)
    scale = (max(foreground.shape) / _REFERENCE_SIDE) ** 2
    least = max(1, round(REGION_PIXELS[0] * scale))
    if foreground.sum() < least:
        raise UserError(
            f"the object has {int(foreground.sum())} measured pixels, fewer than the {least} of the smallest pseudo "
            "anomaly: look at the scan, take it out of the folder, or set background: keep"
        )
    original, xyz, mask = xyz, xyz.copy(), np.zeros(foreground.shape, dtype=bool)
    rgb = None if rgb is None else rgb.copy()
    for _ in range(regions):
        pixels = draw_region(foreground, scale=scale, rng=rng)  # [n, 2]
        rows, columns = pixels.T
        mask[rows, columns] = True
        points = original[rows, columns].astype(np.float64)
        height = _LEAST_SHIFT + (1 - _LEAST_SHIFT) * _profile(pixels)  # [n], up to 1
        distance = np.linalg.norm(points, axis=1)
        if kind == "adding":
            if interest is not None and rng.random() < 0.5:
                height = height * (0.3 + 0.7 * _relief(interest, pixels, rng))
            shift = -rng.uniform(*RELIEF) * np.maximum(height, _LEAST_SHIFT)
        else:
            shift = rng.uniform(*RELIEF) * np.sqrt(height)  # steep walls
        xyz[rows, columns] = points * (1 + shift / distance)[:, None]
        if kind == "removing" and rng.random() < 0.5:
            xyz[rows, columns] = 0
        if colour and rgb is not None:
            rgb[rows, columns] = _recolour(rgb[rows, columns], pixels, shift / np.abs(shift).max(), kind=kind, rng=rng)
    return xyz, rgb, mask


def draw_region(foreground: np.ndarray, *, scale: float, rng: np.random.Generator) -> np.ndarray:
    """A connected region with a noisy outline: `(n, 2)` rows and columns, all in `foreground (h, w)` bool.

    Its size is drawn between `REGION_PIXELS` times `scale`, evenly in the logarithm; it is an ellipse whose radius is
    bent by smooth noise. Where the object is too narrow for it the region is what fits, the largest of ten places.
    """
    from scipy import ndimage

    wanted = max(1, round(scale * np.exp(rng.uniform(*np.log(REGION_PIXELS)))))
    inside = np.argwhere(foreground)
    best = inside[:0]
    for _ in range(10):
        centre = inside[rng.integers(len(inside))]
        reach = int(3 * wanted**0.5) + 2
        low = np.maximum(centre - reach, 0)
        window = foreground[low[0] : centre[0] + reach + 1, low[1] : centre[1] + reach + 1]
        rows, columns = np.indices(window.shape) + low[:, None, None] - centre[:, None, None]
        angle, aspect = rng.uniform(0, np.pi), rng.uniform(1, 3)
        along = rows * np.cos(angle) + columns * np.sin(angle)
        across = columns * np.cos(angle) - rows * np.sin(angle)
        noise = ndimage.gaussian_filter(rng.normal(size=window.shape), max(1.0, 0.2 * wanted**0.5))
        radius = np.hypot(along / aspect, across) * np.exp(0.3 * noise / noise.std())
        radius[~window] = np.inf
        radius[tuple(centre - low)] = 0
        # Pixels by radius: as many as wanted, of which the piece with the centre is kept.
        reached = radius <= np.sort(radius, axis=None)[min(wanted, int(window.sum())) - 1]
        pieces, _ = ndimage.label(reached, structure=np.ones((3, 3)))
        region = np.argwhere(pieces == pieces[tuple(centre - low)]) + low
        if len(region) > len(best):
            best = region
        if len(best) >= max(0.6 * wanted, REGION_PIXELS[0] * scale):
            break
    return best


def _profile(pixels: np.ndarray) -> np.ndarray:
    """`(n,)` in (0, 1]: a smooth dome over the region, 1 farthest from its outline."""
    from scipy import ndimage

    low = pixels.min(axis=0) - 1
    window = np.zeros(pixels.max(axis=0) - low + 2, dtype=bool)
    window[tuple((pixels - low).T)] = True
    depth = ndimage.distance_transform_edt(window)[window]  # row-major, as argwhere gave the pixels
    share = depth / depth.max()
    return share * (2 - share)


def _relief(interest: np.ndarray, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`(n,)` in [0, 1]: how far the points of interest stand out of their own plane, laid over the region.

    The points are turned by a random angle in that plane and stretched to the region; a pixel takes the mean of the
    points around it by inverse squared distance.
    """
    centred = np.asarray(interest, dtype=np.float64) - np.mean(interest, axis=0)
    axes = np.linalg.svd(centred, full_matrices=False)[2]  # the last one is the plane's normal
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    plane = centred @ axes[:2].T @ turn.T  # [m, 2]
    height = centred @ axes[2]
    place = (pixels - pixels.mean(axis=0)) / max(np.abs(pixels - pixels.mean(axis=0)).max(), 1)
    plane = plane / max(np.abs(plane).max(), 1e-12)
    weight = 1 / (((place[:, None] - plane[None]) ** 2).sum(axis=-1) + 0.01)  # [n, m]
    surface = weight @ height / weight.sum(axis=1)
    return (surface - surface.min()) / max(np.ptp(surface), 1e-12)


def _recolour(
    colours: np.ndarray, pixels: np.ndarray, shift: np.ndarray, *, kind: str, rng: np.random.Generator
) -> np.ndarray:
    """`(n, 3)` uint8 of the region's pixels after the change; `shift (n,)` in [-1, 1], negative towards the camera."""
    value = colours.astype(np.float64)
    if kind == "removing":
        value *= 1 - rng.uniform(0.2, 0.7) * np.abs(shift)[:, None]  # less light reaches the ground of a hole
    else:
        if rng.random() < 0.5:  # a foreign body; otherwise the material itself bulges
            opacity = rng.uniform(0.5, 0.9)
            value = (1 - opacity) * value + opacity * (rng.uniform(30, 220, size=3) + rng.normal(0, 8, (len(value), 1)))
        light = np.array([np.cos(a := rng.uniform(0, 2 * np.pi)), np.sin(a)])
        side = (pixels - pixels.mean(axis=0)) @ light
        value *= 1 + 0.25 * np.abs(shift)[:, None] * (side / max(np.abs(side).max(), 1))[:, None]
    return np.clip(np.round(value), 0, 255).astype(np.uint8)
