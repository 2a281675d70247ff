"""Points as arrays: a TIFF of (h,w,3)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from threedzal.errors import UserError


def read_xyz(path: Path | str) -> np.ndarray:
    """Organised points of a TIFF, (h,w,3) float32 metres; pixels without a measurement are (0,0,0).

    Raises:
        UserError: the file cannot be read or is not (h,w,3).
    """
    import tifffile

    try:
        xyz = tifffile.imread(path)
    except Exception as error:  # tifffile raises many kinds; the user needs the file's name and the reason
        raise UserError(f"{path}: cannot be read as a TIFF of points ({error})") from error
    if xyz.ndim != 3 or xyz.shape[2] != 3:
        raise UserError(
            f"{path}: holds an array of shape {xyz.shape}, but a scan is (height, width, 3), x y z in metres"
        )
    return np.ascontiguousarray(xyz, dtype=np.float32)
