"""Pieces of the page that several sections share."""

import math
from collections.abc import Iterable, Sequence
from html import escape


def section(title: str, body: str, notes: str = "") -> str:
    """A titled part of the page; nothing where its body is empty."""
    if not body:
        return ""
    return f"<section><h2>{title}</h2>{body}{f'<p class=note>{notes}</p>' if notes else ''}</section>"


def number(value: float | None, digits: int = 3) -> str:
    """A figure as HTML, three decimals shown and all digits kept in `value`; an en dash where there is none."""
    if value is None or not math.isfinite(value):
        return "&ndash;"
    return f'<data value="{float(value)!r}">{value:.{digits}f}</data>'


def percent(share: float | None) -> str:
    """A share as HTML, in whole per cents, all digits kept in `value`."""
    if share is None or not math.isfinite(share):
        return "&ndash;"
    return f'<data value="{float(share)!r}">{share:.0%}</data>'


def table(heads: Sequence[str], groups: Iterable[str], *, kind: str = "") -> str:
    """A table that scrolls in its own box. The script of the page sorts each group of rows by a clicked head."""
    cells = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    return (
        f'<div class="scroll"><table class="sortable {kind}"><thead><tr>{cells}</tr></thead>{"".join(groups)}'
        "</table></div>"
    )


def group(rows: str, *, title: str = "", span: int = 0) -> str:
    """Rows that belong together, under a heading of their own where there is a title."""
    heading = (
        f'<tr class="group"><th colspan="{span}" scope="rowgroup"><span>{escape(title)}</span></th></tr>'
        if title
        else ""
    )
    return f"<tbody>{heading}{rows}</tbody>"


def row(head: str, cells: Iterable[str], *, kind: str = "") -> str:
    """A row: its head, which is text, and its cells, which are HTML."""
    cells = "".join(cell if cell.startswith("<td") else f"<td>{cell}</td>" for cell in cells)
    return f'<tr{f" class={kind}" if kind else ""}><th scope="row">{escape(head)}</th>{cells}</tr>'


def badge(word: str) -> str:
    """A verdict, coloured by whether it is right."""
    mood = {"found": "good", "passed": "good", "missed": "bad", "false alarm": "bad"}.get(word, "")
    return f'<span class="badge {mood}">{word}</span>'
