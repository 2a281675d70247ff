"""From a folder on disk to a sorted list of scan records.

Three layouts are known, class by class: MVTec 3D-AD's (`layouts.mvtec3d`), Eyecandies' (`layouts.eyecandies`), and a
folder CLASS of good scans in any format, of which every fifth is set aside for validation. The index looks at names
and headers only; `threedzal.data.check` looks into the files.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from threedzal.data.layouts import eyecandies, mvtec3d
from threedzal.data.layouts.files import is_points, loose_record, loose_records, subfolders
from threedzal.data.readers import POINT_SUFFIXES, read_picture, read_points
from threedzal.data.readers.settle import CameraSource, Units, settle
from threedzal.data.record import ScanRecord
from threedzal.errors import UserError

SPLITS = mvtec3d.SPLITS
LAYOUT = "CLASS/train/good/xyz/000.tiff"
_SPLIT_FOLDERS = (*SPLITS, *eyecandies.SPLITS.values(), eyecandies.PRIVATE)
HELD_OUT = 5  # of a class without splits, every fifth scan is for validation
_FORMATS = "TIFF, NPZ, PCD, PLY, XYZ, EXR, or PNG of 16 bits"


def list_classes(root: str | Path) -> list[str]:
    """Sorted names of the class folders under `root`: those that hold scans in a layout that is known.

    Raises:
        UserError: `root` is missing, is not a folder, or holds no class folder.
    """
    root = _folder(root)
    classes = [folder.name for folder in subfolders(root) if _has_splits(folder) or _holds_scans(folder)]
    if classes:
        return classes
    if _has_splits(root):
        raise UserError(f"{root} is one class, not a data set: give the folder above it, {root.parent}, as root")
    inside = ", ".join(folder.name for folder in subfolders(root)[:5]) or "no folders"
    raise UserError(f"{root} holds no class folders as {LAYOUT} wants them (it holds {inside}): check the root")


def index_dataset(
    root: str | Path, *, classes: Sequence[str] | None = None, splits: Sequence[str] = SPLITS
) -> list[ScanRecord]:
    """Records of all scans under `root`, sorted by class, split (train, validation, test), defect and name.

    A scan stands in the list as soon as any of its files exists, so that `check_records` can name what is missing: a
    picture or a ground truth that is not there is None, an xyz file that is not there is named where it should be.

    Args:
        root: folder of the class folders.
        classes: names to keep; all of them where None.
        splits: any of `train`, `validation`, `test`.

    Raises:
        UserError: no such root, no class folders, an unknown class or split, or no scan at all.
    """
    found = list_classes(root)
    wanted = found if classes is None else sorted(set(classes))
    if unknown := [name for name in wanted if name not in found]:
        raise UserError(f"no class {', '.join(map(repr, unknown))} under {root}: there are {', '.join(found)}")
    if unknown := [split for split in splits if split not in SPLITS]:
        raise UserError(f"no split {', '.join(map(repr, unknown))}: there are {', '.join(SPLITS)}")

    root = _folder(root)
    ordered = [split for split in SPLITS if split in splits]
    records = [record for name in wanted for split in ordered for record in _class_records(root / name, split)]
    if not records:
        raise UserError(f"{root} holds no scans in {', '.join(ordered)} of {', '.join(wanted)}: they go to {LAYOUT}")
    return records


def records_from_path(path: str | Path) -> list[ScanRecord]:
    """Records for prediction: one file of points, a folder of them or of such folders, or any level of a data set.

    The picture of a scan outside such a data set is the one of the same stem beside it or in `../rgb`; its record has
    the folder's name as class, and empty split and defect.

    Raises:
        UserError: nothing there, another kind of file, no scan inside, or two scans of one name.
    """
    path = Path(os.path.abspath(Path(path).expanduser()))
    if path.is_file():
        return [record_of(path)]
    path = _folder(path)
    if eyecandies.is_data(path):
        return eyecandies.data_records(path)
    if path.name in mvtec3d.POINT_FOLDERS:
        path = path.parent
    records = (
        mvtec3d.defect_records(path)
        or (_split_records(path) if path.name in _SPLIT_FOLDERS else [])
        or _all_splits(path)
        or [record for folder in subfolders(path) for record in _all_splits(folder)]
        or loose_records(path, class_name=path.name)
        or [record for folder in subfolders(path) for record in _folder_records(folder)]
    )
    if not records:
        raise UserError(f"{path} holds no scans: wanted {_FORMATS}, a folder of them, or {LAYOUT}")
    return records


def summarise(records: Sequence[ScanRecord]) -> list[dict[str, str | int]]:
    """Rows class, split, defect, scans: how many scans there are of each, in the order of the records."""
    counts = Counter((record.class_name, record.split, record.defect) for record in records)
    return [
        {"class": name, "split": split, "defect": defect, "scans": scans}
        for (name, split, defect), scans in counts.items()
    ]


def read_scan(
    path: str | Path, *, units: Units = "auto", camera: CameraSource = None
) -> tuple[np.ndarray | None, np.ndarray]:
    """One scan from its file, in any format that `predict` takes, as `Detector` wants it.

    >>> detector(*read_scan("part.ply", units="mm")).verdict
    'good'

    Args:
        units, camera: as `data.units` and `data.camera`; a guess of the unit is made with a warning.

    Returns:
        The picture (h,w,3) uint8 or None, and xyz (h,w,3) float32 metres.
    """
    (record,) = settle([record_of(path)], units=units, camera=camera, guesses={}, warn=warnings.warn)
    return read_picture(record), read_points(record)


def record_of(path: str | Path) -> ScanRecord:
    """The record of one file of points.

    Raises:
        UserError: there is no such file, or it is not a scan.
    """
    path = Path(os.path.abspath(Path(path).expanduser()))
    if not path.is_file():
        raise UserError(f"there is no file {path}: check the path of the scan")
    if not is_points(path):
        raise UserError(f"{path} is not a scan: wanted {_FORMATS}, or a folder of them")
    return _record_of(path)


def _record_of(path: Path) -> ScanRecord:
    """The record of one file, in the data set that it stands in where it stands in one."""
    siblings = []
    if eyecandies.is_data(path.parent):
        siblings = eyecandies.data_records(path.parent)
    elif path.parent.name in mvtec3d.POINT_FOLDERS:
        siblings = mvtec3d.defect_records(path.parent.parent)
    return next((record for record in siblings if record.xyz == path), None) or loose_record(path)


def _class_records(folder: Path, split: str) -> list[ScanRecord]:
    if eyecandies.is_class(folder):
        return eyecandies.split_records(folder / eyecandies.SPLITS[split])
    if mvtec3d.is_class(folder):
        return mvtec3d.split_records(folder / split)
    good = loose_records(folder, class_name=folder.name, defect="good")
    held_out = good[HELD_OUT - 1 :: HELD_OUT] or good[1:][-1:]
    chosen = {"train": [record for record in good if record not in held_out], "validation": held_out}
    return [replace(record, split=split) for record in chosen.get(split, [])]


def _all_splits(folder: Path) -> list[ScanRecord]:
    names = (*eyecandies.SPLITS.values(), eyecandies.PRIVATE) if eyecandies.is_class(folder) else SPLITS
    return [record for name in names for record in _split_records(folder / name)]


def _folder_records(folder: Path) -> list[ScanRecord]:
    return mvtec3d.defect_records(folder) or loose_records(folder, class_name=folder.name)


def _split_records(folder: Path) -> list[ScanRecord]:
    return eyecandies.split_records(folder) or mvtec3d.split_records(folder)


def _has_splits(folder: Path) -> bool:
    return mvtec3d.is_class(folder) or eyecandies.is_class(folder)


def _holds_scans(folder: Path) -> bool:
    names = (entry.name for entry in os.scandir(folder) if entry.is_file() and not entry.name.startswith("."))
    return any(Path(name).suffix.lower() in POINT_SUFFIXES or is_points(folder / name) for name in names)


def _folder(path: str | Path) -> Path:
    """The folder as an absolute path, links kept as the user wrote them."""
    folder = Path(os.path.abspath(Path(path).expanduser()))
    if not folder.exists():
        raise UserError(f"there is no {folder}: check the path of the data")
    if not folder.is_dir():
        raise UserError(f"{folder} is a file, but a folder is wanted: check the path of the data")
    return folder
