"""Depth images: 16-bit PNG, TIFF, EXR."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from threedzal.data.readers.camera import Camera
from threedzal.errors import UserError

EXR_CHANNELS = ("Z", "depth.Z", "depth.V", "depth", "Y", "V", "R")  # the first that is there; R: a grey picture
NO_DEPTH = 65504.0  # renderers fill the background with the largest half float or more; no scanner sees that far


def is_depth_image(path: Path) -> bool:
    """Whether a picture file holds depths: one channel of 16 bits or more. Looks at the header alone."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return picture.mode.startswith(("I", "F"))
    except Exception:  # not a picture: whoever reads it says so
        return False


def read_depth(path: Path) -> np.ndarray:
    """(h,w) float64 in the file's own unit, 0 where there is no measurement (0, NaN, infinite, negative).

    Raises:
        UserError: the file cannot be read, or is not one channel of numbers fit for depths.
    """
    suffix = path.suffix.lower()
    try:
        depth = _read_exr(path) if suffix == ".exr" else _read_tiff(path) if suffix.startswith(".tif") else _read(path)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path}: cannot be read as a depth image ({error})") from error
    if depth.ndim != 2 or depth.dtype == np.uint8:
        raise UserError(
            f"{path}: holds {depth.dtype} of shape {depth.shape}, but a depth image is one channel of at least 16 bits"
        )
    depth = depth.astype(np.float64)
    return np.where(np.isfinite(depth) & (depth > 0) & ((depth < NO_DEPTH) | (suffix != ".exr")), depth, 0.0)


def depth_to_xyz(depth: np.ndarray, camera: Camera) -> np.ndarray:
    """(h,w) depth along the optical axis -> (h,w,3) float32: metres where the camera states the scale of depths, else
    in the unit of the depth; (0,0,0) where the depth is 0 (unless an offset says that 0 is a depth too)."""
    if camera.depth_scale is not None:
        depth = depth * camera.depth_scale + camera.depth_offset
    return (camera.rays(depth.shape) * depth[..., None]).astype(np.float32)


def _read(path: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as picture:
        return np.asarray(picture)


def _read_tiff(path: Path) -> np.ndarray:
    import tifffile

    return tifffile.imread(path)


def _read_exr(path: Path) -> np.ndarray:
    try:
        import OpenEXR
    except ImportError as error:
        raise UserError(f"{path}: EXR needs the package OpenEXR: pip install openexr") from error
    with OpenEXR.File(str(path), separate_channels=True) as file:
        channels = file.channels()
        name = next((n for n in EXR_CHANNELS if n in channels), None)
        if name is None:
            raise UserError(f"{path}: has the channels {', '.join(channels)}, none of {', '.join(EXR_CHANNELS)}")
        return np.array(channels[name].pixels)
