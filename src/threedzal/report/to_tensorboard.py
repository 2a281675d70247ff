"""A report's content as TensorBoard shows it: pictures of the curves and of the scans, the tables as text."""

from __future__ import annotations

import io

import numpy as np

from threedzal.figures import label_of, markdown_table
from threedzal.report.content import ReportData, with_mean
from threedzal.report.curves import figures, png_bytes
from threedzal.report.gallery import class_limits, panel_png
from threedzal.report.judgement import verdict
from threedzal.report.tables import metric_columns, row_title


def log_to_tensorboard(writer, data: ReportData, *, pictures: int, step: int) -> None:
    """Write curves, at most `pictures` scans, the worst first, and the tables to a `SummaryWriter`."""
    from PIL import Image

    for stem, figure in figures(data).items():
        with Image.open(io.BytesIO(png_bytes(figure))) as picture:
            writer.add_image(f"test/{stem}", np.asarray(picture.convert("RGB")), step, dataformats="HWC")
    shown = data.worst[:pictures]
    limits = class_limits(shown)
    for panel in shown:
        picture = panel_png(panel, limits[panel.class_name])
        writer.add_image(f"test/{panel.key}", np.asarray(picture), step, dataformats="HWC")
    for tag, text in (
        ("verdict", "\n\n".join(verdict(data))),
        ("metrics", _metrics(data)),
        ("scans", _scans(data)),
        ("commands", "\n\n".join(f"    {command}" for command in data.commands.values())),
        ("config", "\n".join(f"    {line}" for line in data.config.splitlines())),
    ):
        if text:
            writer.add_text(f"test/{tag}", text, step)


def _metrics(data: ReportData) -> str:
    rows = [
        (row_title(name, data), class_name, values)
        for rows in (data.metrics, data.baselines, data.transductive)
        for name, classes in rows.items()
        for class_name, values in with_mean(dict(classes)).items()
    ]
    columns = metric_columns(values for *_, values in rows)
    lines = [[m, c, *(f"{v[k]:.3f}" if k in v else "" for k in columns)] for m, c, v in rows]
    return markdown_table(["method", "class", *map(label_of, columns)], lines) if lines else ""


def _scans(data: ReportData) -> str:
    scans = sorted(data.judged, key=lambda scan: -scan.score)
    lines = [[scan.key, scan.kind, f"{scan.score:.4g}", scan.word] for scan in scans]
    return markdown_table(["scan", "defect", "score", "verdict"], lines) if lines else ""
