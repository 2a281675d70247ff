"""One self-contained page: the table, what failed, and a row of pictures a scan with a column a method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from threedzal.comparison.pictures import ScanRow
from threedzal.comparison.plan import Comparison
from threedzal.comparison.summary import Group, Row
from threedzal.comparison.tables import COSTS, NOTE, costs, is_best, tests_done, used_metrics
from threedzal.figures import Spread, label_of
from threedzal.protocol import Failure, Job
from threedzal.report.content import pixel_overlap
from threedzal.report.gallery import class_limits, truth_picture, with_truth
from threedzal.report.html import badge, group, number, row, section, table
from threedzal.report.images import webp_uri
from threedzal.report.page import document, heading

SIDE = 224  # longer side of a picture
PICTURES = (
    "The same scans, mapped by each method's fitted file of the first seed. The turquoise line is the true defect. A "
    "method has one colour scale a pair, from the median of its maps' values to the 95th percentile of their maxima. "
    "Covers: how much of the defect the map's highest pixels cover, of as many as the defect has."
)


def comparison_page(
    comparison: Comparison,
    groups: Sequence[Group],
    scans: Sequence[Sequence[ScanRow]],
    failures: Mapping[Job, Failure],
    *,
    command: str = "",
) -> str:
    """The page as text; nothing is fetched. Scans: as `scan_rows` gives them, one list a pair and test class."""
    names = [method.name for method in comparison.methods]
    facts = {
        "Methods": ", ".join(names),
        "Pairs": "; ".join(map(str, comparison.pairs)),
        "Seeds": ", ".join(map(str, comparison.seeds)),
    }
    sections = [
        heading("Methods compared", "The same training and test classes, seeds, metrics and scans for all", facts),
        *(section(escape(each.title), _table(each, used_metrics(groups)), NOTE) for each in groups),
        section("What failed", _failures(failures)),
        section("Scans", "".join(_pictures(rows, names) for rows in scans if rows), PICTURES),
        section("How to reproduce it", f"<pre><code>{escape(command)}</code></pre>" if command else ""),
    ]
    return document("Methods compared", sections)


def _table(each: Group, metrics: Sequence[str]) -> str:
    heads = ["method", *map(label_of, metrics), *COSTS.values(), "tests"]
    return table(heads, [group("".join(_row(each, one, metrics) for one in each.rows))])


def _row(each: Group, one: Row, metrics: Sequence[str]) -> str:
    cells = []
    for metric in metrics:
        text = _figure(one.metrics.get(metric))
        cells.append(f"<td><b>{text}</b></td>" if is_best(each, one, metric) else text)
    cells += [escape(text) for text in (*costs(one), tests_done(one))]
    return row(one.name, cells, kind="floor" if one.floor else "")


def _figure(spread: Spread | None) -> str:
    text = number(spread and spread.mean)
    return text if spread is None or spread.deviation is None else f"{text}<br><small>± {spread.deviation:.3f}</small>"


def _failures(failures: Mapping[Job, Failure]) -> str:
    items = "".join(
        f"<li><b>{escape(str(job))}</b>: {escape(failure.sentence)}<br><code>{escape(str(failure.log))}</code></li>"
        for job, failure in failures.items()
    )
    return f'<ul class="failures">{items}</ul>' if items else ""


def _pictures(rows: Sequence[ScanRow], names: Sequence[str]) -> str:
    """One pair and test class: a table whose rows are scans."""
    limits = {}
    for name in names:
        panels = [each.panels[name] for each in rows if name in each.panels]
        limits[name] = class_limits(panels)[panels[0].class_name] if panels else {}
    body = ""
    for each in rows:
        panel = next(iter(each.panels.values()), None)
        truth = _picture(truth_picture(panel), f"ground truth of {panel.key}") if panel else ""
        cells = [truth, *(_cell(each, name, limits[name]) for name in names)]
        label = f"{each.record.defect}<br><small>{escape(each.record.name)}</small>"
        body += f'<tr><th scope="row">{label}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in ("scan", "ground truth", *names))
    kind = "in-class" if rows[0].pair.in_class else f"learned on {' + '.join(rows[0].pair.train)}"
    return (
        f"<h3>{escape(rows[0].record.class_name)} <small>{escape(kind)}</small></h3>"
        f'<div class="scroll"><table class="versus"><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _cell(each: ScanRow, name: str, limits) -> str:
    panel = each.panels.get(name)
    if panel is None:
        return f'<p class="none">{escape(each.reasons.get(name, "no map"))}</p>'
    overlap = pixel_overlap(panel)
    covers = "" if overlap is None else f"<br>covers {overlap:.0%}"
    return (
        _picture(with_truth(panel, "map", limits), f"map of {panel.key} by {name}")
        + f"<p>{badge(panel.word)} {number(panel.score)}{covers}</p>"
    )


def _picture(picture: np.ndarray, alt: str) -> str:
    return f'<img src="{webp_uri(picture, side=SIDE)}" alt="{escape(alt)}">'
