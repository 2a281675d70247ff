"""A report's content as W&B shows it: tables that sort in the browser, native plots, the fitted file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from threedzal.colour import depth_picture
from threedzal.report.content import Curve, ReportData, ScanOutcome, ScanPanel, pixel_overlap, with_mean
from threedzal.report.gallery import class_limits, truth_picture, with_truth
from threedzal.report.images import shrunk
from threedzal.report.tables import metric_columns, row_title

PICTURES = ("RGB", "depth", "ground truth", "distance map", "classifier map", "fused map")
COLUMNS = ("scan", "class", "defect", "label", "score", "verdict", "overlap", *PICTURES)
SIDE = 256  # longer side of a logged picture: some 60 kB a scan
PLOT_POINTS = 300


def log_to_wandb(run, data: ReportData, *, pictures: int, step: int) -> None:
    """Log tables and plots below `test/`; `pictures` scans at most have pictures, the worst first."""
    content = {"test/scans": scans_table(data, pictures=pictures), "trainer/global_step": step}
    if columns := metric_columns(
        v for rows in (data.metrics, data.baselines) for c in rows.values() for v in c.values()
    ):
        content["test/metrics"] = metrics_table(data, columns)
    if data.pro_curves:
        floor = {f"{name}, floor": curve for name, curve in data.floor_pro_curves.items()}
        content["test/pro_curve"] = _plot(
            data.pro_curves | floor, "PRO", "false-positive rate of pixels", limit=data.pro_limit
        )
    if data.roc_curves:
        content["test/roc_curve"] = _plot(data.roc_curves, "ROC", "good scans judged defective", limit=1.0)
    run.log(content)


def scans_table(data: ReportData, *, pictures: int):
    """A row a test scan, the worst first; those after the first `pictures` are without pictures."""
    import wandb

    shown = data.worst[:pictures]
    limits = class_limits(shown)
    table = wandb.Table(columns=list(COLUMNS))
    for panel in shown:
        overlap = pixel_overlap(panel)
        images = [_image(picture) for picture in _pictures(panel, limits[panel.class_name])]
        table.add_data(*_row(panel), overlap, *images)
    with_pictures = {panel.key for panel in shown}
    for scan in data.judged:
        if scan.key not in with_pictures:
            table.add_data(*_row(scan), None, *[None] * len(PICTURES))
    return table


def metrics_table(data: ReportData, columns: Sequence[str]):
    """A row a method and class, the baselines and the floor among them."""
    import wandb

    table = wandb.Table(columns=["method", "class", *columns])
    for rows in (data.metrics, data.baselines):
        for name, classes in rows.items():
            for class_name, values in with_mean(dict(classes)).items():
                numbers = [float(values[metric]) if metric in values else None for metric in columns]
                table.add_data(row_title(name, data), class_name, *numbers)
    return table


def fitted_artifact(name: str, paths: Sequence[Path], figures: Mapping[str, float]):
    """The fitted file and what lies beside it, with its figures as metadata. The files are not copied."""
    import wandb

    metadata: dict[str, dict[str, float]] = {}  # {"ring": {"fused/aupro_0.3": ...}}: W&B takes 100 keys, but any depth
    for key, value in figures.items():
        if np.isfinite(value):
            first, _, rest = key.partition("/")
            metadata.setdefault(first, {})[rest or first] = value
    artifact = wandb.Artifact(name, type="model", metadata=metadata)
    for path in paths:
        artifact.add_file(str(path), policy="immutable", skip_cache=True)
    return artifact


def _row(scan: ScanOutcome) -> tuple:
    return scan.key, scan.class_name, scan.kind, scan.label, float(scan.score), scan.word


def _pictures(panel: ScanPanel, limits: Mapping[str, tuple[float, float]]) -> list[np.ndarray | None]:
    """Those of PICTURES, None where the scan has none."""
    maps = [with_truth(panel, kind, limits) for kind in ("distance_map", "classifier_map", "map")]
    depth = None if panel.depth is None else depth_picture(np.asarray(panel.depth))
    return [panel.rgb, depth, truth_picture(panel), *maps]


def _image(picture: np.ndarray | None):
    import wandb

    return None if picture is None else wandb.Image(shrunk(picture, SIDE), file_type="jpg")


def _plot(curves: Mapping[str, Curve], title: str, xname: str, *, limit: float):
    import wandb

    grid = np.linspace(0, limit, PLOT_POINTS)
    lines = {name: np.interp(grid, np.asarray(x, float), np.asarray(y, float)) for name, (x, y) in curves.items()}
    lines = {name: line for name, line in lines.items() if np.isfinite(line).all()}
    return wandb.plot.line_series(
        xs=grid.tolist(), ys=[line.tolist() for line in lines.values()], keys=list(lines), title=title, xname=xname
    )
