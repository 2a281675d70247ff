"""A scan's surface for the page's 3D view: quantised points of the pixel grid, a few hundred kB at most.

The page's script (`assets/view3d.js`) reads the same bytes, little-endian:

    uint16 width, height     the grid that is left
    float32 gap              longest edge of a triangle, in steps of the positions
    float32 size             extent of 65535 steps, metres
    bits (h*w)               which cells hold a point, row by row, padded to an even number of bytes
    uint16 (n,3)             positions, in steps
    uint8 (n)                score, 0 to 255 along the colour bar
    uint8 (n,3)              colour
    uint8 (n)                1 on the rim of the true defect
"""

import math
import struct
from base64 import b64encode

import numpy as np

MOST_POINTS = 22_000  # 11 bytes each: a third of a megabyte a scan, as the page's text has it
GREY = 190


def surface_text(points: np.ndarray, share: np.ndarray, rgb: np.ndarray | None, rim: np.ndarray) -> str:
    """`surface_bytes` in base64."""
    return b64encode(surface_bytes(points, share, rgb, rim)).decode("ascii")


def surface_bytes(
    points: np.ndarray,
    share: np.ndarray,
    rgb: np.ndarray | None,
    rim: np.ndarray,
    *,
    most: int = MOST_POINTS,
) -> bytes:
    """Quantise a scan.

    Args:
        points: (h,w,3) float, metres; 0 or NaN where nothing is to be shown.
        share: (h,w) float in [0,1], where on the colour bar a pixel's score is.
        rgb: (h,w,3) uint8, or None: grey.
        rim: (h,w) bool, the rim of the true defect.
        most: points kept; of a finer scan every second, third, ... row and column.
    """
    valid = np.isfinite(points).all(axis=2) & (points != 0).any(axis=2)
    valid &= _inliers(points, valid)
    if not valid.any():
        return b""
    step = max(1, math.ceil(math.sqrt(valid.sum() / most)))
    rows, columns = (np.flatnonzero(valid.any(axis=axis)) for axis in (1, 0))
    cut = np.s_[rows[0] : rows[-1] + 1 : step, columns[0] : columns[-1] + 1 : step]
    rim = _widened(rim, step)
    points, share, valid, rim = points[cut].astype(np.float64), share[cut], valid[cut], rim[cut]
    colour = np.full((*valid.shape, 3), GREY, np.uint8) if rgb is None else rgb[cut]
    low = points[valid].min(axis=0)
    size = max(float(np.ptp(points[valid], axis=0).max()), 1e-9)
    steps = np.clip(np.round((points - low) / size * 65535), 0, 65535)
    gap = 8 * _spacing(steps, valid)
    bits = np.packbits(valid).tobytes()
    return b"".join(
        (
            struct.pack("<HHff", valid.shape[1], valid.shape[0], gap, size),
            bits + b"\0" * (len(bits) % 2),
            steps[valid].astype("<u2").tobytes(),
            (np.clip(share[valid], 0, 1) * 255).round().astype(np.uint8).tobytes(),
            np.ascontiguousarray(colour[valid], dtype=np.uint8).tobytes(),
            rim[valid].astype(np.uint8).tobytes(),
        )
    )


def _inliers(points: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Not the few flying points that would make all the rest small: (h,w) bool."""
    if not valid.any():
        return valid
    with np.errstate(invalid="ignore"):
        distance = np.linalg.norm(points - np.median(points[valid], axis=0), axis=2)
        return distance <= 1.5 * np.quantile(distance[valid], 0.99) + 1e-9


def _spacing(steps: np.ndarray, valid: np.ndarray) -> float:
    """Median distance of neighbours in a row."""
    both = valid[:, 1:] & valid[:, :-1]
    if not both.any():
        return 65535.0
    return float(np.median(np.linalg.norm(steps[:, 1:] - steps[:, :-1], axis=2)[both])) or 1.0


def _widened(mask: np.ndarray, step: int) -> np.ndarray:
    """A thin line, wide enough to survive when only every `step`-th pixel is kept."""
    if step == 1:
        return mask
    from scipy.ndimage import maximum_filter

    return maximum_filter(mask, size=step)
