"""Look into the files of an index before a training starts, and say everything that is wrong with them at once."""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from threedzal.data.layouts.mvtec3d import POINT_FOLDERS
from threedzal.data.readers import TIFF_SUFFIXES, read_scan_file
from threedzal.data.readers.arrays import is_depth_tiff
from threedzal.data.readers.camera import find_camera
from threedzal.data.record import ScanRecord
from threedzal.errors import UserError
from threedzal.files import write_text

WITHOUT_RGB = "--model.init_args.branches [fpfh,point_cloud]"
LISTED = 50  # problems named in one error; the rest is counted
CACHE_NAME = "checked_files.json"


@dataclass(frozen=True)
class FileFacts:
    """What one file turned out to be: (h, w) in pixels if it can be used, else the problem in words."""

    size: tuple[int, int] | None = None
    problem: str = ""


def check_records(
    records: Sequence[ScanRecord],
    *,
    need_rgb: bool = True,
    need_gt: bool = True,
    nan: Literal["refuse", "allow"] = "refuse",
    expected: Iterable[tuple[str, str]] = (),
    workers: int | None = None,
    cache: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Read every file of the records and raise one error that names all that cannot be used.

    Reported: xyz without rgb and rgb without xyz, a test scan without ground truth, files that cannot be read, xyz
    that is not (h,w,3) floating point, holds NaN or infinity, or no measured point, rgb or gt of another size than
    the xyz, and classes or splits without scans.

    Args:
        records: the index, of any number of classes.
        need_rgb: whether pictures must be there; where False they are not looked at.
        need_gt: whether test scans must have their ground truth; where False it is not looked at (prediction).
        nan: `allow` takes NaN for "no measurement", as `prepare_scan` does.
        expected: pairs (class, split) that must hold at least one scan.
        workers: threads; by default the machine's cores, at most 8.
        cache: folder that remembers intact files by path, size and time of change, so that the next check only
            asks the file system for those.
        progress: called with (files done, files in all) after each file.

    Raises:
        UserError: a problem in one sentence, or a numbered list of them, each with its file's name, capped at 50.
    """
    present = {(record.class_name, record.split) for record in records}
    problems = [f"{name}/{split}: holds no scans" for name, split in expected if (name, split) not in present]
    if need_rgb and records and not any(record.rgb for record in records):
        raise UserError(
            f"none of the {len(records)} scans has a picture (as {_beside(records[0], 'rgb')}), but this method's RGB "
            f"branch is on: give pictures, or fit a method without it ({WITHOUT_RGB})"
        )
    if not records and not problems:
        problems = ["there are no scans at all"]
    found = examine_records(
        records, need_rgb=need_rgb, need_gt=need_gt, nan=nan, workers=workers, cache=cache, progress=progress
    )
    problems += [problem for of_record in found.values() for problem in of_record]
    if problems:
        raise UserError(listing(problems, len(records)))


def examine_records(
    records: Sequence[ScanRecord],
    *,
    need_rgb: bool = True,
    need_gt: bool = True,
    nan: Literal["refuse", "allow"] = "refuse",
    workers: int | None = None,
    cache: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[ScanRecord, list[str]]:
    """What is wrong with each record, in words; nothing where it is intact. Arguments as `check_records` has them."""
    facts = _examine(_files(records, need_rgb, need_gt), nan=nan, workers=workers, cache=cache, progress=progress)
    truth_folders = {record.gt.parent.parent for record in records if record.gt}
    options = {"need_rgb": need_rgb, "need_gt": need_gt, "truth_folders": truth_folders}
    return {record: record_problems(record, facts, **options) for record in records}


def record_problems(
    record: ScanRecord, facts: dict[Path, FileFacts], *, need_rgb: bool, need_gt: bool = True, truth_folders: set[Path]
) -> list[str]:
    """What is wrong with one scan, given its files' facts; empty where it is intact.

    A good test scan may come without ground truth (nothing is marked on it) as long as its folder,
    `CLASS/test/good`, has none at all (is not in `truth_folders`).
    """
    problems: list[str] = []
    xyz = facts.get(record.xyz)
    if xyz is None:
        problems.append(f"{record.xyz}: missing, though {(record.rgb or record.gt or record.xyz)} is there")
    elif xyz.problem:
        problems.append(f"{record.xyz}: {xyz.problem}")
    if need_rgb and record.rgb is None:
        problems.append(f"{_beside(record, 'rgb')}: missing, though {record.xyz} is there")
    truth_wanted = record.defect != "good" or record.xyz.parent.parent in truth_folders
    if need_gt and record.split == "test" and record.gt is None and truth_wanted:
        problems.append(f"{_beside(record, 'gt')}: missing, the ground truth of test scan {record.xyz}")
    for path in filter(None, (record.rgb if need_rgb else None, record.gt if need_gt else None)):
        picture = facts.get(path, FileFacts(problem="missing"))
        if picture.problem:
            problems.append(f"{path}: {picture.problem}")
        elif xyz and xyz.size and xyz.size != picture.size:
            (h, w), (rows, columns) = picture.size, xyz.size
            problems.append(f"{path}: is {w}x{h} pixels, but {record.xyz.name} is {columns}x{rows}")
    return problems


def examine_points(record: ScanRecord, *, nan: Literal["refuse", "allow"] = "refuse") -> FileFacts:
    """Facts of a record's file of points; it is decoded whole, because NaN hides in the values.

    In formats other than a TIFF of points NaN is a usual way to say that there is no measurement.
    """
    path = record.xyz
    if path.suffix.lower() in TIFF_SUFFIXES and not (is_depth_tiff(path) and (record.camera or find_camera(path))):
        return examine_xyz(path, nan=nan)
    try:
        xyz = read_scan_file(record).xyz
    except UserError as error:
        return FileFacts(problem=str(error).removeprefix(f"{path}: "))
    return FileFacts(size=xyz.shape[:2]) if xyz.any() else FileFacts(problem="has no measured point")


def examine_xyz(path: Path, *, nan: Literal["refuse", "allow"] = "refuse") -> FileFacts:
    """Facts of a TIFF of points."""
    import tifffile

    try:
        xyz = tifffile.imread(path)
    except Exception as error:  # tifffile raises many kinds, among them zlib's and struct's
        return FileFacts(problem=f"cannot be read as a TIFF ({_reason(error)})")
    if xyz.ndim != 3 or xyz.shape[2] != 3 or not np.issubdtype(xyz.dtype, np.floating):
        shape = ", ".join(map(str, xyz.shape))
        depth = "; for a depth image, put the camera's intrinsics beside it (camera.json)" * (xyz.ndim == 2)
        return FileFacts(
            problem=f"holds {xyz.dtype} of shape ({shape}), wanted floating point (height, width, 3){depth}"
        )
    if nan == "refuse" and not np.isfinite(xyz).all():
        broken = int((~np.isfinite(xyz)).any(axis=2).sum())
        return FileFacts(problem=f"{broken} pixels are NaN or infinite, wanted (0,0,0) where there is no measurement")
    if not np.nan_to_num(xyz, nan=0.0).any():
        return FileFacts(problem="has no measured point, all pixels are (0,0,0)")
    return FileFacts(size=xyz.shape[:2])


def examine_picture(path: Path) -> FileFacts:
    """Facts of a picture: header, and its checksums where the format has them (PNG), without decoding the pixels."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            width, height = picture.size
            picture.verify()
    except Exception as error:
        return FileFacts(problem=f"cannot be read as a picture ({_reason(error)})")
    return FileFacts(size=(height, width))


def _files(records: Sequence[ScanRecord], need_rgb: bool, need_gt: bool) -> dict[Path, ScanRecord | None]:
    """The files that exist, points with their record, pictures with None; a file of two records is looked at once."""
    files = {}
    for record in records:
        for path in (record.rgb if need_rgb else None, record.gt if need_gt else None):
            if path is not None and path.is_file():
                files.setdefault(path, None)
        if record.xyz.is_file():
            files[record.xyz] = record  # a picture inside it is looked at with it
    return files


def _examine(files: dict[Path, ScanRecord | None], *, nan, workers, cache, progress) -> dict[Path, FileFacts]:
    known = _load_cache(cache)

    def facts_of(path: Path, record: ScanRecord | None) -> tuple[str, FileFacts]:
        state = path.stat()
        kind = "picture" if record is None else f"xyz-{record.camera or ''}"
        stamp = f"{kind}-{nan}:{state.st_size}:{state.st_mtime_ns}"
        stamp_known, size = known.get(str(path), ("", None))
        if stamp_known == stamp:
            return stamp, FileFacts(size=tuple(size))
        return stamp, examine_picture(path) if record is None else examine_points(record, nan=nan)

    facts, intact = {}, {}
    with ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1)) as pool:
        for path, (stamp, found) in zip(files, pool.map(facts_of, files, files.values()), strict=True):
            facts[path] = found
            if found.size:
                intact[str(path)] = (stamp, list(found.size))
            if progress:
                progress(len(facts), len(files))
    if cache is not None and any(known.get(path, ("",))[0] != stamp for path, (stamp, _) in intact.items()):
        write_text(Path(cache) / CACHE_NAME, json.dumps({**known, **intact}))
    return facts


