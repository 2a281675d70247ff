"""The paper's own numbers (Tables 1 to 6), transcribed once into `paper/tableN.csv`."""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files

from threedzal.errors import UserError

MEAN = "mean"  # stands for a test class: the mean over all that the training classes leave
TABLES = ("table1", "table2", "table3", "table4", "table5", "table6")

Key = tuple[str, tuple[str, ...], str, str]  # method, training classes (sorted), test class or MEAN, metric


@cache
def paper_numbers(table: str) -> dict[Key, float]:
    """Per cent, by (method, training classes, test class, metric); a cell that the paper's text does not give is not
    there.

    Raises:
        UserError: there is no such table.
    """
    if table not in TABLES:
        raise UserError(f"the paper has no {table!r}: there are {', '.join(TABLES)}")
    text = files("threedzal.protocol").joinpath("paper", f"{table}.csv").read_text(encoding="utf-8")
    return {
        (row["method"], tuple(sorted(row["train"].split("+"))), row["test"], row["metric"]): float(row["value"])
        for row in csv.DictReader(text.splitlines())
        if row["value"]
    }
