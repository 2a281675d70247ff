"""The report's folder: one self-contained page, and the same content as PNG, JSON and CSV beside it."""

from html import escape
from pathlib import Path
from string import Template

from threedzal.colour import HEAT
from threedzal.files import atomic_path, write_text
from threedzal.report.content import ReportData
from threedzal.report.curves import curves_section, figures, training_section
from threedzal.report.gallery import gallery_section
from threedzal.report.style import STYLE
from threedzal.report.tables import defects_section, headline_section, metrics_csv, metrics_json, metrics_section

PAGE = Template(
    """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
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
</body>
</html>
"""
)


def write_report(folder: str | Path, data: ReportData, *, max_scans: int = 48) -> Path:
    """Write `index.html`, `metrics.json`, `metrics.csv`, `pro_curve.png`, `roc_curve.png`, `training_curves.png` and
    `scans/*.png` into `folder`; what the data does not have is left out.

    Args:
        folder: usually `.../report`; made where it is not there, its files replaced one by one.
        data: plain numbers and arrays.
        max_scans: scans with pictures, the worst first; a scan is about 100 kB of the page.

    Returns:
        The path of the page.

    Raises:
        UserError: the folder cannot be written.
    """
    folder = Path(folder)
    write_text(folder / "metrics.json", metrics_json(data))
    write_text(folder / "metrics.csv", metrics_csv(data))
    for stem, figure in figures(data).items():
        with atomic_path(folder / f"{stem}.png") as part:
            figure.savefig(part, facecolor=figure.get_facecolor())
    return write_text(folder / "index.html", page(data, max_scans=max_scans, scans=folder / "scans"))


def page(data: ReportData, *, max_scans: int = 48, scans: Path | None = None) -> str:
    """The page as text: its style and pictures are inside, nothing is fetched. Scans' PNGs go to the folder `scans`."""
    sections = (
        _header(data),
        headline_section(data),
        metrics_section(data),
        defects_section(data),
        curves_section(data),
        gallery_section(data, max_scans=max_scans, folder=scans),
        training_section(data),
        _reproduce_section(data),
    )
    stops = ", ".join(f"rgb({r:.0f} {g:.0f} {b:.0f})" for r, g, b in HEAT)
    return PAGE.substitute(
        title=escape(data.title),
        style=STYLE,
        heat=stops,
        body="\n".join(filter(None, sections)),
    )


def _header(data: ReportData) -> str:
    facts = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(str(text))}</dd></div>" for name, text in data.facts.items()
    )
    subtitle = f"<p>{escape(data.subtitle)}</p>" if data.subtitle else ""
    return f"<header><h1>{escape(data.title)}</h1>{subtitle}<dl>{facts}</dl></header>"


def _reproduce_section(data: ReportData) -> str:
    if not (data.command or data.config):
        return ""
    command = f"<pre><code>{escape(data.command)}</code></pre>" if data.command else ""
    config = f"<details><summary>Configuration</summary><pre><code>{escape(data.config)}</code></pre></details>"
    return f"<section><h2>How to reproduce it</h2>{command}{config if data.config else ''}</section>"
