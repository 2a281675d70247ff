"""The table as text, Markdown and CSV; every single figure as CSV."""

from __future__ import annotations

import io
from collections.abc import Sequence

from threedzal.comparison.plan import Comparison
from threedzal.comparison.summary import COLUMNS, Group, Results, Row
from threedzal.figures import Spread, csv_text, label_of, markdown_table, short_label_of
from threedzal.protocol.files import results_csv

COSTS = {
    "fit_seconds": "fit, s",
    "milliseconds_a_scan": "a scan, ms",
    "fitted_bytes": "on disk, MiB",
}
NOTE = (
    "Mean ± standard deviation over pairs, test classes and seeds. Fit: wall time of the command, start-up included; a "
    "scan: from arrays to its map, one at a time, nothing kept from before; on disk: the fitted file. "
    "foreground: a constant on the object, which knows nothing of defects."
)


def used_metrics(groups: Sequence[Group]) -> list[str]:
    """Those that any row has."""
    return [metric for metric in COLUMNS if any(metric in row.metrics for group in groups for row in group.rows)]


def figure(spread: Spread | None, *, digits: int = 3) -> str:
    """`0.743 ± 0.021`, or a dash."""
    return "-" if spread is None else spread.text(digits)


def costs(row: Row) -> list[str]:
    """Fit seconds, milliseconds a scan, MiB of the fitted file."""
    size = row.fitted_bytes
    mebibytes = size and Spread(size.mean / 2**20)
    plain = [value and Spread(value.mean) for value in (row.fit_seconds, row.milliseconds_a_scan)]
    return [figure(plain[0], digits=0), figure(plain[1], digits=0), figure(mebibytes, digits=1)]


def tests_done(row: Row) -> str:
    """`24`, or `20 of 24`."""
    return str(row.done) if row.done == row.wanted else f"{row.done} of {row.wanted}"


def is_best(group: Group, row: Row, metric: str) -> bool:
    """The method that is ahead of the others in the group."""
    return not row.floor and metric in row.metrics and round(row.metrics[metric].mean, 3) == group.best(metric)


def markdown(groups: Sequence[Group]) -> str:
    """GitHub's Markdown, a table a setting; the best of each column in bold."""
    metrics, parts = used_metrics(groups), []
    for group in groups:
        header = ["method", *map(label_of, metrics), *COSTS.values(), "tests"]
        lines = []
        for row in group.rows:
            cells = [figure(row.metrics.get(m)) for m in metrics]
            cells = [f"**{c}**" if is_best(group, row, m) else c for c, m in zip(cells, metrics, strict=True)]
            lines.append([row.name, *cells, *costs(row), tests_done(row)])
        parts.append(f"**{group.title}**\n\n{markdown_table(header, lines)}")
    return "\n\n".join([*parts, NOTE]) + "\n"


def text(groups: Sequence[Group], *, width: int = 150) -> str:
    """For a terminal; the best of each column is marked by a star."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=width, record=True, file=io.StringIO())
    metrics = used_metrics(groups)
    for group in groups:
        table = Table(title=group.title, title_justify="left")
        table.add_column("method", overflow="fold")
        for title in (*(short_label_of(m) for m in metrics), *COSTS.values(), "tests"):
            table.add_column(title, justify="right")
        for row in group.rows:
            cells = [figure(row.metrics.get(m)).replace(" ± ", "\n± ") for m in metrics]
            cells = [f"*{c}" if is_best(group, row, m) else c for c, m in zip(cells, metrics, strict=True)]
            table.add_row(row.name, *cells, *costs(row), tests_done(row))
        console.print(table)
    return console.export_text() + NOTE + "\n"


def table_csv(groups: Sequence[Group]) -> str:
    """A line a row of the table, all digits: mean and deviation of each metric, and the costs."""
    metrics = used_metrics(groups)
    header = ["setting", "method", "tests", "wanted"]
    header += [name for m in metrics for name in (m, f"{m}_deviation")] + list(COSTS)
    lines = []
    for group in groups:
        for row in group.rows:
            numbers = [row.metrics.get(m) for m in metrics]
            values = [v for s in numbers for v in ((s.mean, s.deviation) if s else (None, None))]
            spent = [spread and spread.mean for spread in (row.fit_seconds, row.milliseconds_a_scan, row.fitted_bytes)]
            lines.append([group.setting, row.name, row.done, row.wanted, *values, *spent])
    return csv_text(header, lines)


def runs_csv(comparison: Comparison, results: Results) -> str:
    """Every figure of every test, one a line: method, train, test, seed, score, defect kind, metric, value."""
    return results_csv(
        {
            (method.name, pair.train, name, seed): result
            for method in comparison.methods
            for pair in comparison.pairs
            for seed in comparison.seeds
            if (result := results.get((method.name, str(pair), seed)))
            for name in pair.test
        }
    )
