"""The content of a report as JSON and CSV, for spreadsheets and for other reports to compare with."""

import json
import math
from collections.abc import Mapping
from typing import Any

from threedzal.figures import csv_text
from threedzal.report.content import ReportData, with_mean


def metrics_json(data: ReportData) -> str:
    """All tables as JSON; a figure that could not be computed (NaN) is null."""
    content = {
        "title": data.title,
        "method": data.method,
        "commands": data.commands,
        "facts": data.facts,
        "costs": data.costs,
        "threshold": data.threshold,
        "main": data.main_row,
        "scans": data.counts,
        "metrics": data.metrics,
        "baselines": data.baselines,
        "defects": data.defects,
        "transductive": data.transductive,
    }
    return json.dumps(_plain(content), indent=2, allow_nan=False) + "\n"


def metrics_csv(data: ReportData) -> str:
    """All figures as one long table: setting, method, class, defect, metric, value."""
    lines = []
    for setting, rows in (
        ("zero-shot", data.metrics),
        ("baseline", data.baselines),
        ("transductive", data.transductive),
    ):
        for name, classes in rows.items():
            for class_name, values in with_mean(classes).items():
                lines += [(setting, name, class_name, "all", metric, float(v)) for metric, v in values.items()]
    for class_name, kinds in data.defects.items():
        for kind, values in kinds.items():
            lines += [("zero-shot", data.main_row, class_name, kind, metric, float(v)) for metric, v in values.items()]
    return csv_text(("setting", "method", "class", "defect", "metric", "value"), lines)


def scans_csv(data: ReportData) -> str:
    """A line a test scan: scan, class, defect, label, score, threshold, verdict."""
    lines = (
        (s.key, s.class_name, s.kind, s.label, float(s.score), "" if data.threshold is None else data.threshold, s.word)
        for s in data.judged
    )
    return csv_text(("scan", "class", "defect", "label", "score", "threshold", "verdict"), lines)


def curves_csv(data: ReportData) -> str:
    """All corners of the curves: curve (pro, floor_pro, roc), class, x, y."""
    curves = {"pro": data.pro_curves, "floor_pro": data.floor_pro_curves, "roc": data.roc_curves}
    lines = (
        (curve, name, float(x), float(y))
        for curve, classes in curves.items()
        for name, (xs, ys) in classes.items()
        for x, y in zip(xs, ys, strict=True)
    )
    return csv_text(("curve", "class", "x", "y"), lines)


def _plain(value: Any) -> Any:
    """Numpy and torch scalars to Python's, NaN and infinity to None, whatever the depth."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if value is None or isinstance(value, str | int):
        return value
    return float(value) if math.isfinite(value) else None
