"""Point clouds as their files hold them, point by point."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.lib import recfunctions

from threedzal.errors import UserError

TEXT_SUFFIXES = (".xyz", ".xyzrgb", ".asc")
CLOUD_SUFFIXES = (".pcd", ".ply", *TEXT_SUFFIXES)


@dataclass(frozen=True)
class Cloud:
    """N points in the file's order, unit and frame."""

    points: np.ndarray  # (N,3) float64; NaN or (0,0,0) where nothing was measured
    colours: np.ndarray | None = None  # (N,3) uint8
    size: tuple[int, int] | None = None  # (h, w) of an organised cloud, row by row; None: unorganised

    def organised(self, size: tuple[int, int]) -> Cloud:
        """The same points as a grid of that size."""
        return replace(self, size=size)

    @property
    def measured(self) -> np.ndarray:
        """(N,) bool."""
        return np.isfinite(self.points).all(axis=1) & self.points.any(axis=1)


def read_cloud(path: Path) -> Cloud:
    """A cloud from PCD, PLY, or text with x y z [r g b] on a line.

    Open3D reads these too, but keeps neither the rows and columns of an organised cloud nor how many points there were.

    Raises:
        UserError: the file cannot be read, or has no points in it.
    """
    from threedzal.data.readers.pcd import read_pcd
    from threedzal.data.readers.ply import read_ply

    read = {".pcd": read_pcd, ".ply": read_ply}.get(path.suffix.lower(), _read_text)
    try:
        cloud = read(path)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path}: cannot be read as a point cloud ({error})") from error
    if not cloud.measured.any():
        raise UserError(f"{path}: holds {len(cloud.points)} points, none of them measured (NaN or at 0,0,0)")
    return cloud


def has_colours(path: Path) -> bool:
    """Whether a cloud has colours; reads no more than the head of the file."""
    with open(path, "rb") as file:
        head = file.read(4096)
    if path.suffix.lower() == ".ply":
        return b" red\n" in head.replace(b"\r", b"")
    if path.suffix.lower() == ".pcd":
        fields = next((line for line in head.splitlines() if line.startswith(b"FIELDS")), b"")
        return bool({b"rgb", b"rgba"} & set(fields.split()))
    lines = [line.replace(b",", b" ").split() for line in head.splitlines()[:-1] if line[:1] not in (b"#", b"/")]
    values = [[float(v) for v in line[3:6]] for line in lines if len(line) >= 6 and _is_number(line[0])]
    return bool(values) and _are_colours(np.array(values), path)


def columns(table: np.ndarray, names: tuple[str, ...]) -> np.ndarray | None:
    """(N,len(names)) float64 of a structured array, or None where it lacks one of them."""
    if not set(names) <= set(table.dtype.names):
        return None
    return recfunctions.structured_to_unstructured(table[list(names)], dtype=np.float64)


def as_colours(values: np.ndarray | None) -> np.ndarray | None:
    """Numbers up to 1 or up to 255 as uint8."""
    if values is None:
        return None
    return np.clip(np.rint(values * (255 if values.max(initial=0) <= 1 else 1)), 0, 255).astype(np.uint8)


def _read_text(path: Path) -> Cloud:
    lines = path.read_text(encoding="utf-8").replace(",", " ").replace(";", " ").splitlines()
    start = next((i for i, line in enumerate(lines) if line.split() and _is_number(line.split()[0])), None)
    if start is None:
        raise UserError(f"{path}: holds no line that begins with three numbers x y z")
    if len(lines[start].split()) == 1:  # a first line with the number of points, as .pts and some .xyz have it
        start += 1
    table = np.loadtxt(lines[start:], ndmin=2, comments=("#", "//"))
    if table.shape[1] < 3:
        raise UserError(f"{path}: has {table.shape[1]} columns, wanted x y z and perhaps r g b")
    values = table[:, 3:6] if table.shape[1] >= 6 else None
    coloured = values is not None and _are_colours(values, path)
    return Cloud(table[:, :3], as_colours(values) if coloured else None)


def _are_colours(values: np.ndarray, path: Path) -> bool:
    """Three more columns may be normals: these are negative in places, or at most 1 long."""
    unit = path.suffix.lower() == ".xyzrgb"
    return bool(values.min() >= 0 and (unit or (values.max() > 1 and (values == np.rint(values)).all())))


def _is_number(word: str | bytes) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
