"""Points as arrays: a TIFF of (h,w,3), and NPZ."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from threedzal.errors import UserError


def read_xyz(path: Path | str) -> np.ndarray:
    """Organised points of a TIFF, (h,w,3) float32 metres; pixels without a measurement are (0,0,0).

    Raises:
        UserError: the file cannot be read or is not (h,w,3).
    """
    return as_xyz(read_tiff(path), path)


def as_xyz(array: np.ndarray, path: Path | str) -> np.ndarray:
    """The array of a TIFF as (h,w,3) float32."""
    if array.ndim != 3 or array.shape[2] != 3:
        raise UserError(
            f"{path}: holds an array of shape {array.shape}, but a scan is (height, width, 3), x y z in metres"
        )
    return np.ascontiguousarray(array, dtype=np.float32)


def measured_pixels(xyz: np.ndarray) -> np.ndarray:
    """(h,w,3) -> (h,w) bool: finite and not (0,0,0). (`any` along an axis of three takes ten times as long.)"""
    x, y, z = xyz[..., 0], xyz[..., 1], xyz[..., 2]
    return ((x != 0) | (y != 0) | (z != 0)) & np.isfinite(x) & np.isfinite(y) & np.isfinite(z)


def is_depth_tiff(path: Path) -> bool:
    """Whether a TIFF holds one channel, by its header; False where it cannot be read."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            return len(file.series[0].shape) == 2
    except Exception:  # whoever reads it says so
        return False


def read_tiff(path: Path | str) -> np.ndarray:
    """Whatever array a TIFF holds."""
    import tifffile

    try:
        return tifffile.imread(path)
    except Exception as error:  # tifffile raises many kinds; the user needs the file's name and the reason
        raise UserError(f"{path}: cannot be read as a TIFF of points ({error})") from error


def npz_names(path: Path) -> set[str]:
    """The names of the arrays in an NPZ, without reading them; empty where it is none."""
    try:
        with zipfile.ZipFile(path) as file:
            return {name.removesuffix(".npy") for name in file.namelist()}
    except (OSError, zipfile.BadZipFile):  # whoever reads it says so
        return set()


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """`xyz` (h,w,3) and, where they are there, `rgb` (h,w,3) uint8, `mask` (h,w) bool, the object, and `gt` (h,w) bool,
    the defects.

    Raises:
        UserError: the file cannot be read, or holds no `xyz` or something of another shape.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("xyz", "rgb", "mask", "gt") if name in file.files}
    except Exception as error:
        raise UserError(f"{path}: cannot be read as NPZ ({error})") from error
    if "xyz" not in arrays or arrays["xyz"].ndim != 3 or arrays["xyz"].shape[2] != 3:
        shape = arrays["xyz"].shape if "xyz" in arrays else "absent"
        raise UserError(f"{path}: `xyz` is {shape}, but wanted (height, width, 3)")
    size = arrays["xyz"].shape[:2]
    for name, shape in (("rgb", (*size, 3)), ("mask", size), ("gt", size)):
        if name in arrays and arrays[name].shape != shape:
            raise UserError(f"{path}: `{name}` is {arrays[name].shape}, but wanted {shape}, as `xyz` is")
    if "rgb" in arrays and arrays["rgb"].dtype != np.uint8:
        raise UserError(f"{path}: `rgb` is {arrays['rgb'].dtype}, but wanted uint8")
    return arrays
