"""Contact sheets: a picture a class, each scan with its picture, depth and ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from threedzal.colour import depth_picture, draw_outline
from threedzal.data.index import index_dataset
from threedzal.data.readers import read_picture, read_points, read_truth
from threedzal.data.readers.settle import settle
from threedzal.data.record import ScanRecord
from threedzal.errors import UserError
from threedzal.files import atomic_path
from threedzal.progress import track

TILE = 200  # pixels of a tile's side
_GAP, _CAPTION = 8, 18
_PAPER, _INK = (246, 246, 244), (40, 44, 52)
_TRUTH = (255, 40, 90)


def preview(
    root: str | Path,
    out: str | Path,
    *,
    classes: Sequence[str] | None = None,
    scans: int = 2,
    units: str | float = "auto",
    warn=print,
) -> list[Path]:
    """Write `OUT/CLASS.png` for each class: `scans` good scans of training and `scans` of each kind of the test.

    Returns:
        The paths of the sheets.
    """
    records = settle(index_dataset(root, classes=classes), units=units, camera=None, guesses={}, warn=warn)
    sheets = {name: [r for r in records if r.class_name == name] for name in {r.class_name: None for r in records}}
    written = []
    for name, of_class in track(sheets.items(), "Contact sheets", total=len(sheets)):
        written.append(Path(out) / f"{name}.png")
        with atomic_path(written[-1]) as part:
            contact_sheet(choose(of_class, scans)).save(part)
    return written


def choose(records: Sequence[ScanRecord], scans: int) -> list[ScanRecord]:
    """The first `scans` of training, and of each kind of defect in the test."""
    kinds: dict[tuple[str, str], list[ScanRecord]] = {}
    for record in records:
        if record.split != "validation":
            kinds.setdefault((record.split, record.defect), []).append(record)
    return [record for of_kind in kinds.values() for record in of_kind[:scans]]


def contact_sheet(records: Sequence[ScanRecord]):
    """Scans one below the other in as many columns as fit a square, as a PIL image."""
    from PIL import Image, ImageDraw

    columns = max(1, round((len(records) / 3) ** 0.5))
    rows = -(-len(records) // columns)
    width, height = 3 * TILE + 3 * _GAP, TILE + _CAPTION + _GAP
    sheet = Image.new("RGB", (columns * width + _GAP, rows * height + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for i, record in enumerate(records):
        left, top = _GAP + i // rows * width, _GAP + i % rows * height
        draw.text((left, top + 2), _caption(record), fill=_INK)
        for column, tile in enumerate(tiles(record)):
            image = Image.fromarray(tile)
            image.thumbnail((TILE, TILE))
            sheet.paste(image, (left + column * (TILE + _GAP // 2), top + _CAPTION))
    return sheet


def tiles(record: ScanRecord) -> list[np.ndarray]:
    """(h,w,3) uint8 each: the picture, where there is one; the depth; and the truth, marked on the depth."""
    try:
        xyz, rgb, truth = read_points(record), read_picture(record), read_truth(record)
    except UserError:  # `data check` says why; the sheet shows that there is something
        return [np.full((TILE, TILE, 3), _TRUTH, dtype=np.uint8)]
    depth = depth_picture(xyz[..., 2])
    found = [] if rgb is None else [rgb]
    found.append(depth)
    if truth is not None and truth.any() and truth.shape == depth.shape[:2]:
        marked = np.where(truth[..., None], depth // 2 + np.array(_TRUTH, dtype=np.uint8) // 2, depth)
        found.append(draw_outline(marked, truth, _TRUTH))
    return found


def _caption(record: ScanRecord) -> str:
    return " / ".join(part for part in (record.split, record.defect, record.name) if part)
