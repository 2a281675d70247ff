"""Colours of a random product: one material or two, plain, mottled, streaked or speckled."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

from threedzal.data.generated.piece import Field, Rng, mix, speckle, tint
from threedzal.data.generated.sdf import Waves, smoothstep

Colour = tuple[float, float, float]


def draw_colour(rng: Rng) -> Colour:
    """Grey, earthy or saturated; dark ones as often as light ones."""
    lightness = np.exp(rng.uniform(np.log(0.06), np.log(0.8)))
    hue, saturation = rng.random(), rng.choice([rng.uniform(0, 0.15), rng.uniform(0.3, 0.9)])
    if rng.random() < 0.3:  # wood, bread, leather
        hue, saturation = rng.uniform(0.04, 0.14), rng.uniform(0.3, 0.75)
    return colorsys.hsv_to_rgb(hue, saturation, lightness)


@dataclass(frozen=True)
class Skin:
    """What all pieces of a product share; where exactly a cloud or a streak lies is each piece's own."""

    base: Colour
    other: Colour
    edge: tuple[tuple[float, float, float], float] | None  # two materials: beyond a plane, of this normal and offset
    cloudy: float
    grainy: float
    mottled: float  # share of the surface in the other colour
    size: float  # mm, of clouds and mottles
    stretch: tuple[float, float, float]
    specks: float
    gloss: float
    shine: float

    @classmethod
    def draw(cls, rng: Rng) -> Skin:
        base, other = draw_colour(rng), draw_colour(rng)
        edge = None
        if rng.random() < 0.35:
            normal = np.eye(3)[rng.integers(3)] * rng.choice([-1, 1])
            edge = tuple(float(v) for v in normal), float(rng.uniform(2, 20))
        mottled = float(rng.uniform(0.05, 0.5)) if edge is None and rng.random() < 0.35 else 0.0
        stretch = (float(rng.uniform(3, 14)), 1.0, 1.0) if rng.random() < 0.25 else (1.0, 1.0, 1.0)
        return cls(
            base, other, edge, cloudy=float(rng.uniform(0, 0.10)), grainy=float(rng.uniform(0, 0.06)), mottled=mottled,
            size=float(np.exp(rng.uniform(np.log(3), np.log(30)))), stretch=stretch,
            specks=float(rng.choice([0, rng.uniform(0.002, 0.03)])), gloss=float(rng.uniform(0.02, 0.45)),
            shine=float(rng.uniform(6, 30)),
        )  # fmt: skip

    @property
    def inside(self) -> Colour:
        """Of the material under the surface: a little lighter."""
        return tuple(min(1.15 * v + 0.02, 0.95) for v in self.base)

    def albedo(self, rng: Rng) -> Field:
        """The reflectance of one piece."""
        base, other = tint(rng, self.base, spread=0.05), tint(rng, self.other, spread=0.05)
        cloud = Waves.draw(rng, wavelength=(self.size, 4 * self.size), amplitude=1.0, count=8, stretch=self.stretch)
        grain = Waves.draw(rng, wavelength=(1.0, 4.0), amplitude=1.0, count=8, stretch=self.stretch)

        def albedo(x, y, z):
            n, fine = cloud(x, y, z), grain(x, y, z)
            share = np.zeros_like(x)
            if self.edge:
                (a, b, c), offset = self.edge
                share = smoothstep(-0.25, 0.25, a * x + b * y + c * z - np.float32(offset))
            elif self.mottled:
                share = speckle(n + 0.3 * fine, share=self.mottled, soft=0.5)
            rgb = mix(base, other, share) * (1 + self.cloudy * n + self.grainy * fine)
            return rgb * (1 - 0.4 * speckle(grain(z, x, y), share=self.specks)) if self.specks else rgb

        return albedo
