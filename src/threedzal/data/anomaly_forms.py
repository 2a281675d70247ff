"""The forms that a pseudo anomaly in a scan can take: how points and picture of a region change.

Each is a function of the region, of random numbers and of a donor, and returns a `Change`; `scan_anomalies.py` brings
it into the scan.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from threedzal.data.shading import fill, smooth

DEPTH = (0.004, 0.020)  # metres, of holes
REFERENCE_SIDE = 224


@dataclass(frozen=True)
class Donor:
    """A task-irrelevant scan and the pixel of it that the random CNN attends to."""

    xyz: np.ndarray  # (h,w,3) metres
    rgb: np.ndarray  # (h,w,3) uint8
    foreground: np.ndarray  # (h,w) bool
    place: tuple[int, int]


@dataclass
class Change:
    """What happens in a region's window (h,w): `away` metres along the ray; colour (h,w,3) before it is shaded."""

    away: np.ndarray
    colour: np.ndarray
    gain: np.ndarray | float = 1.0
    reshaded: np.ndarray | None = None  # the part of `away` that is shaded; None: all of it
    lost: bool = False  # no measurement is left


@dataclass
class Region:
    """A window of the scan with the region in it."""

    inside: np.ndarray  # (h,w) bool
    share: np.ndarray  # (h,w) in [0,1]: how far from the outline, 1 farthest
    depth: np.ndarray  # (h,w) pixels from the outline
    points: np.ndarray  # (h,w,3) metres, without gaps
    colour: np.ndarray  # (h,w,3) float
    scale: float  # pixels for one of a scan of 224 a side
    pitch: float  # metres from pixel to pixel
    relief: tuple[float, float] = (0.001, 0.005)  # metres, of bumps and dents

    @property
    def blend(self) -> np.ndarray:
        """(h,w,1): the region with a soft rim, as a camera sees an edge."""
        return smooth(self.inside[..., None].astype(float), sigma=0.5 * self.scale)


