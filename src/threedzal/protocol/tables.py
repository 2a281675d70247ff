"""The paper's tables with our numbers in them: from finished jobs to rows of cells; `render` prints them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from threedzal.figures import FLOOR, Spread, label_of
from threedzal.protocol.folder import Result
from threedzal.protocol.paper import MEAN, Key, paper_numbers
from threedzal.protocol.plan import Plan, TablePlan


@dataclass(frozen=True)
class Cell:
    """Ours and the paper's in per cent, and what is still missing of ours (`3 of 9`); `none`: not meant to be."""

    ours: Spread | None = None
    paper: float | None = None
    missing: str = ""
    best: bool = False
    none: bool = False

    @property
    def difference(self) -> float | None:
        return None if self.ours is None or self.paper is None else self.ours.mean - self.paper


@dataclass
class Table:
    """Rows of cells under a header; the first column names the row. Groups: [(over how many columns, title)]."""

    title: str
    corner: str
    header: list[str]
    rows: list[tuple[str, list[Cell]]] = field(default_factory=list)
    groups: list[tuple[int, str]] = field(default_factory=list)


class Scores:
    """Look-up of finished jobs' metrics in per cent: by method, training classes, test class and metric."""

    def __init__(self, plan: Plan, results: Mapping[tuple[str, tuple[str, ...], str, int], Result]) -> None:
        self.plan, self.results = plan, results

    def cell(self, method: str, train: tuple[str, ...], test: str, metric: str) -> Cell:
        """Over the seeds; `test` may be MEAN, which is there when every pair of the row is."""
        return self._cell(method, train, test, f"{self.plan.methods[method].score}/{metric}")

    def floor(self, train: tuple[str, ...] | None, test: str, metric: str) -> Cell:
        """What a constant on the object reaches: of any method that has been tested there."""
        cells = [
            self._cell(method, one, test, f"{FLOOR}/{metric}")
            for one in ([train] if train else self.plan.train)
            for method in self.plan.methods
            if test == MEAN or test not in one
        ]
        return next((c for c in cells if c.ours), cells[0] if cells else Cell(none=True))

    def _cell(self, method: str, train: tuple[str, ...], test: str, name: str) -> Cell:
        tests = self.plan.tests_of(train) if test == MEAN else (test,)
        found = {t: self._by_seed(method, train, t, name) for t in tests}
        whole = [seed for seed in self.plan.seeds if all(seed in values for values in found.values())]
        if not whole:
            there = sum(bool(values) for values in found.values())
            return Cell(missing=f"{there} of {len(tests)}" if len(tests) > 1 else "missing")
        means = [statistics.fmean(values[seed] for values in found.values()) for seed in whole]
        if (ours := Spread.of(means)) is None:
            return Cell(missing="not defined")
        lacking = len(whole) < len(self.plan.seeds)
        return Cell(ours, missing=f"{len(whole)} of {len(self.plan.seeds)} seeds" if lacking else "")

    def _by_seed(self, method: str, train: tuple[str, ...], test: str, name: str) -> dict[int, float]:
        values = {}
        for seed in self.plan.seeds:
            result = self.results.get((method, train, test, seed))
            if result is not None and name in result.metrics.get(test, {}):
                values[seed] = 100 * result.metrics[test][name]
        return values


def build_tables(plan: Plan, scores: Scores) -> list[Table]:
    """All tables of the plan."""
    layouts: dict[str, Callable[[Plan, TablePlan, Scores], Iterable[Table]]]
    layouts = {"pairs": _pairs, "methods": _methods, "training": _training}
    return [table for each in plan.tables for table in layouts[each.layout](plan, each, scores)]


