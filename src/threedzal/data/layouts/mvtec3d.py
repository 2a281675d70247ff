"""MVTec 3D-AD's layout, and what a user may leave out of it.

    CLASS/{train,validation}/good/{rgb,xyz}/NNN.{png,tiff}        CLASS/test/DEFECT/{rgb,xyz,gt}/NNN.*

Instead of `xyz` the folder may be called `depth` or `cloud`, and hold any format that is read here; the scans may also
lie in DEFECT itself, or, all of them good, in `train` and `validation`.
"""

from __future__ import annotations

from pathlib import Path

from threedzal.data.layouts.files import (
    PICTURE_SUFFIXES,
    by_stem,
    is_points,
    loose_records,
    subfolders,
    with_embedded,
)
from threedzal.data.readers import POINT_SUFFIXES
from threedzal.data.record import ScanRecord

SPLITS = ("train", "validation", "test")
POINT_FOLDERS = ("xyz", "depth", "cloud")
_KINDS = (*POINT_FOLDERS, "rgb", "gt")


def is_class(folder: Path) -> bool:
    return any((folder / split).is_dir() for split in SPLITS)


def split_records(split: Path) -> list[ScanRecord]:
    """Records of `CLASS/SPLIT`, sorted by defect and name."""
    records = [record for folder in subfolders(split) for record in defect_records(folder)]
    if not records and split.name in ("train", "validation"):
        records = loose_records(split, class_name=split.parent.name, split=split.name, defect="good")
    return records


def defect_records(folder: Path) -> list[ScanRecord]:
    """Records of `CLASS/SPLIT/DEFECT`, the folder that holds xyz, rgb and gt, or the scans themselves."""
    split, class_name, defect = folder.parent.name, folder.parent.parent.name, folder.name
    points = next((folder / name for name in POINT_FOLDERS if (folder / name).is_dir()), None)
    if split not in SPLITS:
        if points is None:
            return []  # inside a split, pictures without points are scans that lack their xyz; elsewhere just pictures
        split, class_name, defect = "", folder.name, ""
    elif not any((folder / kind).is_dir() for kind in _KINDS):
        return loose_records(folder, class_name=class_name, split=split, defect=defect)
    points = points or folder / "xyz"
    xyz = by_stem(points, POINT_SUFFIXES)
    xyz |= {name: path for name, path in by_stem(points, (".png",)).items() if name not in xyz and is_points(path)}
    rgb, gt = (by_stem(folder / kind, PICTURE_SUFFIXES) for kind in ("rgb", "gt"))
    records = [
        ScanRecord(
            class_name=class_name,
            split=split,
            defect=defect,
            name=name,
            xyz=xyz.get(name, points / f"{name}.tiff"),
            rgb=rgb.get(name),
            gt=gt.get(name),
        )
        for name in sorted({*xyz, *rgb, *gt})
    ]
    return [record if record.xyz.suffix.startswith(".tif") else with_embedded(record) for record in records]
