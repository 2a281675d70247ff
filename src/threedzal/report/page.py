"""The report's folder: one self-contained page, and the same content as PNG, JSON and CSV beside it."""

import json
from collections.abc import Iterable, Mapping
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from threedzal.colour import HEAT
from threedzal.files import atomic_path, write_text
from threedzal.report.content import ReportData
from threedzal.report.curves import curves_section, figures, scores_section, training_section
from threedzal.report.gallery import gallery_section
from threedzal.report.html import section
from threedzal.report.judgement import verdict
from threedzal.report.outcome_tables import confusion_section, costs_section, defects_section
from threedzal.report.records import curves_csv, metrics_csv, metrics_json, scans_csv
from threedzal.report.tables import headline_section, metrics_section

# `default-src 'none'`: the browser itself sees to it that nothing is fetched
PAGE = Template(
    """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<link rel="icon" href="data:,">
<title>$title</title>
<style>
$style
.bar { background: linear-gradient(90deg, $heat); }
</style>
</head>
<body>
<main>
$body
</main>
<script type="application/json" id="heat">$ramp</script>
<script>
$script
</script>
</body>
</html>
"""
)


def write_report(folder: str | Path, data: ReportData, *, max_scans: int = 48) -> Path:
    """Write `index.html`, `metrics.json`, `metrics.csv`, `scans.csv`, `curves.csv`, `pro_curve.png`, `roc_curve.png`,
    `scores.png`, `training_curves.png` and `scans/*.png` into `folder`; what the data does not have is left out.

    Args:
        folder: usually `.../report`; made where it is not there, its files replaced one by one.
        data: plain numbers and arrays.
        max_scans: scans with pictures, the worst first; a scan is about 50 kB of the page, its 3D view 300 kB.

    Returns:
        The path of the page.

    Raises:
        UserError: the folder cannot be written.
    """
    folder = Path(folder)
    write_text(folder / "metrics.json", metrics_json(data))
    for stem, text in {"metrics": metrics_csv(data), "scans": scans_csv(data), "curves": curves_csv(data)}.items():
        write_text(folder / f"{stem}.csv", text)
    for stem, figure in figures(data).items():
        with atomic_path(folder / f"{stem}.png") as part:
            figure.savefig(part, facecolor=figure.get_facecolor())
    return write_text(folder / "index.html", page(data, max_scans=max_scans, scans=folder / "scans"))


def page(data: ReportData, *, max_scans: int = 48, scans: Path | None = None) -> str:
    """The page as text: style, script and pictures are inside, nothing is fetched. Scans' PNGs go to `scans`."""
    sections = (
        heading(data.title, data.subtitle, data.facts),
        _verdict(data),
        headline_section(data),
        metrics_section(data),
        confusion_section(data),
        defects_section(data),
        curves_section(data),
        scores_section(data),
        gallery_section(data, max_scans=max_scans, folder=scans),
        training_section(data),
        costs_section(data),
        _reproduce_section(data),
    )
    return document(data.title, sections)


def document(title: str, sections: Iterable[str]) -> str:
    """A whole page of its sections, the first with the `heading`: style and script are inside."""
    stops = [tuple(int(channel) for channel in colour) for colour in HEAT]
    return PAGE.substitute(
        title=escape(title),
        style=_asset("page.css"),
        script=_asset("view3d.js") + _asset("page.js"),
        heat=", ".join(f"rgb{colour}" for colour in stops),
        ramp=json.dumps(stops),
        body="\n".join(filter(None, sections)),
    )


def heading(title: str, subtitle: str = "", facts: Mapping[str, str] | None = None) -> str:
    """The page's head: title, button for the theme, and facts by name."""
    items = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(str(text))}</dd></div>" for name, text in (facts or {}).items()
    )
    subtitle = f'<p class="subtitle">{escape(subtitle)}</p>' if subtitle else ""
    theme = '<button type="button" id="theme" aria-label="theme: light, dark or automatic">auto</button>'
    return f'<header><div class="top"><h1>{escape(title)}</h1>{theme}</div>{subtitle}<dl>{items}</dl></header>'


def _asset(name: str) -> str:
    return files("threedzal.report").joinpath("assets", name).read_text(encoding="utf-8")


def _verdict(data: ReportData) -> str:
    sentences = "".join(f"<p>{escape(sentence)}</p>" for sentence in verdict(data))
    return f'<div class="verdict">{sentences}</div>' if sentences else ""


def _reproduce_section(data: ReportData) -> str:
    commands = "".join(
        f'<p class="step">{escape(step)}</p><pre><code>{escape(command)}</code></pre>'
        for step, command in data.commands.items()
    )
    config = f"<details><summary>Configuration</summary><pre><code>{escape(data.config)}</code></pre></details>"
    return section("How to reproduce it", commands + (config if data.config else ""))
