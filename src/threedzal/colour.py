"""Numbers to colours, in plain numpy: anomaly maps, depth, and outlines, the same wherever a picture is made."""

from collections.abc import Sequence

import numpy as np

# evenly spaced colours, after matplotlib's "inferno" and a cool grey: a picture needs no plotting library
HEAT = np.array(
    [
        (0, 0, 4),
        (31, 12, 72),
        (85, 15, 109),
        (136, 34, 106),
        (186, 54, 85),
        (227, 89, 51),
        (249, 140, 10),
        (249, 201, 50),
        (252, 255, 164),
    ],
    dtype=np.float32,
)
DEPTH = np.array([(228, 238, 240), (139, 181, 190), (66, 112, 140), (43, 58, 96), (24, 24, 46)], dtype=np.float32)
NO_MEASUREMENT = (16, 18, 24)
OUTLINE = (0, 255, 208)  # no colour of HEAT comes near it


def map_limits(maps: Sequence[np.ndarray]) -> tuple[float, float]:
    """Value range (low, high) of one colour scale for all `maps`, arrays (h,w) of one class.

    Low is the median of all values above zero: most of an object is normal and should stay dark. High is the 95th
    percentile of the maps' maxima: one scan with an extreme value must not darken all the others.
    """
    maps = [np.asarray(one, dtype=np.float32) for one in maps]
    maps = [np.where(np.isfinite(one), one, 0.0) for one in maps if one.size]
    positive = [one[one > 0] for one in (one.ravel()[:: max(1, one.size // 20_000)] for one in maps)]  # enough to rank
    positive = np.concatenate(positive) if positive else np.empty(0)
    if not positive.size:
        return 0.0, 1.0
    low = float(np.median(positive))
    high = float(np.percentile([one.max() for one in maps], 95))
    return (low, high) if high > low else (0.0, max(high, np.finfo(np.float32).tiny))


def scaled(values: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """(h,w) float -> (h,w) float32 in [0,1]; values that are not finite become 0."""
    low, high = limits
    return np.clip(np.nan_to_num((np.asarray(values, np.float32) - low) / (high - low), nan=0.0), 0.0, 1.0)


def ramp(share: np.ndarray, colours: np.ndarray = HEAT) -> np.ndarray:
    """(h,w) in [0,1] -> (h,w,3) uint8 along `colours` (n,3), in 256 steps."""
    steps, stops = np.linspace(0, 1, 256), np.linspace(0, 1, len(colours))
    table = np.stack([np.interp(steps, stops, colours[:, c]) for c in range(3)], axis=-1).round().astype(np.uint8)
    return table[(share * 255).round().astype(np.uint8)]


def depth_picture(depth: np.ndarray) -> np.ndarray:
    """(h,w) float metres, NaN or 0 without a measurement -> (h,w,3) uint8, near is light, unmeasured nearly black."""
    measured = np.isfinite(depth) & (depth != 0)
    picture = np.full((*depth.shape, 3), NO_MEASUREMENT, dtype=np.uint8)
    if measured.any():
        low, high = np.percentile(depth[measured], (1, 99))
        share = scaled(depth, (low, max(high, low + 1e-6)))
        picture[measured] = ramp(share, DEPTH)[measured]
    return picture


def heat_layer(values: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """The map (h,w) as colours with opacity, (h,w,4) uint8: the higher the value, the less is seen of what is below."""
    share = scaled(values, limits)
    opacity = (0.2 + 0.7 * share**0.6)[..., None]
    return np.concatenate([ramp(share), (opacity * 255).round().astype(np.uint8)], axis=2)


def heat_overlay(values: np.ndarray, base: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """`heat_layer` laid over `base` (h,w,3) uint8."""
    layer = heat_layer(values, limits).astype(np.float32)
    opacity = layer[..., 3:] / 255
    return (base * (1 - opacity) + layer[..., :3] * opacity + np.float32(0.5)).astype(np.uint8)


def outline(mask: np.ndarray, *, thickness: int | None = None) -> np.ndarray:
    """(h,w) bool -> (h,w) bool, the rim inside the mask; by default one pixel per 200 of the shorter side."""
    inner = np.asarray(mask, bool)
    for _ in range(thickness or max(1, round(min(inner.shape) / 200))):
        padded = np.pad(inner, 1, mode="edge")
        inner = inner & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner


def draw_outline(picture: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int] = OUTLINE) -> np.ndarray:
    """A copy of `picture` (h,w,3) uint8 with the rim of `mask` (h,w) bool drawn in `colour`."""
    drawn = picture.copy()
    drawn[outline(mask)] = colour
    return drawn
