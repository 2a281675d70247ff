"""The ten classes: who makes the piece, what can be wrong with it, and how its scans are framed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from threedzal.data.generated import manufactured, natural
from threedzal.data.generated.piece import Piece, Rng


@dataclass(frozen=True)
class ObjectClass:
    """Attributes:
    make: draws a piece.
    defects: kinds in the order of their ground-truth values 255, 254, ...
    view: width of the picture on the table, mm.
    aspect: (width, height) of the picture relative to its longer side.
    yaw: how far the piece may be turned on the table, radians either way.
    detail: size of its defects relative to those of a piece that fills the picture.
    axis: principal point's offset from the middle, in widths: the real scans are crops beside the optical axis too.
    """

    make: Callable[[Rng], Piece]
    defects: tuple[str, ...]
    view: float
    aspect: tuple[float, float] = (1.0, 1.0)
    yaw: float = 3.1416
    detail: float = 1.0
    axis: tuple[float, float] = (0.0, 0.0)

    def value(self, defect: str) -> int:
        """Ground-truth value that names `defect` (1 to 255), 0 for `good`."""
        return 0 if defect == "good" else 255 - self.defects.index(defect)


CLASSES: dict[str, ObjectClass] = {
    "bumpy_disc": ObjectClass(natural.bumpy_disc, ("bulge", "contamination", "crack", "hole"), 128, axis=(0.1, -0.2)),
    "cone": ObjectClass(natural.cone, ("contamination", "crack", "cut", "hole"), 148, detail=0.85, axis=(-0.2, 0.1)),
    "grooved_sphere": ObjectClass(natural.grooved_sphere, ("bulge", "colour", "contamination", "cut", "hole"), 118),
    "lumpy_ellipsoid": ObjectClass(
        natural.lumpy_ellipsoid, ("colour", "contamination", "cut", "hole"), 146, axis=(0.2, 0.1)
    ),
    "porous_block": ObjectClass(
        manufactured.porous_block, ("colour", "contamination", "cut", "hole"), 134, axis=(0.15, 0)
    ),
    "ribbed_wheel": ObjectClass(
        manufactured.ribbed_wheel, ("bulge", "contamination", "cut", "hole"), 124, aspect=(0.75, 1.0), axis=(-0.1, 0.1)
    ),
    "ring": ObjectClass(natural.ring, ("colour", "contamination", "crack", "hole"), 144, axis=(-0.1, -0.1)),
    "rod": ObjectClass(manufactured.rod, ("bent", "contamination", "cut", "hole"), 118, detail=0.75, axis=(0.25, -0.1)),
    "threaded_part": ObjectClass(
        manufactured.threaded_part, ("bent", "cut", "hole", "thread"), 118, detail=0.85, axis=(-0.35, 0)
    ),
    "twisted_strand": ObjectClass(
        manufactured.twisted_strand,
        ("bulge", "contamination", "cut", "hole"),
        180,
        aspect=(1.0, 4 / 9),
        yaw=0.10,
        detail=0.9,
        axis=(0.0, -0.1),
    ),
}
CLASS_NAMES: tuple[str, ...] = tuple(CLASSES)
DEFECTS: dict[str, tuple[str, ...]] = {name: entry.defects for name, entry in CLASSES.items()}
