"""What a data set holds, class by class: counts, formats, sizes, and what is broken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from threedzal.data.check import examine_records, listing
from threedzal.data.index import index_dataset
from threedzal.data.record import ScanRecord
from threedzal.errors import UserError
from threedzal.progress import progress_bar


@dataclass(frozen=True)
class ClassSurvey:
    """One class of a data set."""

    name: str
    splits: dict[str, int]  # scans of `train`, `validation`, `test`
    defects: dict[str, int]  # test scans of each kind of defect, `good` among them
    formats: str  # of the files of points, as `tiff` or `ply, npz`
    pictures: int  # scans that have one
    truths: int  # test scans that have ground truth
    broken: int  # scans with a problem


def survey(root: str | Path, *, classes: Sequence[str] | None = None) -> tuple[list[ClassSurvey], list[str]]:
    """Every class under `root`, and all problems in words. Reads every file.

    Pictures are asked of all scans as soon as one has one.
    """
    records = index_dataset(root, classes=classes)
    need_rgb = any(record.rgb for record in records)
    with progress_bar("Reading all files") as progress:
        problems = examine_records(records, need_rgb=need_rgb, progress=progress)
    names = list(dict.fromkeys(record.class_name for record in records))
    classes = [_survey_class(name, [r for r in records if r.class_name == name], problems) for name in names]
    return classes, [problem for of_record in problems.values() for problem in of_record]


def print_survey(root: str | Path, classes: Sequence[ClassSurvey], problems: list[str]) -> None:
    """The table on standard output.

    Raises:
        UserError: there are problems; it names them.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("class", "train", "validation", "test", "defects", "format", "pictures", "truths", "broken"):
        table.add_column(name, justify="left" if name in ("class", "defects", "format") else "right")
    for one in classes:
        scans = sum(one.splits.values())
        defects = ", ".join(f"{name} {count}" for name, count in one.defects.items())
        counts = [str(one.splits.get(split, 0)) for split in ("train", "validation", "test")]
        pictures = "all" if one.pictures == scans else f"{one.pictures} of {scans}"
        broken = str(one.broken) if one.broken else "-"
        table.add_row(one.name, *counts, defects or "-", one.formats, pictures, str(one.truths), broken)
    Console(width=None if _is_terminal() else 140).print(table)
    scans = sum(sum(one.splits.values()) for one in classes)
    if problems:
        raise UserError(f"{root}: {listing(problems, scans)}")
    print(f"{root}: {scans} scans of {len(classes)} class{'es' * (len(classes) != 1)}, all readable")


def _survey_class(name: str, records: list[ScanRecord], problems: dict[ScanRecord, list[str]]) -> ClassSurvey:
    tests = [record for record in records if record.split == "test"]
    return ClassSurvey(
        name=name,
        splits=dict(Counter(record.split for record in records)),
        defects=dict(Counter(record.defect for record in tests)),
        formats=", ".join(sorted({record.xyz.suffix.lower().lstrip(".") for record in records})),
        pictures=sum(record.rgb is not None for record in records),
        truths=sum(record.gt is not None for record in tests),
        broken=sum(bool(problems[record]) for record in records),
    )


def _is_terminal() -> bool:
    import sys

    return sys.stdout.isatty()
