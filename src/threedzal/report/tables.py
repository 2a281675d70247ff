"""The tables of metrics: the method beside its parts, its baselines and the floor."""

import math
from collections.abc import Iterable, Mapping
from html import escape

from threedzal.figures import FLOOR, METRICS, label_of
from threedzal.report.content import ROWS, ReportData, mean_of, with_mean
from threedzal.report.html import group, number, row, section, table
from threedzal.report.judgement import Share, found, passed

HEADLINES = ("object_aupro_0.3", "aupro_0.3", "image_auroc")


def headline_section(data: ReportData) -> str:
    """Cards: the three metrics that decide, with the floor beside, and how the scans were judged."""
    cards = []
    if main := data.main_row:
        ours, floor = mean_of(data.metrics[main]), mean_of(data.metrics.get(FLOOR, {}))
        for metric in [name for name in HEADLINES if name in ours] or list(ours)[:3]:
            above = _above(ours[metric], floor.get(metric))
            cards.append(_card(label_of(metric), number(ours[metric]), above))
    for what, share in (("defective scans found", found(data.judged)), ("good scans passed", passed(data.judged))):
        if share.total:
            cards.append(_card(what, f"{share.hits}<small> of {share.total}</small>", _interval(share)))
    return f'<div class="cards">{"".join(cards)}</div>' if cards else ""


def metrics_section(data: ReportData) -> str:
    """One table, a group of rows a class: the method, its parts, the baselines, and the floor, which knows nothing."""
    tables = (data.metrics, data.baselines, data.transductive)
    columns = metric_columns(values for rows in tables for classes in rows.values() for values in classes.values())
    if not columns:
        return ""
    span = len(columns) + 1
    groups = _class_groups(data, columns)
    if data.transductive:
        groups.append(_apart("Transductive", span))
        groups += _class_groups(ReportData(title="", metrics=data.transductive), columns)
    notes = [
        "All figures are between 0 and 1, higher is better. AUPRO is how much of each defect the map covers while it "
        "marks few good pixels; <em>object-only</em> counts good pixels on the object alone, which is what decides. "
        "The <em>foreground</em> row is a constant on the object and zero elsewhere: it has found the object and knows "
        "nothing of defects. Figures set in grey do not beat it."
    ]
    if data.baselines:
        notes.append("Baselines were tested on the same scans by runs of their own.")
    elif "classification" in data.metrics:
        notes.append("The <em>distance</em> row is what a memory bank alone, as BTF and PatchCore use it, would say.")
    if data.transductive:
        notes.append("Transductive methods look at the whole test batch before they judge a scan of it.")
    return section("Metrics", table(["method", *map(label_of, columns)], groups), " ".join(notes))


def metric_columns(tables: Iterable[Mapping[str, float]]) -> list[str]:
    """Metrics in the order of METRICS, unknown ones after them in the order of their appearance."""
    present = list(dict.fromkeys(metric for values in tables for metric in values))
    return [name for name in METRICS if name in present] + [name for name in present if name not in METRICS]


def row_title(name: str, data: ReportData) -> str:
    """`fused` -> `3DzAL, fused`, or `BTF` where there is nothing to fuse; a row not known here, as it is."""
    if name == "fused" and "classification" not in data.metrics:
        return data.method
    return ROWS[name].format(method=data.method) if name in ROWS else name


def _class_groups(data: ReportData, columns: list[str]) -> list[str]:
    ours = {name: with_mean(dict(classes)) for name, classes in data.metrics.items()}
    whole = set(data.classes)  # a mean over fewer classes is none to compare with
    others = {n: with_mean(dict(found)) if whole <= set(found) else found for n, found in data.baselines.items()}
    ordered = [name for name in ROWS if name in ours and name != FLOOR]
    if "classification" not in ours and "fused" in ours and ours.get("distance") == ours["fused"]:
        ordered.remove("distance")  # there is nothing to fuse: one figure is not shown twice
    ordered += [name for name in ours if name not in ROWS]
    groups = []
    for name in dict.fromkeys(name for classes in (*ours.values(), *others.values()) for name in classes):
        floor = ours.get(FLOOR, {}).get(name, {})
        lines = [(row_title(r, data), ours[r], "main" if r == data.main_row else "") for r in ordered]
        lines += [(title, classes, "baseline") for title, classes in others.items()]
        body = "".join(
            row(title, _cells(classes[name], columns, floor), kind=kind)
            for title, classes, kind in lines
            if name in classes
        )
        if floor:
            body += row(ROWS[FLOOR], _cells(floor, columns, {}), kind="floor")
        title = "mean over classes" if name == "mean" else name
        groups.append(group(body, title=title, span=len(columns) + 1))
    return groups


def _cells(values: Mapping[str, float], columns: list[str], floor: Mapping[str, float]) -> Iterable[str]:
    for metric in columns:
        value, bar = values.get(metric), floor.get(metric)
        below = value is not None and bar is not None and not value > bar
        yield f"{'<td class=below>' if below else '<td>'}{number(value)}</td>"


def _apart(title: str, span: int) -> str:
    return f'<tbody class="reserved"><tr class="group"><th colspan="{span}"><span>{title}</span></th></tr></tbody>'


def _card(title: str, value: str, note: str) -> str:
    return f'<div class="card"><div class="what">{escape(title)}</div><div class="value">{value}</div>{note}</div>'


def _above(value: float, floor: float | None) -> str:
    if floor is None or not (math.isfinite(floor) and math.isfinite(value)):
        return '<div class="hint">&nbsp;</div>'
    kind = "up" if value > floor else "down"
    return f'<div class="hint {kind}">{value - floor:+.3f} to the floor, {floor:.3f}</div>'


def _interval(share: Share) -> str:
    low, high = share.interval
    return f'<div class="hint">{low:.0%} to {high:.0%}, 95 % interval</div>'
