"""How the scans were judged: the confusion at the threshold, the defect kinds, every scan, and what it took."""

from html import escape

from threedzal.figures import label_of
from threedzal.report.content import ReportData, ScanOutcome
from threedzal.report.html import badge, group, number, percent, row, section, table
from threedzal.report.judgement import Share, by_kind, confusion, found
from threedzal.report.tables import metric_columns

KIND_METRICS = ("object_aupro_0.3", "object_aupro_0.05", "aupro_0.3", "pixel_ap", "image_auroc")  # all are in the CSV


def confusion_section(data: ReportData) -> str:
    """A row a class: its defective scans found and missed, its good scans passed and under false alarm."""
    scans = [scan for scan in data.judged if scan.verdict is not None]
    if not scans:
        return ""
    heads = ["class", "defective, found", "defective, missed", "good, passed", "good, false alarm"]
    rows = ""
    names = [name for name in data.classes if any(scan.class_name == name for scan in scans)]
    for name in names:
        rows += row(name, _counts([scan for scan in scans if scan.class_name == name]))
    groups = [group(rows)]
    if len(names) > 1:
        groups.append(group(row("all classes", _counts(scans), kind="main")))
    notes = f"Scans. A scan is judged defective from a score of {data.threshold:.4g} on. {escape(data.threshold_note)}"
    return section("Verdicts at the threshold", table(heads, groups), notes)


def defects_section(data: ReportData) -> str:
    """A group of rows a class, a row a defect kind: how many were found, and how well they were localised."""
    kinds = by_kind([scan for scan in data.judged if scan.label])
    judged = any(scan.verdict is not None for scan in data.judged)
    columns = metric_columns(values for one in data.defects.values() for values in one.values())
    columns = [name for name in columns if name in KIND_METRICS] or columns
    if not columns and not (judged and kinds):
        return ""
    heads = ["defect", "scans", *(["found", "recall", "95 % interval"] if judged else []), *map(label_of, columns)]
    groups = []
    for name in dict.fromkeys([*data.classes, *data.defects]):
        metrics, scans = data.defects.get(name, {}), kinds.get(name, {})
        rows = ""
        for kind in sorted({*metrics, *scans}):
            share, some = found(scans.get(kind, [])), scans.get(kind, [])
            cells = [f'<data value="{len(some)}">{len(some) or "&ndash;"}</data>', *(_recall(share) if judged else [])]
            cells += [number(metrics.get(kind, {}).get(metric)) for metric in columns]
            rows += row(kind.replace("_", " "), cells)
        if rows:
            groups.append(group(rows, title=name, span=len(heads)))
    notes = "Metrics are of each kind's scans together with the good scans, by the fused map."
    if judged:
        notes = "Recall is the share of a kind's scans that was judged defective at the threshold. " + notes
    return section("By defect kind", table(heads, groups), notes)


def scans_table(data: ReportData) -> str:
    """Every test scan: its kind, its score and how it was judged; folded in."""
    if not data.judged:
        return ""
    rows = "".join(
        row(scan.key, [escape(scan.kind.replace("_", " ")), number(scan.score), badge(scan.word)])
        for scan in sorted(data.judged, key=lambda scan: -scan.score)
    )
    body = table(["scan", "kind", "score", "verdict"], [group(rows)], kind="scores")
    return f"<details><summary>All {len(data.judged)} scans by score</summary>{body}</details>"


def costs_section(data: ReportData) -> str:
    """What fitting and testing took."""
    rows = "".join(row(name, [escape(text)]) for name, text in data.costs.items())
    return section("Time and memory", table(["", ""], [group(rows)], kind="plain")) if rows else ""


def _counts(scans: list[ScanOutcome]) -> list[str]:
    counts = confusion(scans)
    moods = {"found": "good", "missed": "bad", "passed": "good", "false alarm": "bad"}
    return [
        f'<td class="{moods[word] if counts[word] else "none"}"><data value="{counts[word]}">{counts[word]}</data></td>'
        for word in ("found", "missed", "passed", "false alarm")
    ]


def _recall(share: Share) -> list[str]:
    low, high = share.interval
    interval = f'<data value="{float(low)!r}">{low:.0%} to {high:.0%}</data>' if share.total else "&ndash;"
    return [f'<data value="{share.hits}">{share.hits}</data>', percent(share.rate), f"<td class=range>{interval}</td>"]
