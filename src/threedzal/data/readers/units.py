"""Metres or millimetres: what a file does not say, the user says, or it is guessed, and never in silence."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from threedzal.data.readers.arrays import measured_pixels
from threedzal.errors import UserError

UNITS = {"m": 1.0, "mm": 0.001}
_LARGEST = 10.0  # metres: what a scanner of parts sees is neither farther away nor larger
METRES_BY_CONVENTION = (".tiff", ".tif")  # MVTec 3D-AD's xyz


def parse_units(units: Literal["auto", "m", "mm"] | float) -> float | None:
    """`data.units` -> metres of one unit; None for `auto`."""
    if isinstance(units, str) and units in (*UNITS, "auto"):
        return UNITS.get(units)
    try:
        unit = float(units)
    except ValueError:
        unit = 0.0
    if unit <= 0:
        raise UserError(f"data.units is {units}, but wanted m, mm, auto, or how many metres one unit is")
    return unit


def guess_unit(xyz: np.ndarray, path: Path) -> tuple[float, str]:
    """The likelier of metres and millimetres for points (h,w,3), and a warning to give; empty where it is no guess.

    Numbers above 10, as distances or as extents, are millimetres: 10 m is beyond the scanners of parts. A TIFF of
    points is in metres by MVTec 3D-AD's convention, and only numbers that cannot be are guessed about.
    """
    points = xyz[measured_pixels(xyz)]
    if not len(points):
        return 1.0, ""
    extent = float(np.ptp(np.percentile(points, [1, 99], axis=0), axis=0).max())
    distance = float(np.median(np.linalg.norm(points, axis=1)))
    name = "mm" if max(extent, distance) > _LARGEST else "m"
    if name == "m" and path.suffix.lower() in METRES_BY_CONVENTION:
        return 1.0, ""
    size, away = (f"{value * UNITS[name] * 1000:.0f} mm" for value in (extent, distance))
    why = (
        f"{path}: does not say its unit of length; taken as {name}, by which the scene is {size} wide and {away} away. "
        f"State it: --data.units m or mm"
    )
    return UNITS[name], why
