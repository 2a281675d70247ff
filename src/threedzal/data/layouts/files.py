"""What all layouts need: the files of a folder by what they are and by the scan that they belong to."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from threedzal.data.readers import POINT_SUFFIXES, embedded
from threedzal.data.readers.depth import is_depth_image
from threedzal.data.record import ScanRecord
from threedzal.errors import UserError

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
_POINTS_NAME = re.compile(r"[_.-](depth|xyz|points|cloud)$", re.IGNORECASE)
_PICTURE_NAME = re.compile(r"[_.-](rgb|colou?r|image)$", re.IGNORECASE)


def subfolders(folder: Path) -> list[Path]:
    """Sorted; none where there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(Path(entry.path) for entry in os.scandir(folder) if entry.is_dir() and entry.name[0] != ".")


def by_stem(folder: Path, suffixes: Iterable[str]) -> dict[str, Path]:
    """Files of a folder by stem, sorted; none where there is no such folder. Hidden files (`._000.png`) are skipped.

    Raises:
        UserError: two files of one stem.
    """
    return _by_name(path for path in _files(folder) if path.suffix.lower() in suffixes)


def is_points(path: Path) -> bool:
    """Whether a file by its name, a PNG by its header, holds points or depths."""
    suffix = path.suffix.lower()
    return suffix in POINT_SUFFIXES or (suffix == ".png" and is_depth_image(path))


def loose_records(folder: Path, *, class_name: str, split: str = "", defect: str = "") -> list[ScanRecord]:
    """Scans that lie in one folder with their pictures: `a.ply`; `b.tiff b.png`; `c_depth.png c_rgb.png`.

    A picture may also be in `../rgb`.

    Raises:
        UserError: two files of points of one scan.
    """
    points = _by_name((path for path in _files(folder) if is_points(path)), _POINTS_NAME)
    pictures = _pictures(folder, set(points.values()))
    return [
        with_embedded(ScanRecord(class_name, split, defect, name, xyz=xyz, rgb=pictures.get(name)))
        for name, xyz in points.items()
    ]


def loose_record(path: Path) -> ScanRecord:
    """The record of one file of points, whatever else lies beside it."""
    name = _POINTS_NAME.sub("", path.stem)
    points = {other for other in _files(path.parent) if other.stem in (path.stem, name) and is_points(other)}
    rgb = _pictures(path.parent, points).get(name)
    return with_embedded(ScanRecord(path.parent.name, "", "", name, xyz=path, rgb=rgb))


def with_embedded(record: ScanRecord) -> ScanRecord:
    """The record with its file of points in place of a picture or a ground truth that is inside it."""
    if (record.rgb and record.gt) or not record.xyz.is_file():
        return record
    inside = embedded(record.xyz)
    return replace(
        record,
        rgb=record.rgb or (record.xyz if "rgb" in inside else None),
        gt=record.gt or (record.xyz if "gt" in inside else None),
    )


def _pictures(folder: Path, points: set[Path]) -> dict[str, Path]:
    """Pictures by the name of their scan, those beside it before those in `../rgb`, `NAME_rgb` before `NAME`."""
    found = {}
    for place in (folder.parent / "rgb", folder):
        paths = [path for path in _files(place) if path.suffix.lower() in PICTURE_SUFFIXES and path not in points]
        for path in sorted(paths, key=lambda path: bool(_PICTURE_NAME.search(path.stem))):
            found[_PICTURE_NAME.sub("", path.stem)] = path
    return found


def _by_name(paths: Iterable[Path], ending: re.Pattern | None = None) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in paths:
        name = ending.sub("", path.stem) if ending else path.stem
        if name in found:
            raise UserError(f"{path} and {found[name].name} are two files of one scan: keep one of them")
        found[name] = path
    return found


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [folder / name for name in sorted(os.listdir(folder)) if not name.startswith(".")]
