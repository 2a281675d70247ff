"""Pictures and ground truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from threedzal.errors import UserError


def read_rgb(path: Path | str) -> np.ndarray:
    """Picture as (h,w,3) uint8."""
    return _read_picture(path, "RGB")


def read_mask(path: Path | str) -> np.ndarray:
    """Ground truth as (h,w) bool. Its values name the defect kind, so anything above 0 is defective."""
    mask = _read_picture(path, None)
    return (mask if mask.ndim == 2 else mask.max(axis=2)) > 0


def _read_picture(path: Path | str, mode: str | None) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert(mode) if mode else picture)
    except Exception as error:
        raise UserError(f"{path}: cannot be read as a picture ({error})") from error


def picture_size(path: Path | str) -> tuple[int, int] | None:
    """(h, w) in pixels by the file's header; None where it is no picture."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return picture.height, picture.width
    except Exception:  # whoever reads the picture says so
        return None
