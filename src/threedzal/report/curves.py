"""Curves as PNGs, drawn by matplotlib without its global state, once for a light page and once for a dark one."""

import re
from collections.abc import Mapping
from dataclasses import replace
from html import escape
from io import BytesIO

import numpy as np

from threedzal.report.content import Curve, ReportData
from threedzal.report.images import data_uri

LIGHT = {"ink": "#1c2430", "faint": "#d9dee5", "paper": "#ffffff"}
DARK = {"ink": "#dfe5ee", "faint": "#343c49", "paper": "#161b23"}
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
    if charts := training_charts(data.training):
        made["training_curves"] = training_figure(charts, theme)
    return made


def curves_section(data: ReportData) -> str:
    """PRO and ROC curves side by side."""
    made = _both_themes(data, ("pro_curve", "roc_curve"))
    titles = {
        "pro_curve": f"PRO: part of each defect found, against good pixels marked, up to {data.pro_limit:g}",
        "roc_curve": "ROC: defective scans found, against good scans judged defective",
    }
    charts = "".join(_picture(images, titles[stem]) for stem, images in made.items())
    return f'<section><h2>Curves</h2><div class="charts">{charts}</div></section>' if made else ""


def training_section(data: ReportData) -> str:
    """The training curves, one picture a quantity, so that they flow on a narrow screen."""
    charts = training_charts(data.training)
    pictures = ""
    for title, curves in charts.items():
        images = [png_bytes(training_figure({title: curves}, theme)) for theme in (LIGHT, DARK)]
        pictures += _picture(images, f"{title} during training", caption=False)
    return f'<section><h2>Training</h2><div class="charts small">{pictures}</div></section>' if charts else ""


def png_bytes(figure) -> bytes:
    """The figure as a PNG, on its own background."""
    stream = BytesIO()
    figure.savefig(stream, format="png", facecolor=figure.get_facecolor(), metadata={"Software": None})
    return stream.getvalue()


def _both_themes(data: ReportData, stems: tuple[str, ...]) -> dict[str, list[bytes]]:
    themes = [figures(replace(data, training={}), theme) for theme in (LIGHT, DARK)]
    return {stem: [png_bytes(made[stem]) for made in themes] for stem in stems if stem in themes[0]}


def _picture(images: list[bytes], title: str, *, caption: bool = True) -> str:
    light, dark = (data_uri(image, "png") for image in images)
    below = f"<figcaption>{escape(title)}</figcaption>" if caption else ""
    return (
        f'<figure class="chart"><picture><source srcset="{dark}" media="(prefers-color-scheme: dark)">'
        f'<img src="{light}" alt="{escape(title)}"></picture>{below}</figure>'
    )


def _figure(theme, *, rows: int = 1, columns: int = 1, size: tuple[float, float] = CHART):
    """A figure without pyplot: its axes, one or a flat list, styled by the theme."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=DPI, facecolor=theme["paper"], layout="constrained")
    FigureCanvasAgg(figure)
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in grid:
        axes.set_facecolor(theme["paper"])
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
    axes.legend(fontsize=8.5, framealpha=0.85, facecolor=theme["paper"], edgecolor=theme["faint"],
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
