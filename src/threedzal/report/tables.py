"""Tables of metrics as HTML, JSON and CSV."""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from threedzal.report.content import FLOOR, METRICS, ROWS, ReportData, mean_of, with_mean

HEADLINES = ("object_aupro_0.3", "aupro_0.3", "image_auroc")


def headline_section(data: ReportData) -> str:
    """Cards: the three metrics that decide, with the floor beside, and how the scans were judged."""
    cards = []
    main = next((row for row in ("fused", *data.metrics) if row in data.metrics), None)
    if main:
        ours, floor = mean_of(data.metrics[main]), mean_of(data.metrics.get(FLOOR, {}))
        for metric in [name for name in HEADLINES if name in ours] or list(ours)[:3]:
            above = _above(ours[metric], floor.get(metric))
            cards.append(_card(label_of(metric), number(ours[metric]), above))
    judged = [scan for scan in data.judged if scan.verdict is not None]
    if judged:
        for label, right, what in ((1, "found", "defective scans found"), (0, "passed", "good scans passed")):
            scans = [scan for scan in judged if scan.label == label]
            if scans:
                hits = sum(scan.word == right for scan in scans)
                cards.append(_card(what, f"{hits}<small> of {len(scans)}</small>", _threshold(data.threshold)))
    return f'<div class="cards">{"".join(cards)}</div>' if cards else ""


def metrics_section(data: ReportData) -> str:
    """One table, a group of rows a class: the method, its parts, and last the floor, which knows nothing of defects."""
    if not (data.metrics or data.transductive):
        return ""
    tables = (*data.metrics.values(), *data.transductive.values())
    columns = _columns(values for classes in tables for values in classes.values())
    groups = _class_groups(data.metrics, columns)
    span = len(columns) + 1
    if data.transductive:
        groups += _heading("Transductive", span)
        groups += _class_groups(data.transductive, columns)
    else:
        groups += _heading("Transductive: none in this run", span)
    notes = (
        "All figures are between 0 and 1, higher is better. The <em>foreground</em> row is a constant on the object "
        "and zero elsewhere: it has found the object and knows nothing of defects. Figures set in grey do not beat it. "
        "Transductive methods look at the whole test batch before they judge a scan of it."
    )
    return _section("Metrics", _table("method", columns, groups), notes)


def defects_section(data: ReportData) -> str:
    """One table, a group of rows a class and a row a defect kind."""
    if not data.defects:
        return ""
    columns = _columns(values for kinds in data.defects.values() for values in kinds.values())
    groups = ""
    for name, kinds in data.defects.items():
        rows = "".join(_row(kind.replace("_", " "), values, columns) for kind, values in kinds.items())
        groups += f"<tbody>{_heading_row(name, len(columns) + 1)}{rows}</tbody>"
    notes = "Each kind against the good scans, by the fused map."
    return _section("By defect kind", _table("defect", columns, groups), notes)


def metrics_json(data: ReportData) -> str:
    """All tables as JSON; a figure that could not be computed (NaN) is null."""
    content = {
        "title": data.title,
        "command": data.command,
        "facts": data.facts,
        "threshold": data.threshold,
        "metrics": data.metrics,
        "defects": data.defects,
        "transductive": data.transductive,
    }
    return json.dumps(_plain(content), indent=2, allow_nan=False) + "\n"


def metrics_csv(data: ReportData) -> str:
    """All figures as one long table: setting, method, class, defect, metric, value."""
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("setting", "method", "class", "defect", "metric", "value"))
    for setting, rows in (("zero-shot", data.metrics), ("transductive", data.transductive)):
        for row, classes in rows.items():
            for name, values in with_mean(classes).items():
                table.writerows((setting, row, name, "all", metric, float(value)) for metric, value in values.items())
    for name, kinds in data.defects.items():
        for kind, values in kinds.items():
            table.writerows(("zero-shot", "fused", name, kind, metric, float(v)) for metric, v in values.items())
    return text.getvalue()


