"""Curves and histograms, drawn by matplotlib without its global state: PNGs for files, SVGs for the page."""

import re
from collections.abc import Mapping
from dataclasses import replace
from html import escape
from io import BytesIO, StringIO

import numpy as np

from threedzal.report.content import Curve, ReportData
from threedzal.report.html import section

LIGHT = {"ink": "#1c2430", "faint": "#d9dee5", "card": "#ffffff"}
VARIABLES = {"ink": "#010203", "faint": "#010204", "card": "#010205"}  # stand for CSS variables of these names
GOOD, DEFECTIVE = "#3b82c4", "#e0703a"
LINES = ("#3b82c4", "#e0803a", "#3fa36c", "#c85a8e", "#8c74d6", "#a98b3d", "#35a5b5", "#d0565a", "#7f8b99", "#86b03c")
CHART = (4.6, 3.3)  # inches: wide enough for a column, its letters still readable at a phone's width
DPI = 150
DRAWN_POINTS = 1500
SMOOTH_FROM = 60  # points from which a training curve gets a running mean


def pro_figure(data: ReportData, theme: Mapping[str, str] = LIGHT):
    """PRO against the false-positive rate up to the integration limit; the floor of each class dashed."""
    figure, axes = _figure(theme)
    for colour, (name, curve) in zip(_colours(), data.pro_curves.items(), strict=False):
        axes.plot(*_thinned(curve), color=colour, lw=1.8, label=_literal(name))
        if name in data.floor_pro_curves:
            axes.plot(*_thinned(data.floor_pro_curves[name]), color=colour, lw=1.2, ls=(0, (3, 2)), alpha=0.8)
    if data.floor_pro_curves:
        axes.plot([], [], color=theme["ink"], lw=1.2, ls=(0, (3, 2)), label="floor (foreground)")
    axes.set(
        xlim=(0, data.pro_limit), ylim=(0, 1.01), xlabel="false-positive rate of pixels", ylabel="per-region overlap"
    )
    _legend(axes, theme)
    return figure


def roc_figure(data: ReportData, theme: Mapping[str, str] = LIGHT):
    """True- against false-positive rate of whole scans, with the diagonal of pure chance."""
    figure, axes = _figure(theme)
    axes.plot([0, 1], [0, 1], color=theme["ink"], lw=1, ls=(0, (1, 2)), label="chance")
    for colour, (name, curve) in zip(_colours(), data.roc_curves.items(), strict=False):
        axes.plot(*_thinned(curve), color=colour, lw=1.8, label=_literal(name))
    axes.set(xlim=(0, 1), ylim=(0, 1.01), xlabel="good scans judged defective", ylabel="defective scans found")
    _legend(axes, theme)
    return figure


