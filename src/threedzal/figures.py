"""Figures as every table of the project shows them: what metrics are called, mean and spread, CSV and Markdown."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

FLOOR = "foreground"  # the row of a constant on the object, which knows nothing of defects
METRICS = {
    "object_aupro_0.3": "object-only AUPRO 0.3",
    "object_aupro_0.05": "object-only AUPRO 0.05",
    "aupro_0.3": "AUPRO 0.3",
    "aupro_0.05": "AUPRO 0.05",
    "aupro_0.01": "AUPRO 0.01",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
    "best_f1": "best F1",
}


def label_of(metric: str) -> str:
    """`image_auroc` -> `image AUROC`; a name not known here, with spaces."""
    return METRICS.get(metric, metric.replace("_", " "))


def short_label_of(metric: str) -> str:
    """The same, short enough for a column on a terminal: `object 0.3`."""
    return label_of(metric).replace("object-only AUPRO", "object")


@dataclass(frozen=True)
class Spread:
    """A mean, and the standard deviation of the single values; None of one value."""

    mean: float
    deviation: float | None = None

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread | None:
        """None where there is no value; what is not defined (NaN) counts for nothing."""
        values = [value for value in values if value is not None and math.isfinite(value)]
        if not values:
            return None
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)

    def text(self, digits: int, *, between: str = " ± ") -> str:
        """`0.743 ± 0.021`"""
        text = f"{self.mean:.{digits}f}"
        return text if self.deviation is None else f"{text}{between}{self.deviation:.{digits}f}"


def csv_text(header: Sequence[str], lines: Iterable[Sequence]) -> str:
    """Floats have all their digits, so that reading the text gives the same numbers back; None is empty."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(lines)
    return stream.getvalue()


def markdown_table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """GitHub's Markdown."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *lines))