def noise(shape: tuple[int, ...], sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Smooth Gaussian noise of standard deviation 1; `sigma` pixels is its grain."""
    from scipy import ndimage

    values = ndimage.gaussian_filter(rng.normal(size=shape), sigma)
    return values / max(values.std(), 1e-9)


def _height(region: Region, rng: np.random.Generator) -> np.ndarray:
    """(h,w) metres, 0 at the outline: a dome or a plateau with steep walls, no higher than its width allows."""
    height = min(rng.uniform(*region.relief), 0.8 * region.depth.max() * region.pitch + 0.0005)
    dome = region.share * (2 - region.share)
    plateau = np.minimum(1, region.depth / (rng.uniform(1, 3) * region.scale))
    return height * (dome if rng.random() < 0.5 else plateau)


def _rough(region: Region, rng: np.random.Generator) -> np.ndarray:
    """(h,w) metres: a broken surface, in half of the draws."""
    if rng.random() < 0.5:
        return np.zeros(region.inside.shape)
    height = rng.uniform(0.1, 1.0) * region.pitch * region.scale
    return height * noise(region.inside.shape, rng.uniform(0.7, 2) * region.scale, rng) * region.inside


def _bump(region: Region, rng: np.random.Generator, donor: Donor) -> Change:
    return Change(_rough(region, rng) - _height(region, rng), region.colour)


def _foreign(region: Region, rng: np.random.Generator, donor: Donor) -> Change:
    """A body of another colour, high or flat."""
    own = region.colour[region.inside].mean(axis=0)
    body = rng.uniform(20, 230, 3) if rng.random() < 0.5 else np.clip(own * rng.uniform(0.4, 1.8), 5, 245)
    grain = noise(region.inside.shape, rng.uniform(0.5, 3) * region.scale, rng)[..., None]
    cover = rng.uniform(0.5, 1) * region.blend
    colour = (1 - cover) * region.colour + cover * body * (1 + rng.uniform(0, 0.25) * grain)
    return Change(_rough(region, rng) - rng.choice([0.3, 1.0]) * _height(region, rng), colour)


def _pasted(region: Region, rng: np.random.Generator, donor: Donor) -> Change:
    """A piece of the donor about the pixel that is attended to, turned and stretched, with its relief."""
    shape = region.inside.shape
    angle = rng.uniform(0, 2 * np.pi)
    stretch = rng.uniform(0.6, 1.5) * max(donor.foreground.shape) / (REFERENCE_SIDE * region.scale)
    rows, columns = np.indices(shape) - np.array(shape)[:, None, None] / 2
    at_row = donor.place[0] + stretch * (rows * np.cos(angle) - columns * np.sin(angle))
    at_column = donor.place[1] + stretch * (rows * np.sin(angle) + columns * np.cos(angle))
    height, width = donor.foreground.shape
    at = np.clip(np.rint(at_row), 0, height - 1).astype(int), np.clip(np.rint(at_column), 0, width - 1).astype(int)
    known = donor.foreground[at]
    piece, own = fill(donor.rgb[at], known), region.colour[region.inside]
    if rng.random() < 0.7:  # as bright as what it replaces
        piece = piece * own.mean() / max(piece[region.inside].mean(), 1)
    if rng.random() < 0.4:  # and of its hue
        piece = piece.mean(axis=-1, keepdims=True) * own.mean(axis=0) / max(own.mean(), 1)
    colour = (1 - region.blend) * region.colour + region.blend * piece
    distance = fill(np.linalg.norm(donor.xyz, axis=-1)[at], known)[..., None]
    relief = np.clip(distance - smooth(distance, sigma=6 * region.scale), -0.004, 0.004)[..., 0]
    raised = _height(region, rng) * rng.uniform(0, 0.5) if rng.random() < 0.5 else 0.0
    return Change(relief * np.minimum(1, 3 * region.share) - raised, colour)


def _stain(region: Region, rng: np.random.Generator, donor: Donor) -> Change:
    """Another colour on the same surface."""
    shade = rng.uniform(0.3, 0.75) if rng.random() < 0.6 else rng.uniform(1.3, 2.2)
    tint = np.exp(rng.normal(0, 0.3 if rng.random() < 0.5 else 0.05, 3))
    cloud = np.exp(rng.uniform(0, 0.5) * noise(region.inside.shape, rng.uniform(0.5, 4) * region.scale, rng))
    colour = region.colour * (1 + region.blend * (shade * tint * cloud[..., None] - 1))
    return Change(np.zeros(region.inside.shape), colour)


def _dent(region: Region, rng: np.random.Generator, donor: Donor) -> Change:
    height = _height(region, rng)
    away = height + _rough(region, rng)
    return Change(away, region.colour, gain=1 - rng.uniform(0, 0.4) * height / max(height.max(), 1e-9))


def _hole(region: Region, rng: np.random.Generator, donor: Donor) -> Change:
    """Steep, and darker than shading makes it: its ground is in shadow."""
    away = rng.uniform(*DEPTH) * np.minimum(1, region.depth / (rng.uniform(1, 2.5) * region.scale))
    gain = 1 - rng.uniform(0.5, 0.97) * np.minimum(1, region.depth / (rng.uniform(0.7, 3) * region.scale))
    return Change(away, region.colour, gain, reshaded=0.1 * away, lost=rng.random() < 0.5)


def _cut(region: Region, rng: np.random.Generator, donor: Donor) -> Change:
    height = _height(region, rng)
    height *= rng.uniform(0.0007, 0.003) / max(height.max(), 1e-9)
    gain = 1 - rng.uniform(0.1, 0.8) * height / max(height.max(), 1e-9)
    return Change(height + _rough(region, rng), region.colour, gain)


def _scrape(region: Region, rng: np.random.Generator, donor: Donor) -> Change:
    """Fine structure gone, from the points and the picture alike; a new roughness at times."""
    sigma = rng.uniform(2, 5) * region.scale
    flat = np.linalg.norm(smooth(region.points, sigma=sigma), axis=-1) - np.linalg.norm(region.points, axis=-1)
    rough = _rough(region, rng)
    sunk = 0.5 * _height(region, rng) if rng.random() < 0.5 else 0.0
    grain = noise(region.inside.shape, rng.uniform(0.5, 2) * region.scale, rng)[..., None]
    plain = smooth(region.colour, sigma=sigma) * (1 + rng.uniform(0, 0.15) * grain)
    colour = (1 - region.blend) * region.colour + region.blend * plain
    return Change(flat * np.minimum(1, 3 * region.share) + rough + sunk, colour, reshaded=rough)


FORM_OF = {
    "bump": _bump,
    "foreign": _foreign,
    "pasted": _pasted,
    "stain": _stain,
    "dent": _dent,
    "hole": _hole,
    "cut": _cut,
    "scrape": _scrape,
}