def training_figure(charts: Mapping[str, Mapping[str, Curve]], theme: Mapping[str, str] = LIGHT):
    """One chart a quantity, three in a row; `charts` as `training_charts` gives them."""
    columns = min(3, len(charts))
    rows = -(-len(charts) // columns)
    figure, grid = _figure(theme, rows=rows, columns=columns, size=(3.6 * columns, 2.6 * rows))
    for axes, (title, curves) in zip(grid, charts.items(), strict=False):
        axes.set_title(_literal(title), fontsize=10, color=theme["ink"], loc="left")
        for colour, (name, (steps, values)) in zip(_colours(), curves.items(), strict=False):
            steps, values = np.asarray(steps), np.asarray(values, dtype=float)
            steps, values = steps[np.isfinite(values)], values[np.isfinite(values)]
            long = len(values) >= SMOOTH_FROM
            marker = "o" if len(values) < 12 else None
            axes.plot(steps, values, color=colour, lw=1.6, alpha=0.3 if long else 1, marker=marker, ms=3.5,
                      label=None if long else name)  # fmt: skip
            if long:
                width = len(values) // 30
                mean = np.convolve(values, np.ones(width) / width, mode="valid")
                axes.plot(steps[width - 1 :], mean, color=colour, lw=1.8, label=name)
        axes.set_xlabel("step", fontsize=9)
        axes.locator_params(axis="x", nbins=5, integer=True)
        if len(curves) > 1:
            _legend(axes, theme)
    for axes in grid[len(charts) :]:
        axes.set_axis_off()
    return figure


def training_charts(training: Mapping[str, Curve]) -> dict[str, dict[str, Curve]]:
    """{quantity: {stage: curve}}: `train/loss` and `val/loss` belong together, so that over-fitting can be seen."""
    charts: dict[str, dict[str, Curve]] = {}
    for name, curve in training.items():
        stage, quantity = re.fullmatch(r"(?:(train|training|val|validation)[/_])?(.+)", name).groups()
        if len(curve[0]):
            charts.setdefault(quantity.replace("_", " "), {})[stage or name] = curve
    return charts


def figures(data: ReportData, theme: Mapping[str, str] = LIGHT) -> dict[str, object]:
    """{file stem: figure} of all curves that the data has, in the order of the page."""
    made = {}
    if data.pro_curves:
        made["pro_curve"] = pro_figure(data, theme)
    if data.roc_curves:
        made["roc_curve"] = roc_figure(data, theme)
    if histograms := score_figures(data, theme):
        made["scores"] = next(iter(histograms.values()))
    if charts := training_charts(data.training):
        made["training_curves"] = training_figure(charts, theme)
    return made


def score_figures(data: ReportData, theme: Mapping[str, str] = LIGHT) -> dict[str, object]:
    """{class: figure}: how many good and how many defective scans have which score, with the threshold; where there
    are several classes, all of them together first, on one scale."""
    scans = [scan for scan in data.judged if np.isfinite(scan.score)]
    names = [name for name in data.classes if any(scan.class_name == name for scan in scans)]
    edges = _edges([scan.score for scan in scans] + [t for t in (data.threshold,) if t is not None])
    made = {}
    for name in ["all classes"] * (len(names) > 1) + names:
        some = [scan for scan in scans if name in ("all classes", scan.class_name)]
        scores = [[scan.score for scan in some if scan.label == label] for label in (0, 1)]
        made[name] = _score_figure(scores, edges, data.threshold, theme)
    return made


def _edges(values: list[float]) -> np.ndarray:
    """Edges of at most 30 bars, fewer for few values."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    return np.linspace(low, high if high > low else low + 1, 1 + min(30, max(6, len(values) // 2)))


def _score_figure(scores: list[list[float]], edges: np.ndarray, threshold: float | None, theme):
    figure, axes = _figure(theme)
    for part, colour, name in zip(scores, (GOOD, DEFECTIVE), ("good", "defective"), strict=True):
        axes.hist(part, bins=edges, color=colour, alpha=0.6, label=f"{name} ({len(part)})")
    if threshold is not None:
        axes.axvline(threshold, color=theme["ink"], lw=1.3, ls=(0, (4, 2)), label=f"threshold {threshold:.3g}")
    axes.set(xlabel="score of a scan", ylabel="scans", xlim=(edges[0], edges[-1]))
    axes.locator_params(axis="y", integer=True)
    _legend(axes, theme)
    return figure


def curves_section(data: ReportData) -> str:
    """PRO and ROC curves side by side."""
    made = figures(replace(data, training={}, outcomes=[], panels=[]), VARIABLES)
    titles = {
        "pro_curve": f"PRO: part of each defect found, against good pixels marked, up to {data.pro_limit:g}",
        "roc_curve": "ROC: defective scans found, against good scans judged defective",
    }
    charts = "".join(_chart(figure, titles[stem]) for stem, figure in made.items())
    return section("Curves", f'<div class="charts">{charts}</div>' if charts else "")


def scores_section(data: ReportData) -> str:
    """The histograms of scores."""
    charts = [_chart(figure, name) for name, figure in score_figures(data, VARIABLES).items()]
    small = "small" if len(charts) > 2 else ""
    notes = "A method that sorts well has the good scans on the left of the threshold and the defective on its right."
    return section("Scores", f'<div class="charts {small}">{"".join(charts)}</div>' if charts else "", notes)


def training_section(data: ReportData) -> str:
    """The training curves, one picture a quantity, so that they flow on a narrow screen."""
    charts = "".join(
        _chart(training_figure({title: curves}, VARIABLES), f"{title} during training", caption=False)
        for title, curves in training_charts(data.training).items()
    )
    return section("Training", f'<div class="charts small">{charts}</div>' if charts else "")


def png_bytes(figure) -> bytes:
    """The figure as a PNG, on its own background."""
    stream = BytesIO()
    figure.savefig(stream, format="png", facecolor=figure.get_facecolor(), metadata={"Software": None})
    return stream.getvalue()


def svg_text(figure) -> str:
    """The figure as an SVG element whose inks are the page's CSS variables, so that it follows the page's theme."""
    from matplotlib import rc_context

    stream = StringIO()
    with rc_context({"svg.fonttype": "none"}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = stream.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>|<style .*?</style>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'(<svg\b[^>]*?) width="[^"]*"', r"\1", text)
    text = re.sub(r'(<svg\b[^>]*?) height="[^"]*"', r"\1", text)
    text = re.sub(r' id="[a-zA-Z0-9]+_\d+"', "", text)  # numbered from 1 in every figure
    for name, colour in VARIABLES.items():
        text = text.replace(colour, f"var(--{name})")
    return text


def _chart(figure, title: str, *, caption: bool = True) -> str:
    below = f"<figcaption>{escape(title)}</figcaption>" if caption else ""
    drawing = svg_text(figure).replace("<svg ", f'<svg role="img" aria-label="{escape(title)}" ', 1)
    return f'<figure class="chart">{drawing}{below}</figure>'


def _figure(theme, *, rows: int = 1, columns: int = 1, size: tuple[float, float] = CHART):
    """A figure without pyplot: its axes, one or a flat list, styled by the theme."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=DPI, facecolor=theme["card"], layout="constrained")
    FigureCanvasAgg(figure)
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in grid:
        axes.set_facecolor(theme["card"])
        axes.tick_params(colors=theme["ink"], labelsize=9, length=0)
        axes.grid(True, color=theme["faint"], lw=0.7)
        axes.set_axisbelow(True)
        axes.xaxis.label.set_color(theme["ink"])
        axes.yaxis.label.set_color(theme["ink"])
        for spine in axes.spines.values():
            spine.set_color(theme["faint"])
    return figure, (grid[0] if rows == columns == 1 and size == CHART else grid)


def _legend(axes, theme) -> None:
    handles, _ = axes.get_legend_handles_labels()
    axes.legend(fontsize=8.5, framealpha=0.85, facecolor=theme["card"], edgecolor=theme["faint"],
                labelcolor=theme["ink"], ncols=1 + (len(handles) > 6))  # fmt: skip


def _literal(name: str) -> str:
    """A name as matplotlib must not read it: dollars would start a formula."""
    return name.replace("$", r"\$")


def _colours():
    from itertools import cycle

    return cycle(LINES)


def _thinned(curve: Curve) -> Curve:
    """At most DRAWN_POINTS of a curve, evenly along x, the first and last among them."""
    x, y = (np.asarray(values, dtype=float) for values in curve)
    if len(x) <= DRAWN_POINTS:
        return x, y
    rows = np.searchsorted(x, np.linspace(x[0], x[-1], DRAWN_POINTS)).clip(0, len(x) - 1)
    rows = np.unique(np.concatenate([[0], rows, [len(x) - 1]]))
    return x[rows], y[rows]
