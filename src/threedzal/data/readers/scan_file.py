"""What the files of a scan hold, whatever their format: points, picture, ground truth, and the cloud they came from."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from threedzal.data.readers.arrays import as_xyz, measured_pixels, npz_names, read_npz, read_tiff
from threedzal.data.readers.camera import Camera, find_camera, read_camera
from threedzal.data.readers.cloud import CLOUD_SUFFIXES, Cloud, has_colours, read_cloud
from threedzal.data.readers.depth import depth_to_xyz, read_depth
from threedzal.data.readers.pictures import picture_size, read_mask, read_rgb
from threedzal.data.readers.projection import camera_frame, project
from threedzal.data.readers.units import guess_unit
from threedzal.data.record import ScanRecord
from threedzal.errors import UserError

TIFF_SUFFIXES = (".tiff", ".tif")
POINT_SUFFIXES = (*TIFF_SUFFIXES, ".npz", *CLOUD_SUFFIXES, ".exr")  # and .png, where its header says 16 bits


@dataclass(frozen=True)
class ScanFile:
    """One file of points, read. The last four are None where it does not hold them."""

    xyz: np.ndarray  # (h,w,3) float32, (0,0,0) where there is no measurement
    unit: float | None = None  # metres of one unit of xyz; None: the file does not say
    rgb: np.ndarray | None = None  # (h,w,3) uint8
    gt: np.ndarray | None = None  # (h,w) bool
    object: np.ndarray | None = None  # (h,w) bool
    cloud: Cloud | None = None  # as it stands in the file
    pixels: np.ndarray | None = None  # (N,) int64, of the cloud's points; -1: not seen

    def at_points(self, values: np.ndarray) -> np.ndarray:
        """A map (h,w) float -> (N,) float32 at the cloud's points; NaN at a point that has no pixel."""
        return np.where(self.pixels >= 0, values.ravel()[self.pixels], np.nan).astype(np.float32)


def read_points(record: ScanRecord) -> np.ndarray:
    """(h,w,3) float32 metres, (0,0,0) where there is no measurement.

    Raises:
        UserError: the file cannot be read as its suffix says, or a depth image lacks its camera.
    """
    file = read_scan_file(record)
    unit = next((unit for unit in (file.unit, record.unit) if unit is not None), None)
    if unit is None:
        unit, why = guess_unit(file.xyz, record.xyz)
        if why:
            warnings.warn(why, stacklevel=2)
    return file.xyz if unit == 1.0 else file.xyz * np.float32(unit)


def read_picture(record: ScanRecord) -> np.ndarray | None:
    """(h,w,3) uint8, or None where the scan has no picture."""
    if record.rgb is None:
        return None
    return read_scan_file(record).rgb if record.rgb == record.xyz else read_rgb(record.rgb)


def read_truth(record: ScanRecord) -> np.ndarray | None:
    """(h,w) bool: the defects, or None where the scan has no ground truth."""
    if record.gt is None:
        return None
    return read_scan_file(record).gt if record.gt == record.xyz else read_mask(record.gt)


def read_object(record: ScanRecord) -> np.ndarray | None:
    """(h,w) bool: the object's measured pixels, where the scan's file says them; None: they have to be found."""
    if record.xyz.suffix.lower() != ".npz":
        return None
    file = read_scan_file(record)
    return None if file.object is None else file.object & measured_pixels(file.xyz)


def read_scan_file(record: ScanRecord) -> ScanFile:
    """The file of a record's points. The last one read is kept: its points, picture and cloud are asked for in turn."""
    try:
        stamp = record.xyz.stat().st_mtime_ns
    except OSError as error:
        raise UserError(f"{record.xyz}: cannot be read ({error.strerror})") from error
    return _read(record.xyz, record.rgb, record.camera, stamp)


def embedded(path: Path) -> set[str]:
    """Which of `rgb` and `gt` the file of points itself holds; looks at its head alone."""
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return npz_names(path) & {"rgb", "gt"}
    return {"rgb"} if suffix in CLOUD_SUFFIXES and has_colours(path) else set()


@lru_cache(maxsize=1)
def _read(path: Path, rgb: Path | None, camera: Path | tuple[float, ...] | None, stamp: int) -> ScanFile:
    suffix = path.suffix.lower()
    if suffix in CLOUD_SUFFIXES:
        return _from_cloud(read_cloud(path), picture=rgb if rgb != path else None, camera=camera, path=path)
    if suffix == ".npz":
        arrays = read_npz(path)
        xyz = _zero_where_unmeasured(arrays["xyz"])
        masks = {"gt": arrays.get("gt"), "object": arrays.get("mask")}
        return ScanFile(xyz, rgb=arrays.get("rgb"), **{k: None if v is None else v > 0 for k, v in masks.items()})
    if suffix in TIFF_SUFFIXES and (array := read_tiff(path)).ndim != 2:
        return ScanFile(_zero_where_unmeasured(as_xyz(array, path)))
    return _from_depth(path, camera)


def _from_depth(path: Path, camera: Path | tuple[float, ...] | None) -> ScanFile:
    source = camera or find_camera(path)
    if source is None:
        raise UserError(
            f"{path}: is a depth image and its camera is not known: put its intrinsics beside it as "
            f"{path.stem}.json or camera.json, or give --data.camera FILE or [fx, fy, cx, cy]"
        )
    intrinsics = read_camera(source)
    try:
        xyz = depth_to_xyz(read_depth(path), intrinsics)
    except UserError as error:
        raise UserError(f"{path}: {error} ({source})" if "camera is calibrated" in str(error) else str(error)) from None
    return ScanFile(xyz, unit=None if intrinsics.depth_scale is None else 1.0)


def _from_cloud(cloud: Cloud, *, picture: Path | None, camera: Path | tuple[float, ...] | None, path: Path) -> ScanFile:
    """An organised cloud as it is, any other one through a camera.

    A picture with as many pixels as there are points says that the cloud is organised, if its header does not.
    """
    size = cloud.size or (picture_size(picture) if picture is not None else None)
    if size is not None and size[0] * size[1] == len(cloud.points):
        cloud = cloud.organised(size)
        measured = cloud.measured
        xyz = np.zeros((len(measured), 3), dtype=np.float32)
        xyz[measured] = camera_frame(cloud.points[measured])
        colours = None if cloud.colours is None else cloud.colours.reshape(*size, 3)
        return ScanFile(xyz.reshape(*size, 3), rgb=colours, cloud=cloud, pixels=np.arange(len(measured)))
    measured = np.flatnonzero(cloud.measured)
    try:
        view = project(cloud.points[measured], None if camera is None else _for_cloud(camera))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    pixels = np.full(len(cloud.points), -1, dtype=np.int64)
    pixels[measured] = view.pixels
    colours = None
    if cloud.colours is not None:
        colours = np.where(view.chosen[..., None] >= 0, cloud.colours[measured][view.chosen], 0).astype(np.uint8)
    return ScanFile(view.xyz, rgb=colours, cloud=cloud, pixels=pixels)


def _for_cloud(source: Path | tuple[float, ...]) -> Camera:
    return replace(read_camera(source), size=None)


def _zero_where_unmeasured(xyz: np.ndarray) -> np.ndarray:
    xyz = np.ascontiguousarray(xyz, dtype=np.float32)
    return xyz if np.isfinite(xyz).all() else np.where(np.isfinite(xyz).all(axis=2, keepdims=True), xyz, np.float32(0))
