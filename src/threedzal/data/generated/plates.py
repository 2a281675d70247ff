"""Plates and blocks, as moulded or milled: bosses, holes, pockets, ribs and slots, laid out in patterns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from threedzal.data.generated.piece import Rng, axis_rotation
from threedzal.data.generated.sdf import Waves, rounded_box, rounded_profile, smooth_max, smooth_min
from threedzal.data.generated.shape import Shape

KINDS = ("boss", "hole", "pocket", "rib", "dome", "slot")


@dataclass(frozen=True)
class Feature:
    """Attributes:
    kind: one of `KINDS`. places: (x, y) of each copy, mm. size: half widths, mm. height: up or down, mm.
    along: whether its longer side is along y.
    """

    kind: str
    places: tuple[tuple[float, float], ...]
    size: tuple[float, float]
    height: float
    along: bool

    @classmethod
    def draw(cls, rng: Rng, half: tuple[float, float, float]) -> Feature:
        kind, small = str(rng.choice(KINDS)), min(half[0], half[1])
        size = float(rng.uniform(0.08, 0.28) * small), float(rng.uniform(0.25, 0.6) * small)
        if kind in ("boss", "hole", "dome"):
            size = size[0], size[0]
        height = (
            float(rng.uniform(1.5, 7)) if kind in ("boss", "rib", "dome") else float(rng.uniform(0.3, 0.9) * half[2])
        )
        reach = (half[0] - size[1] - 2, half[1] - size[1] - 2)
        x, y = (float(rng.uniform(0.3, 1) * max(v, 0)) for v in reach)
        layout = int(rng.integers(5))
        places = [((x, y),), ((x, 0), (-x, 0)), ((x, y), (-x, y), (x, -y), (-x, -y)), ((0.0, 0.0),), ((0, y), (0, -y))]
        return cls(kind, tuple(places[layout]), size, height, bool(rng.integers(2)))

    def __call__(self, d, x, y, z, top: float):
        """The plate with it."""
        a, b = self.size[::-1] if self.along else self.size
        for px, py in self.places:
            u, v = x - np.float32(px), y - np.float32(py)
            r = np.sqrt(u * u + v * v)
            if self.kind == "boss":
                d = smooth_min(d, rounded_profile(r, z - np.float32(top), radius=a, half=self.height, edge=0.5), 0.6)
            elif self.kind == "rib":
                box = rounded_box(
                    u, v, z - np.float32(top), half=(a, b, self.height), radius=min(a, b, self.height) * 0.4
                )
                d = smooth_min(d, box, 0.6)
            elif self.kind == "dome":
                k = np.float32(self.height / a)
                d = smooth_min(d, (np.sqrt(r * r + ((z - np.float32(top)) / k) ** 2) - np.float32(a)) * min(k, 1), 0.6)
            elif self.kind == "hole":
                d = smooth_max(d, np.float32(a) - r, 0.5)
            else:
                deep = self.height if self.kind == "pocket" else 1e3
                corner = min(a, b) * (0.3 if self.kind == "pocket" else 0.98)
                box = rounded_box(u, v, 0 * z, half=(a, b, 10.0 + corner), radius=corner)
                d = smooth_max(d, np.minimum(-box, z - np.float32(top - deep)), 0.5)
        return d


def draw(rng: Rng) -> Callable[[Rng], Shape]:
    """A plate or block with 1 to 4 kinds of features, rectangular or round, sometimes stepped."""
    half = tuple(
        float(v) for v in (rng.uniform(26, 46), rng.uniform(16, 40), np.exp(rng.uniform(np.log(3), np.log(15))))
    )
    round_, edge = rng.random() < 0.25, float(rng.uniform(0.25, 0.9) * min(4, half[2]))
    if round_:
        half = (half[0] * 0.85, half[0] * 0.85, half[2])
    step = (float(rng.uniform(-0.5, 0.5) * half[0]), float(rng.uniform(2, 10))) if rng.random() < 0.35 else None
    features = [Feature.draw(rng, half) for _ in range(int(rng.integers(1, 5)))]
    rough = float(rng.choice([0.02, 0.06, 0.15]))

    def make(rng: Rng) -> Shape:
        scale = np.float32(1 + rng.normal(0, 0.012))
        waver = Waves.draw(rng, wavelength=(12, 60), amplitude=rough)

        def field(x, y, z):
            x, y, z = x / scale, y / scale, z / scale
            if round_:
                d = rounded_profile(np.sqrt(x * x + y * y), z, radius=half[0], half=half[2], edge=edge)
            else:
                d = rounded_box(x, y, z, half=half, radius=edge)
            if step:
                raised = rounded_box(
                    x - np.float32((step[0] + half[0]) / 2), y, z - np.float32(step[1] / 2),
                    half=((half[0] - step[0]) / 2, half[1] * 0.9, half[2] + step[1] / 2), radius=edge,
                )  # fmt: skip
                d = smooth_min(d, raised, 0.6)
            for feature in features:
                d = feature(d, x, y, z, half[2])
            return (d - waver(x, y, z)) * scale

        feet = [((sx * half[0], sy * half[1], -half[2]), (0.1, 0.1, 0.1)) for sx in (-1, 1) for sy in (-1, 1)]
        pose = axis_rotation(2, rng.uniform(0, 2 * np.pi))
        return Shape(field, radius=float(np.hypot(half[0], half[1])) + half[2] + 6, feet=feet, pose=pose)

    return make
