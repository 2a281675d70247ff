"""The same test scans as every method maps them, by the fitted files that the jobs left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from threedzal.comparison.plan import Comparison, Pair
from threedzal.data.index import index_dataset
from threedzal.data.readers import read_picture, read_points, read_truth
from threedzal.data.record import ScanRecord
from threedzal.errors import UserError
from threedzal.progress import track
from threedzal.protocol import JobFolder
from threedzal.report import ScanPanel


@dataclass
class ScanRow:
    """One scan: a panel of each method that has a fitted file, and why the others have none."""

    record: ScanRecord
    pair: Pair
    panels: dict[str, ScanPanel] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)


def choose_scans(records: Sequence[ScanRecord], most: int) -> list[ScanRecord]:
    """At most `most` scans, of every defect kind as many as possible, the kinds taking turns, `good` last."""
    kinds = sorted({record.defect for record in records}, key=lambda kind: (kind == "good", kind))
    of_kind = [[record for record in records if record.defect == kind] for kind in kinds]
    turns = [record for turn in zip_longest(*of_kind) for record in turn if record is not None]
    return sorted(turns[:most], key=lambda record: (kinds.index(record.defect), record.name))


def scan_rows(comparison: Comparison, root: str, *, scans: int) -> Iterator[list[ScanRow]]:
    """For each pair and test class: its scans, with the maps of the first seed's fitted files. `root`: the jobs'."""
    for pair in comparison.pairs:
        detectors, reasons = _detectors(comparison, pair, root)
        for name in pair.test:
            options = comparison.job(comparison.methods[0], pair, comparison.seeds[0]).options
            records = index_dataset(options["data"]["root"], classes=[name], splits=("test",))
            chosen = choose_scans(records, scans)
            rows = [ScanRow(record, pair, reasons=dict(reasons)) for record in chosen]
            for row in track(rows, f"Pictures of {name}", total=len(rows)):
                _judge(row, detectors)
            yield rows


def _detectors(comparison: Comparison, pair: Pair, root: str) -> tuple[dict, dict[str, str]]:
    from threedzal.detector import load

    detectors, reasons = {}, {}
    for method in comparison.methods:
        folder = JobFolder(root, comparison.job(method, pair, comparison.seeds[0]))
        if folder.result() is None:
            reasons[method.name] = folder.state
        elif not folder.fitted.is_file():
            reasons[method.name] = "has no fitted file: its scans judge each other"
        else:
            detectors[method.name] = load(folder.fitted)
    return detectors, reasons


def _judge(row: ScanRow, detectors: dict) -> None:
    record = row.record
    xyz, picture, truth = read_points(record), read_picture(record), read_truth(record)
    for name, detector in detectors.items():
        try:
            prediction = detector(picture, xyz)
        except UserError as error:
            row.reasons[name] = str(error)
            continue
        row.panels[name] = ScanPanel(
            key=record.key,
            label=record.label,
            defect=record.defect,
            score=prediction.score,
            verdict=prediction.label,
            map=prediction.map.numpy(),
            rgb=picture,
            depth=None if picture is not None else xyz[..., 2],
            gt=truth,
        )
