"""Grown or baked things: one to three ellipsoids run together, uneven, wrinkled, furrowed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from threedzal.data.generated.piece import Rng, axis_rotation, dents
from threedzal.data.generated.sdf import Waves, ellipsoid, smooth_min, triangle
from threedzal.data.generated.shape import Shape


def draw(rng: Rng) -> Callable[[Rng], Shape]:
    """A kind of thing; its pieces differ more than those of a made one."""
    count = int(rng.integers(1, 4))
    axes = [tuple(float(v) for v in rng.uniform((18, 14, 11), (40, 34, 26))) for _ in range(count)]
    reach = 0.55 * axes[0][0]
    places = [(0.0, 0.0)] + [
        (float(rng.choice([-1, 1]) * rng.uniform(0.5, 1) * reach * 1.4), float(rng.normal(0, 5))) for _ in axes[1:]
    ]
    coarse, fine = float(rng.uniform(0.2, 1.4)), float(rng.choice([0, 0.05, 0.12, 0.25]))
    furrows = (float(rng.uniform(0.3, 1.2)), float(rng.uniform(5, 16))) if rng.random() < 0.3 else None
    marks = (0, int(rng.integers(1, 9)))

    def make(rng: Rng) -> Shape:
        grow = rng.normal(1, 0.04)
        own = [tuple(v * grow * np.exp(rng.normal(0, 0.03)) for v in a) for a in axes]
        lumps = Waves.draw(rng, wavelength=(20, 60), amplitude=coarse)
        skin = Waves.draw(rng, wavelength=(2, 8), amplitude=fine)

        def smooth(x, y, z):
            d = None
            for (px, py), a in zip(places, own, strict=True):
                e = ellipsoid(x - np.float32(px), y - np.float32(py), z, axes=a)
                d = e if d is None else smooth_min(d, e, 6.0)
            return d

        spots = dents(smooth, rng, count=marks, radius=(2.5, 8), height=(-1.2, 0.8), bound=axes[0][1])

        def field(x, y, z):
            d = smooth(x, y, z) - lumps(x, y, z) - skin(x, y, z) - spots(x, y, z)
            if furrows:
                d = d + np.float32(furrows[0]) * np.maximum(triangle(x / np.float32(furrows[1])) - np.float32(0.4), 0)
            return d

        feet = [((px, py, 0.0), a) for (px, py), a in zip(places, own, strict=True)]
        wide = max(np.hypot(px, py) + max(a) for (px, py), a in zip(places, own, strict=True))
        return Shape(
            field, radius=float(wide) + 3 * coarse + 5, feet=feet, pose=axis_rotation(2, rng.uniform(0, 2 * np.pi))
        )

    return make
