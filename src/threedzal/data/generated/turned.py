"""Turned parts: sections along x, each round, with flats, flutes, ribs, a knurl, a taper or slots; bored, drilled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from threedzal.data.generated.piece import Rng, axis_rotation
from threedzal.data.generated.sdf import Waves, smooth_max, smooth_min, triangle
from threedzal.data.generated.shape import Shape

STYLES = ("plain", "flats", "fluted", "ribbed", "knurled", "taper", "slotted")
OFTEN = (0.36, 0.14, 0.1, 0.14, 0.08, 0.1, 0.08)


@dataclass(frozen=True)
class Section:
    """Attributes:
    start, stop: along x, mm. radius: of its largest circle, mm. edge: rounding, mm.
    count: of flats, flutes or slots around. depth, pitch: of what is cut into it, mm.
    """

    start: float
    stop: float
    radius: float
    style: str
    count: int
    depth: float
    pitch: float
    edge: float

    @classmethod
    def draw(cls, rng: Rng, start: float, stop: float) -> Section:
        style, radius = str(rng.choice(STYLES, p=OFTEN)), float(rng.uniform(8, 27))
        count = {"flats": rng.integers(4, 9), "slotted": rng.integers(2, 13)}.get(style, rng.integers(10, 40))
        depth = rng.uniform(0.25, 0.9) if style != "taper" else rng.uniform(1, 0.35 * radius)
        return cls(
            start, stop, radius, style, int(count), float(depth), float(rng.uniform(2.2, 6)), float(rng.uniform(0.3, 2))
        )

    @property
    def rest(self) -> float:
        """Height of its axis where it lies, about: on a flat or on a corner."""
        return self.radius * ((1 + np.cos(np.pi / self.count)) / 2 if self.style == "flats" else 0.97)

    def __call__(self, x, r, turn, phase: float):
        """Distance; `turn` is the angle round x in turns."""
        middle, half = np.float32((self.start + self.stop) / 2), np.float32((self.stop - self.start) / 2)
        along, around = x - middle, turn * self.count + np.float32(phase)
        radius = np.float32(self.radius)
        if self.style == "flats":
            angle = (around - np.floor(around) - np.float32(0.5)) * np.float32(2 * np.pi / self.count)
            d = r * np.cos(angle) - radius * np.float32(np.cos(np.pi / self.count))
        elif self.style == "fluted":
            d = r - radius + np.float32(self.depth) * np.maximum(triangle(around), 0)
        elif self.style == "ribbed":
            d = r - radius + np.float32(self.depth) * (triangle(along / np.float32(self.pitch)) * np.float32(0.5) + 0.5)
        elif self.style == "knurled":
            skew = along * np.float32(self.count / (2 * np.pi * self.radius))
            d = r - radius + np.float32(self.depth / 2) * (triangle(around + skew) + triangle(around - skew))
        elif self.style == "taper":
            d = r - radius + np.float32(self.depth / 2) * (1 + along / half)
        else:
            d = r - radius
        d = smooth_max(d, np.abs(along) - half, self.edge)
        if self.style == "slotted":
            across = np.abs(around - np.floor(around) - np.float32(0.5)) * r * np.float32(2 * np.pi / self.count)
            d = smooth_max(d, np.float32(0.6 + self.depth) - across, 0.4)
        return d


@dataclass(frozen=True)
class Drilling:
    """A hole across: `at` along x, in the direction `angle`, `radius` wide."""

    at: float
    angle: float
    radius: float

    @classmethod
    def draw(cls, rng: Rng, start: float, stop: float, narrow: float) -> Drilling:
        at, angle = rng.uniform(start, stop) * 0.7, rng.uniform(0, np.pi)
        return cls(float(at), float(angle), float(rng.uniform(1.2, max(1.3, 0.35 * narrow))))

    def __call__(self, x, y, z):
        across = np.float32(np.cos(self.angle)) * y + np.float32(np.sin(self.angle)) * z
        return np.sqrt((x - np.float32(self.at)) ** 2 + across * across) - np.float32(self.radius)


def resting(sections: list[Section]) -> float:
    """Slope at which the part lies on two of its rims, its middle between them, radians."""
    rims = [(x, s.radius) for s in sections for x in (s.start, s.stop)]
    for x0, r0 in rims:
        for x1, r1 in rims:
            if x0 < 0 < x1 and all(r <= r0 + (r1 - r0) * (x - x0) / (x1 - x0) + 1e-6 for x, r in rims):
                return float(np.arctan2(r0 - r1, x1 - x0))
    return 0.0


def draw(rng: Rng) -> Callable[[Rng], Shape]:
    """A part: 2 to 6 sections."""
    lengths = rng.uniform(5, 26, int(rng.integers(2, 7)))
    lengths *= rng.uniform(35, 92) / lengths.sum()
    ends = np.concatenate([[0], lengths.cumsum()]) - lengths.sum() / 2
    sections = [Section.draw(rng, float(a), float(b)) for a, b in zip(ends[:-1], ends[1:], strict=True)]
    narrow, seam = min(s.radius for s in sections), float(rng.uniform(0.2, 1.5))
    bore = float(rng.uniform(0.35, 0.75) * narrow) if rng.random() < 0.6 else 0.0
    blind = float(rng.uniform(-0.3, 0.3) * lengths.sum()) if rng.random() < 0.5 else -1e3
    drilled = [Drilling.draw(rng, ends[0], ends[-1], narrow) for _ in range(int(rng.choice([0, 0, 1, 2])))]
    flat = float(rng.uniform(0.55, 0.95)) if rng.random() < 0.2 else 0.0
    rough = float(rng.choice([0.02, 0.05, 0.12]))

    def make(rng: Rng) -> Shape:
        scale, phases = np.float32(1 + rng.normal(0, 0.012)), rng.uniform(0, 1, len(sections))
        waver = Waves.draw(rng, wavelength=(12, 50), amplitude=rough)

        def field(x, y, z):
            x, y, z = x / scale, y / scale, z / scale
            r, turn = np.sqrt(y * y + z * z), np.arctan2(z, y) * np.float32(0.5 / np.pi)
            d = None
            for section, phase in zip(sections, phases, strict=True):
                own = section(x, r, turn, float(phase))
                d = own if d is None else smooth_min(d, own, seam)
            if bore:
                d = smooth_max(d, np.minimum(np.float32(bore) - r, x - np.float32(blind)), 0.6)
            for hole in drilled:
                d = smooth_max(d, -hole(x, y, z), 0.4)
            if flat:
                d = smooth_max(d, z - np.float32(flat * narrow), 0.4)
            return (d - waver(x, y, z)) * scale

        lean = axis_rotation(1, resting(sections)) @ axis_rotation(0, rng.uniform(0, 2 * np.pi))
        wide, length = max(s.radius for s in sections), float(lengths.sum())
        ends_wide = [sections[0].radius, sections[-1].radius]
        if length < 1.6 * wide or (max(ends_wide) > 0.8 * wide and rng.random() < 0.3):  # it stands on its wider end
            lean = axis_rotation(1, np.pi / 2 if ends_wide[1] > ends_wide[0] else -np.pi / 2)
        feet = [((x, 0, 0), (0.1, s.rest, s.rest)) for s in sections for x in (s.start, s.stop)]
        return Shape(field, radius=float(np.hypot(length / 2, wide)) + 3, feet=feet, pose=lean)

    return make
