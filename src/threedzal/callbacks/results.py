"""What a test run found, as plain data: for the table on the terminal, the loggers and the report."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from threedzal.data.scan import ScanRecord
from threedzal.detector import ScanScores
from threedzal.figures import short_label_of

ROWS = ("fused", "distance", "classification", "both", "batch", "foreground")
COLUMNS = (
    "aupro_0.3",
    "aupro_0.05",
    "object_aupro_0.3",
    "object_aupro_0.05",
    "pixel_auroc",
    "image_auroc",
    "image_ap",
    "best_f1",
)
Curve = tuple["torch.Tensor", "torch.Tensor"]


@dataclass
class TestedScan:
    """A test scan's scores, and its maps (H,W) float16 at the network's size, on the CPU."""

    __test__ = False  # not a test case, whatever pytest makes of the name

    record: ScanRecord
    scores: dict[str, float]
    maps: dict[str, Tensor]

    @classmethod
    def of(cls, scores: ScanScores, row: int, record: ScanRecord) -> TestedScan:
        """Row `row` of a scored batch."""
        return cls(
            record,
            {name: float(values[row]) for name, values in scores.scores.items()},
            {name: values[row].half().cpu() for name, values in scores.maps.items() if name != "foreground"},
        )


@dataclass
class TestResults:
    """Metrics by class, curves by class, and the scans behind them.

    What a batch says of itself stands apart: a method that sees the whole test batch is not to be compared with one
    that sees a scan at a time.
    """

    __test__ = False

    metrics: dict[str, dict[str, float]]  # {class: {"fused/aupro_0.3": ..., "fused/defect/hole/aupro_0.3": ...}}
    scans: list[TestedScan] = field(default_factory=list)
    pro_curves: dict[str, Curve] = field(default_factory=dict)
    floor_pro_curves: dict[str, Curve] = field(default_factory=dict)
    roc_curves: dict[str, Curve] = field(default_factory=dict)
    transductive: TestResults | None = None

    @classmethod
    def of(cls, metrics: dict, scans: list[TestedScan], transductive: TestResults | None = None) -> TestResults:
        """Compute the `ScanMetrics` of each class (all processes take part)."""
        results = cls({}, sorted(scans, key=lambda scan: scan.record.key), transductive=transductive)
        for name, metric in metrics.items():
            results.metrics[name] = {key: float(value) for key, value in metric.compute().items()}
            curves = metric.curves()
            results.pro_curves[name], results.roc_curves[name] = curves["pro"], curves["roc"]
            results.floor_pro_curves[name] = curves["floor_pro"]
        return results

    def mean(self) -> dict[str, float]:
        """Mean over the classes of what every class has."""
        if not self.metrics:
            return {}
        shared = set.intersection(*(set(values) for values in self.metrics.values()))
        names = [name for name in next(iter(self.metrics.values())) if name in shared and "/defect/" not in name]
        return {name: sum(values[name] for values in self.metrics.values()) / len(self.metrics) for name in names}

    def flat(self) -> dict[str, float]:
        """`{"ring/fused/aupro_0.3": ..., "mean/fused/aupro_0.3": ...}` for loggers."""
        tables = {**self.metrics, "mean": self.mean()}
        flat = {f"{name}/{key}": value for name, values in tables.items() for key, value in values.items()}
        apart = {} if self.transductive is None else self.transductive.flat()
        return {**flat, **{f"transductive/{key}": value for key, value in apart.items()}}

    def table(self) -> dict[str, dict[str, dict[str, float]]]:
        """`{row: {class: {metric: value}}}` without the defect kinds."""
        table: dict[str, dict[str, dict[str, float]]] = {}
        for name, values in self.metrics.items():
            for key, value in values.items():
                row, metric = key.split("/", 1)
                if not metric.startswith("defect/"):
                    table.setdefault(row, {}).setdefault(name, {})[metric] = value
        return table

    def defect_table(self) -> dict[str, dict[str, dict[str, float]]]:
        """`{class: {defect kind: {metric: value}}}` of the fused score."""
        table: dict[str, dict[str, dict[str, float]]] = {}
        for name, values in self.metrics.items():
            for key, value in values.items():
                if key.startswith("fused/defect/"):
                    kind, metric = key.removeprefix("fused/defect/").split("/", 1)
                    table.setdefault(name, {}).setdefault(kind, {})[metric] = value
        return table


def print_table(results: TestResults) -> None:
    """The metrics of every class and their mean, on the terminal; those of batches that judged themselves below."""
    if results.metrics:
        _print(results, "Test (foreground: a constant on the object, the floor that any method must beat)")
    if results.transductive is not None:
        _print(results.transductive, "Transductive: the whole test batch is seen, each scan is judged by the others")


def _print(results: TestResults, title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    table.add_column("class")
    table.add_column("score")
    for column in COLUMNS:
        table.add_column(short_label_of(column), justify="right")
    for name, values in {**results.metrics, "mean": results.mean()}.items():
        rows = [row for row in ROWS if f"{row}/aupro_0.3" in values]
        for row in rows:
            numbers = [f"{values[f'{row}/{column}']:.3f}" for column in COLUMNS]
            table.add_row(name if row == rows[0] else "", row, *numbers, style="bold" if row == rows[0] else None)
        table.add_section()
    Console(width=140).print(table)