def _load_cache(cache: str | Path | None) -> dict[str, tuple[str, list[int]]]:
    try:
        known = json.loads((Path(cache) / CACHE_NAME).read_text(encoding="utf-8")) if cache is not None else {}
        return {path: (str(stamp), [int(h), int(w)]) for path, (stamp, (h, w)) in known.items()}
    except (OSError, ValueError, TypeError, AttributeError):  # no cache yet, or not one of ours: look again
        return {}


def _beside(record: ScanRecord, kind: str) -> Path:
    loose = record.xyz.parent.name not in POINT_FOLDERS
    return (
        record.xyz.with_name(f"{record.name}_{kind}.png")
        if loose
        else record.xyz.parents[1] / kind / f"{record.name}.png"
    )


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def listing(problems: list[str], scans: int) -> str:
    """All problems in one text, a sentence or a numbered list of at most 50."""
    if len(problems) == 1:
        return f"{problems[0]} (the only problem in {scans} scans: mend or remove it)"
    head = f"{len(problems)} problem{'s' * (len(problems) > 1)} in the {scans} scans; mend or remove what is named:"
    lines = [f"  {number}. {problem}" for number, problem in enumerate(problems[:LISTED], start=1)]
    rest = [f"  and {len(problems) - LISTED} more"] * (len(problems) > LISTED)
    return "\n".join([head, *lines, *rest])
