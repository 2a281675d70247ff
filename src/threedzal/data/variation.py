"""A training scan as it might have been, too: laid otherwise, under another light, seen by another sensor.

What a product that nobody has seen shares with those that are learned is none of these, so that a classifier must not
lean on them. Each function draws one, on the scan as it is on disk, before it is prepared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from threedzal.data.anomaly_forms import REFERENCE_SIDE, noise

NOISE = (5e-6, 3e-4)  # metres, standard deviation: from a fine scanner's to a consumer camera's
VARIATIONS = ("pose", "light", "sensor")


@dataclass(frozen=True)
class RawScan:
    """xyz (h,w,3) float32 metres, (0,0,0) without a measurement; rgb (h,w,3) uint8 or None; foreground (h,w) bool or
    None; mask (h,w) bool."""

    xyz: np.ndarray
    rgb: np.ndarray | None
    foreground: np.ndarray | None
    mask: np.ndarray


def vary(scan: RawScan, kinds: tuple[str, ...], rng: np.random.Generator) -> RawScan:
    """One draw of each of `kinds`, some of `VARIATIONS`."""
    for kind in kinds:
        scan = _OF[kind](scan, rng)
    return scan


def pose(scan: RawScan, rng: np.random.Generator) -> RawScan:
    """A quarter turn about the camera's axis, or none, and a mirroring, or none: one of eight, the points with it."""
    quarters, mirror = int(rng.integers(4)), bool(rng.integers(2))

    def turned(image: np.ndarray | None) -> np.ndarray | None:
        if image is None:
            return None
        image = np.rot90(image, quarters)
        return np.ascontiguousarray(image[:, ::-1] if mirror else image)

    x, y, z = np.moveaxis(turned(scan.xyz), -1, 0)
    for _ in range(quarters):
        x, y = y, -x
    xyz = np.stack([-x if mirror else x, y, z], axis=-1)
    return RawScan(xyz, turned(scan.rgb), turned(scan.foreground), turned(scan.mask))


def light(scan: RawScan, rng: np.random.Generator) -> RawScan:
    """Another exposure, contrast, saturation, tint and sharpness of the picture, and noise in it."""
    if scan.rgb is None:
        return scan
    from scipy import ndimage

    value = (scan.rgb / np.float32(255) + 1e-4) ** np.exp(rng.normal(0, 0.25)) * np.exp(rng.normal(0, 0.2))
    grey = value.mean(axis=-1, keepdims=True)
    value = (grey + (value - grey) * rng.uniform(0, 1.2)) * np.exp(rng.normal(0, 0.08, 3))
    if rng.random() < 0.3:
        sigma = rng.uniform(0.2, 0.7) * max(grey.shape) / REFERENCE_SIDE
        value = ndimage.gaussian_filter(value, (sigma, sigma, 0))
    value = value + rng.normal(0, rng.uniform(0, 0.025), value.shape)
    return replace(scan, rgb=np.clip(np.rint(255 * value), 0, 255).astype(np.uint8))


def sensor(scan: RawScan, rng: np.random.Generator) -> RawScan:
    """Noise along the viewing rays, fine or in patches, and points that were not measured: single ones, along edges of
    what is measured, and in half of the draws in patches. What is lost is object all the same."""
    from scipy import ndimage

    shape, scale = scan.xyz.shape[:2], max(scan.xyz.shape) / REFERENCE_SIDE
    distance = np.linalg.norm(scan.xyz, axis=-1)
    measured = distance > 0
    grain = noise(shape, rng.uniform(0, 2.5) * scale, rng)
    error = np.exp(rng.uniform(*np.log(NOISE))) * grain
    edge = measured & ndimage.binary_dilation(~measured)
    lost = rng.random(shape) < np.where(edge, rng.uniform(0, 0.6), rng.uniform(0, 0.03))
    if rng.random() < 0.5:
        patches = noise(shape, rng.uniform(1, 4) * scale, rng)
        lost |= patches > np.quantile(patches, 1 - rng.uniform(0, 0.03))
    xyz = scan.xyz * (1 + error / np.maximum(distance, 1e-6))[..., None]
    return replace(scan, xyz=np.where((measured & ~lost)[..., None], xyz, 0).astype(np.float32))


_OF: dict[str, Callable[[RawScan, np.random.Generator], RawScan]] = {"pose": pose, "light": light, "sensor": sensor}
