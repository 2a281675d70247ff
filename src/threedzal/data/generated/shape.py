"""The geometry of a random product's piece, and how it lies. Millimetres, in its own frame."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy import ndarray as Array

from threedzal.data.generated.piece import Field

Feet = list[tuple[tuple[float, float, float], tuple[float, float, float]]]


@dataclass(frozen=True)
class Shape:
    """field, radius, feet and pose of a `Piece`."""

    field: Field
    radius: float
    feet: Feet
    pose: Array = field(default_factory=lambda: np.eye(3))
