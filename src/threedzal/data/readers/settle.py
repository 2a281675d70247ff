"""How the scans of a run are read: the user's units and camera, and one guess where units are not stated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from threedzal.data.readers.scan_file import read_scan_file
from threedzal.data.readers.units import guess_unit, parse_units
from threedzal.data.record import ScanRecord
from threedzal.errors import UserError

Units = Literal["auto", "m", "mm"] | float
CameraSource = str | list[float] | None


def settle(
    records: Sequence[ScanRecord],
    *,
    units: Units,
    camera: CameraSource,
    guesses: dict[tuple[str, str], float],
    warn: Callable[[str], None],
) -> list[ScanRecord]:
    """The records with the unit and the camera that they are to be read with.

    Under `auto` the unit is guessed once for all scans of one class and format, from the first that can be read, so
    that no scan of a run differs from its neighbours by a factor of 1000.

    Args:
        units: of files that do not say it: `m`, `mm`, how many metres one unit is, or `auto`.
        camera: file of intrinsics, or [fx, fy, cx, cy]; None: looked for beside each scan.
        guesses: by class and format, those made before and, afterwards, those made here.
        warn: told of each new guess.
    """
    unit, source = parse_units(units), as_source(camera)
    records = [replace(r, unit=unit, camera=r.camera or source) for r in records]
    if unit is not None:
        return records
    for record in records:
        kind = (record.class_name, record.xyz.suffix.lower())
        if kind in guesses:
            continue
        try:
            file = read_scan_file(record)
        except UserError:  # `check_records` names it
            continue
        guesses[kind], why = (file.unit, "") if file.unit is not None else guess_unit(file.xyz, record.xyz)
        if why:
            warn(why)
    return [replace(r, unit=guesses.get((r.class_name, r.xyz.suffix.lower()), 1.0)) for r in records]


def as_source(camera: CameraSource) -> Path | tuple[float, ...] | None:
    """`data.camera` as a record has it."""
    if camera is None or isinstance(camera, str | Path):
        return None if camera is None else Path(camera).expanduser().absolute()
    return tuple(float(value) for value in camera)