def _pairs(plan: Plan, table: TablePlan, scores: Scores) -> Iterable[Table]:
    """One table for each metric: a row for each training class, a column for each test class, then the means."""
    paper = _paper(table)
    for metric in table.metrics:
        header = [*plan.test, *(f"mean {name}" for name in (table.of, *(m for m in plan.methods if m != table.of)))]
        title = f"{_title(plan, table)}: {_per_cent(metric)}"
        made = Table(title, "train \\ test", header)
        for train in plan.train:
            row = []
            for test in plan.test:
                if test in train:
                    row.append(Cell(none=True))
                else:
                    row.append(_ranked(plan, scores, train, test, metric, paper)[table.of])
            means = _ranked(plan, scores, train, MEAN, metric, paper)
            row.append(means.pop(table.of))
            made.rows.append(("+".join(train), [*row, *means.values()]))
        floor = [scores.floor(None, test, metric) for test in plan.test]
        mean = _mean(floor)
        made.rows.append((FLOOR, [*floor, mean, *(Cell(none=True) for _ in range(len(plan.methods) - 1))]))
        yield made


def _methods(plan: Plan, table: TablePlan, scores: Scores) -> Iterable[Table]:
    """A row for each method; columns: each metric with each training class, means over the test classes."""
    columns = [(metric, train) for metric in table.metrics for train in plan.train]
    made = Table(
        _title(plan, table),
        "method",
        ["+".join(train) for _, train in columns],
        groups=[(len(plan.train), _per_cent(metric)) for metric in table.metrics],
    )
    ranked = [_ranked(plan, scores, train, MEAN, metric, _paper(table)) for metric, train in columns]
    made.rows += [(method, [cells[method] for cells in ranked]) for method in plan.methods]
    made.rows.append((FLOOR, [scores.floor(train, MEAN, metric) for metric, train in columns]))
    yield made


def _training(plan: Plan, table: TablePlan, scores: Scores) -> Iterable[Table]:
    """A row for each set of training classes; columns: each metric with each method."""
    made = Table(
        _title(plan, table),
        "training classes",
        [method for _ in table.metrics for method in plan.methods],
        groups=[(len(plan.methods), _per_cent(metric)) for metric in table.metrics],
    )
    test = plan.test[0] if len(plan.test) == 1 else MEAN
    for train in plan.train:
        ranked = [_ranked(plan, scores, train, test, metric, _paper(table)) for metric in table.metrics]
        made.rows.append(("+".join(train), [cells[method] for cells in ranked for method in plan.methods]))
    floors = [scores.floor(None, test, metric) for metric in table.metrics]
    made.rows.append((FLOOR, [cell for cell in floors for _ in plan.methods]))
    yield made


def _ranked(plan: Plan, scores: Scores, train, test: str, metric: str, paper: Mapping[Key, float]) -> dict[str, Cell]:
    """{method: cell} of what may be compared, with the paper's numbers; the best of several is marked."""
    cells = {method: scores.cell(method, train, test, metric) for method in plan.methods}
    values = [cell.ours.mean for cell in cells.values() if cell.ours is not None]
    complete = test != MEAN or _covers(plan, train)  # a mean over fewer classes is not the paper's
    return {
        method: Cell(
            cell.ours,
            paper.get((method, tuple(sorted(train)), test, metric)) if complete else None,
            cell.missing,
            best=len(values) > 1 and cell.ours is not None and round(cell.ours.mean, 1) == round(max(values), 1),
        )
        for method, cell in cells.items()
    }


def _covers(plan: Plan, train: tuple[str, ...]) -> bool:
    """Whether the row has all nine test classes of the paper's means."""
    return len(plan.tests_of(train)) == 9


def _mean(cells: list[Cell]) -> Cell:
    numbers = [cell.ours.mean for cell in cells if cell.ours is not None]
    if len(numbers) < len(cells):
        return Cell(missing=f"{len(numbers)} of {len(cells)}")
    return Cell(Spread(statistics.fmean(numbers)))


def _paper(table: TablePlan) -> Mapping[Key, float]:
    return paper_numbers(table.paper) if table.paper else {}


def _per_cent(metric: str) -> str:
    return f"{label_of(metric)} (%)"


def _title(plan: Plan, table: TablePlan) -> str:
    return table.title or plan.title or plan.name
