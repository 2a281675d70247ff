"""Tables as Markdown, LaTeX and HTML: ours, then in brackets the paper's number and the difference."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from threedzal.figures import FLOOR, markdown_table
from threedzal.protocol.tables import Cell, Table

MISSING = "—"  # noqa: RUF001
LEGEND = (
    "Ours (the paper's, difference), per cent; bold: the best of ours where several methods are compared; "
    f"{MISSING}: not run yet, with how much of it is; {FLOOR}: a constant on the object, which knows of no defects."
)


@dataclass(frozen=True)
class _Style:
    """How one format writes what a cell holds."""

    bold: Callable[[str], str]
    small: Callable[[str], str]
    minus: str
    plus_minus: str
    missing: str


MARKDOWN = _Style(bold=lambda s: f"**{s}**", small=str, minus="−", plus_minus=" ± ", missing=MISSING)  # noqa: RUF001
LATEX = _Style(
    bold=lambda s: rf"\textbf{{{s}}}",
    small=lambda s: rf"{{\scriptsize {s}}}",
    minus="$-$",
    plus_minus=r"\,$\pm$\,",
    missing="---",
)
HTML = _Style(
    bold=lambda s: f"<b>{s}</b>",
    small=lambda s: f"<small>{s}</small>",
    minus="−",  # noqa: RUF001
    plus_minus=" ± ",
    missing=MISSING,
)


def markdown(tables: Sequence[Table]) -> str:
    """GitHub's Markdown. A header has one line there: groups go into the columns' names."""
    parts = []
    for table in tables:
        groups = [title for count, title in table.groups for _ in range(count)]
        header = (
            [f"{group}: {name}" for group, name in zip(groups, table.header, strict=True)] if groups else table.header
        )
        lines = [[name, *(_text(cell, MARKDOWN) for cell in cells)] for name, cells in table.rows]
        parts.append(f"**{table.title}**\n\n{markdown_table([table.corner, *header], lines)}")
    return "\n\n".join([*parts, LEGEND]) + "\n"


def latex(tables: Sequence[Table]) -> str:
    """`table*` environments for a paper that has \\usepackage{booktabs}."""
    parts = ["% needs \\usepackage{booktabs}"]
    for table in tables:
        lines = [
            r"\begin{table*}",
            r"\centering\small",
            rf"\begin{{tabular}}{{l{'c' * len(table.header)}}}",
            r"\toprule",
        ]
        if table.groups:
            lines.append("& " + " & ".join(rf"\multicolumn{{{n}}}{{c}}{{{_tex(t)}}}" for n, t in table.groups) + r" \\")
        lines += [" & ".join(_tex(name) for name in (table.corner, *table.header)) + r" \\", r"\midrule"]
        for name, cells in table.rows:
            lines += [r"\midrule"] * (name == FLOOR)
            lines.append(" & ".join([_tex(name), *(_text(cell, LATEX) for cell in cells)]) + r" \\")
        lines += [
            r"\bottomrule",
            r"\end{tabular}",
            rf"\caption{{{_tex(table.title)}. {_tex(LEGEND)}}}",
            r"\end{table*}",
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def html_page(tables: Sequence[Table], *, title: str) -> str:
    """One page that needs nothing else."""
    body = []
    for table in tables:
        groups = "".join(f'<th colspan="{n}">{html.escape(t)}</th>' for n, t in table.groups)
        head = "".join(f"<th>{html.escape(name)}</th>" for name in (table.corner, *table.header))
        rows = "".join(
            f"<tr{' class=floor' if name == FLOOR else ''}><th>{html.escape(name)}</th>"
            + "".join(f"<td>{_text(cell, HTML)}</td>" for cell in cells)
            + "</tr>\n"
            for name, cells in table.rows
        )
        groups = f"<tr><th></th>{groups}</tr>" if groups else ""
        body.append(
            f"<h2>{html.escape(table.title)}</h2>\n<table><thead>{groups}<tr>{head}</tr></thead>\n{rows}</table>"
        )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title><style>{_CSS}'
        f"</style></head><body><h1>{html.escape(title)}</h1>\n" + "\n".join(body) + f"\n<p>{html.escape(LEGEND)}</p>"
        "</body></html>\n"
    )


_CSS = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem;color:#1c2024;background:#fff}"
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums}"
    "th,td{padding:.25rem .6rem;text-align:right;white-space:nowrap}th:first-child{text-align:left}"
    "thead th{border-bottom:1px solid #888}thead tr:first-child th[colspan]{text-align:center}"
    "small{color:#666}.floor th,.floor td{border-top:1px solid #888;color:#555}"
    "@media(prefers-color-scheme:dark){body{background:#16181b;color:#e6e6e6}small,.floor th,.floor td{color:#aaa}}"
)


def _text(cell: Cell, style: _Style) -> str:
    if cell.none:
        return "-"
    if cell.ours is None:
        text = style.missing
    else:
        text = cell.ours.text(1, between=style.plus_minus)
        text = style.bold(text) if cell.best else text
    notes = [] if cell.paper is None else [f"{cell.paper:.1f}"]
    if cell.difference is not None:
        change = round(cell.difference, 1)
        notes.append(f"{'+' if change >= 0 else style.minus}{abs(change):.1f}")
    if cell.missing and cell.missing != "missing":
        notes.append(cell.missing)
    return f"{text} {style.small('(' + ', '.join(notes) + ')')}" if notes else text


def _tex(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$"}
    special |= {MISSING: "---", "−": "$-$", "±": r"$\pm$"}  # noqa: RUF001
    return "".join(special.get(letter, letter) for letter in text)
