"""Products drawn at random, as many as are asked for: each number is another one, and its scans are pieces of it.

What tells a defect on a product that nobody has seen is learned from other products, and ten are few. A product is a
shape (`turned`, `plates`, `lumps`), with regular features that a part may well have once, and a skin. None is one of
the ten classes: there is no ring, strand, wheel or thread among them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from threedzal.data.generated import lumps, plates, turned
from threedzal.data.generated.classes import CLASS_NAMES, CLASSES, ObjectClass
from threedzal.data.generated.piece import Piece, Rng
from threedzal.data.generated.shape import Shape
from threedzal.data.generated.skin import Skin

PREFIX = "product_"
DEFECTS = ("bulge", "colour", "contamination", "cut", "hole")
SHAPES: tuple[Callable[[Rng], Callable[[Rng], Shape]], ...] = (turned.draw, plates.draw, lumps.draw)
SHARES = (0.45, 0.35, 0.2)


def product_name(number: int) -> str:
    return f"{PREFIX}{number:03d}"


def class_number(name: str) -> int:
    """A number of its own for each of the ten classes and each product."""
    if name in CLASS_NAMES:
        return CLASS_NAMES.index(name)
    return len(CLASS_NAMES) + int(name.removeprefix(PREFIX))


def object_class(name: str, *, seed: int) -> ObjectClass:
    """One of the ten, or a product, which is another one with another seed of the data set."""
    return CLASSES[name] if name in CLASSES else product(int(name.removeprefix(PREFIX)), seed=seed)


@cache
def product(number: int, *, seed: int) -> ObjectClass:
    """The product of this number, and how its scans are framed."""
    rng = np.random.default_rng(np.random.SeedSequence((seed, 1000 + number)))
    draw = SHAPES[rng.choice(len(SHAPES), p=SHARES)]
    make = Maker(draw(rng), Skin.draw(rng))
    radius = make(rng).radius
    axis = tuple(float(v) for v in rng.uniform(-0.3, 0.3, 2))
    view = float(radius * rng.uniform(2.15, 2.7))
    return ObjectClass(make, DEFECTS, view, detail=float(np.clip(radius / 50, 0.7, 1)), axis=axis)


@dataclass(frozen=True)
class Maker:
    """Draws pieces of one product."""

    shape: Callable[[Rng], Shape]
    skin: Skin

    def __call__(self, rng: Rng) -> Piece:
        shape, skin = self.shape(rng), self.skin
        return Piece(
            shape.field, skin.albedo(rng), radius=shape.radius, feet=shape.feet, pose=shape.pose, inside=skin.inside,
            gloss=skin.gloss, shine=skin.shine, relax=0.65,
        )  # fmt: skip