def label_of(metric: str) -> str:
    """`image_auroc` -> `image AUROC`; a name not known here, with spaces."""
    return METRICS.get(metric, metric.replace("_", " "))


def number(value: float | None) -> str:
    """A figure as HTML, three decimals shown and all digits kept in `value`; an en dash where there is none."""
    if value is None or not math.isfinite(value):
        return "&ndash;"
    return f'<data value="{float(value)!r}">{value:.3f}</data>'


def _columns(tables: Iterable[Mapping[str, float]]) -> list[str]:
    """Metrics in the order of METRICS, unknown ones after them in the order of their appearance."""
    present = list(dict.fromkeys(metric for values in tables for metric in values))
    return [name for name in METRICS if name in present] + [name for name in present if name not in METRICS]


def _class_groups(rows: Mapping[str, Mapping[str, Mapping[str, float]]], columns: list[str]) -> str:
    filled = {row: with_mean(dict(classes)) for row, classes in rows.items()}
    ordered = [*(row for row in ROWS if row in filled and row != FLOOR), *(row for row in filled if row not in ROWS)]
    ordered += [FLOOR] * (FLOOR in filled)
    groups = ""
    for name in dict.fromkeys(name for classes in filled.values() for name in classes):
        floor = filled.get(FLOOR, {}).get(name, {})
        body = "".join(
            _row(ROWS.get(row, row), filled[row][name], columns, floor=floor, kind=row)
            for row in ordered
            if name in filled[row]
        )
        heading = _heading_row("mean over classes" if name == "mean" else name, len(columns) + 1)
        groups += f"<tbody>{heading}{body}</tbody>"
    return groups


def _row(title: str, values: Mapping[str, float], columns: list[str], *, floor=None, kind: str = "") -> str:
    cells = ""
    for metric in columns:
        value, bar = values.get(metric), (floor or {}).get(metric)
        below = kind != FLOOR and value is not None and bar is not None and not value > bar
        cells += f"{'<td class=below>' if below else '<td>'}{number(value)}</td>"
    classes = {"fused": ' class="main"', FLOOR: ' class="floor"'}.get(kind, "")
    return f'<tr{classes}><th scope="row">{escape(title)}</th>{cells}</tr>'


def _table(first: str, columns: list[str], groups: str) -> str:
    heads = "".join(f'<th scope="col">{escape(label_of(metric))}</th>' for metric in columns)
    return (
        f'<div class="scroll"><table><thead><tr><th scope="col">{first}</th>{heads}</tr></thead>{groups}</table></div>'
    )


def _heading_row(title: str, span: int) -> str:
    return f'<tr class="group"><th colspan="{span}" scope="rowgroup"><span>{escape(title)}</span></th></tr>'


def _heading(title: str, span: int) -> str:
    return f'<tbody class="reserved">{_heading_row(title, span)}</tbody>'


def _section(title: str, body: str, notes: str = "") -> str:
    return f"<section><h2>{title}</h2>{body}{f'<p class=note>{notes}</p>' if notes else ''}</section>"


def _card(title: str, value: str, note: str) -> str:
    return f'<div class="card"><div class="what">{escape(title)}</div><div class="value">{value}</div>{note}</div>'


def _above(value: float, floor: float | None) -> str:
    if floor is None or not (math.isfinite(floor) and math.isfinite(value)):
        return '<div class="hint">&nbsp;</div>'
    kind = "up" if value > floor else "down"
    return f'<div class="hint {kind}">{value - floor:+.3f} to the floor, {floor:.3f}</div>'


def _threshold(threshold: float | None) -> str:
    return f'<div class="hint">{"" if threshold is None else f"at the threshold {threshold:.3g}"}</div>'


def _plain(value: Any) -> Any:
    """Numpy and torch scalars to Python's, NaN and infinity to None, whatever the depth."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if value is None or isinstance(value, str):
        return value
    return float(value) if math.isfinite(value) else None
