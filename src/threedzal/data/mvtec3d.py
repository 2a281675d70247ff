"""MVTec 3D-AD's folder layout, from the tree on disk to a sorted list of scan records.

    CLASS/{train,validation}/good/{rgb,xyz}/NNN.{png,tiff}        CLASS/test/DEFECT/{rgb,xyz,gt}/NNN.*

The index looks at names only; `threedzal.data.check` looks into the files.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from threedzal.data.check import check_records, summarise
from threedzal.data.record import ScanRecord
from threedzal.errors import UserError

__all__ = ["SPLITS", "check_records", "index_dataset", "list_classes", "records_from_path", "summarise"]

SPLITS = ("train", "validation", "test")
XYZ_SUFFIXES = (".tiff", ".tif")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
LAYOUT = "CLASS/train/good/xyz/000.tiff"


def list_classes(root: str | Path) -> list[str]:
    """Sorted names of the class folders under `root`: those with a train, validation or test folder inside.

    Raises:
        UserError: `root` is missing, is not a folder, or holds no class folder.
    """
    root = _folder(root)
    classes = [folder.name for folder in _subfolders(root) if _is_class(folder)]
    if classes:
        return classes
    if _is_class(root):
        raise UserError(f"{root} is one class, not a data set: give the folder above it, {root.parent}, as root")
    inside = ", ".join(folder.name for folder in _subfolders(root)[:5]) or "no folders"
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
    records = [record for name in wanted for split in ordered for record in _split_records(root / name / split)]
    if not records:
        raise UserError(f"{root} holds no scans in {', '.join(ordered)} of {', '.join(wanted)}: they go to {LAYOUT}")
    return records


def records_from_path(path: str | Path) -> list[ScanRecord]:
    """Records for prediction: one xyz TIFF, a folder of them, or any level of an MVTec tree (root to `xyz`).

    The picture of a scan outside such a tree is the one of the same stem beside it or in `../rgb`; its record has the
    folder's name as class, and empty split and defect.

    Raises:
        UserError: nothing there, another kind of file, no scan inside, or two scans of one name.
    """
    path = Path(os.path.abspath(Path(path).expanduser()))
    if path.is_file():
        if path.suffix.lower() not in XYZ_SUFFIXES:
            raise UserError(f"{path} is not a scan: wanted an xyz TIFF (.tiff or .tif), or a folder of them")
        siblings = _defect_records(path.parent.parent) if path.parent.name == "xyz" else _loose_records(path.parent)
        return [record for record in siblings if record.xyz == path]
    path = _folder(path)
    if path.name == "xyz":
        path = path.parent
    records = (
        _defect_records(path)
        or _split_records(path)
        or [record for split in SPLITS for record in _split_records(path / split)]
        or [record for folder in _subfolders(path) for split in SPLITS for record in _split_records(folder / split)]
        or _loose_records(path)
    )
    if not records:
        raise UserError(f"{path} holds no scans: wanted xyz TIFFs (.tiff or .tif), a folder of them, or {LAYOUT}")
    return records


def _split_records(split: Path) -> list[ScanRecord]:
    return [record for defect in _subfolders(split) for record in _defect_records(defect)]


def _defect_records(folder: Path) -> list[ScanRecord]:
    """Records of `CLASS/SPLIT/DEFECT`, the folder that holds xyz, rgb and gt."""
    split, class_name, defect = folder.parent.name, folder.parent.parent.name, folder.name
    if split not in SPLITS:
        if not (folder / "xyz").is_dir():
            return []  # inside a split, pictures without points are scans that lack their xyz; elsewhere just pictures
        split, class_name, defect = "", folder.name, ""
    xyz, rgb, gt = (_by_stem(folder / kind, suffixes) for kind, suffixes in _KINDS.items())
    return [
        ScanRecord(
            class_name=class_name,
            split=split,
            defect=defect,
            name=name,
            xyz=xyz.get(name, folder / "xyz" / f"{name}.tiff"),
            rgb=rgb.get(name),
            gt=gt.get(name),
        )
        for name in sorted({*xyz, *rgb, *gt})
    ]


def _loose_records(folder: Path) -> list[ScanRecord]:
    pictures = {**_by_stem(folder.parent / "rgb", PICTURE_SUFFIXES), **_by_stem(folder, PICTURE_SUFFIXES)}
    return [
        ScanRecord(class_name=folder.name, split="", defect="", name=name, xyz=xyz, rgb=pictures.get(name))
        for name, xyz in _by_stem(folder, XYZ_SUFFIXES).items()
    ]


_KINDS = {"xyz": XYZ_SUFFIXES, "rgb": PICTURE_SUFFIXES, "gt": PICTURE_SUFFIXES}


def _by_stem(folder: Path, suffixes: Iterable[str]) -> dict[str, Path]:
    """Files of a folder by stem, sorted; none where there is no such folder. Hidden files (`._000.png`) are skipped."""
    files: dict[str, Path] = {}
    for name in sorted(os.listdir(folder)) if folder.is_dir() else ():
        stem, suffix = os.path.splitext(name)
        if suffix.lower() not in suffixes or name.startswith("."):
            continue
        if stem in files:
            raise UserError(f"{folder / name} and {files[stem].name} are two files of one scan: keep one of them")
        files[stem] = folder / name
    return files


def _subfolders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(Path(entry.path) for entry in os.scandir(folder) if entry.is_dir() and entry.name[0] != ".")


def _is_class(folder: Path) -> bool:
    return any((folder / split).is_dir() for split in SPLITS)


def _folder(path: str | Path) -> Path:
    """The folder as an absolute path, links kept as the user wrote them."""
    folder = Path(os.path.abspath(Path(path).expanduser()))
    if not folder.exists():
        raise UserError(f"there is no {folder}: check the path of the data")
    if not folder.is_dir():
        raise UserError(f"{folder} is a file, but a folder is wanted: check the path of the data")
    return folder
