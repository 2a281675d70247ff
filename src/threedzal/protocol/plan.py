"""A protocol's config: which methods on which pairs with which seeds, and the tables that come of it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from threedzal.errors import UserError
from threedzal.protocol.folder import JobFolder
from threedzal.protocol.jobs import Job, read_yaml
from threedzal.protocol.paper import TABLES

Layout = Literal["pairs", "methods", "training"]


@dataclass(frozen=True)
class MethodPlan:
    """One of the methods of a protocol."""

    configs: tuple[str, ...]
    overrides: tuple[str, ...] = ()
    score: str = "fused"  # which row of a test's metrics speaks for it
    together: bool = False  # it learns nothing from auxiliary classes: one fit serves all test classes of a row
    needs: Mapping[str, str] = field(default_factory=dict)  # files that are made before, by the commands given


@dataclass(frozen=True)
class TablePlan:
    """A table to print.

    `pairs` has a row for each training class and a column for each test class, of the method `of`, then the means of
    all methods (the paper's Tables 1 and 2). `methods` has a row for each method and a column for each metric and
    training class, means over the test classes (Tables 3 to 5). `training` has a row for each training class, or
    set of them, and a column for each method and metric (Table 6).
    """

    layout: Layout
    metrics: tuple[str, ...]
    title: str = ""
    of: str | None = None
    paper: str | None = None  # whose numbers stand beside ours


@dataclass(frozen=True)
class Plan:
    """A protocol: its jobs are all methods on all pairs with all seeds."""

    name: str
    methods: Mapping[str, MethodPlan]
    train: tuple[tuple[str, ...], ...]  # classes learned together
    test: tuple[str, ...]  # each alone; one that is learned is left out
    seeds: tuple[int, ...] = (0,)
    title: str = ""
    overrides: tuple[str, ...] = ()  # for all methods, after their own
    tables: tuple[TablePlan, ...] = ()
    out: str = "lightning_logs/protocol"
    slurm: Mapping[str, Any] = field(default_factory=dict)  # parameters of submitit's executor

    @property
    def jobs_folder(self) -> Path:
        """Shared by all protocols with the same `out`, so that a job of several tables is run once."""
        return Path(self.out) / "jobs"

    @property
    def folder(self) -> Path:
        """The protocol's own: tables, results.csv, and how it was last run."""
        return Path(self.out) / self.name

    def only(self, names: Sequence[str]) -> Plan:
        """The same with some of its methods, and of its tables of one method those of these.

        Raises:
            UserError: there is no such method.
        """
        if unknown := [name for name in names if name not in self.methods]:
            raise UserError(f"{self.name}: there is no method {', '.join(unknown)}; it has {', '.join(self.methods)}")
        methods = {name: method for name, method in self.methods.items() if name in names}
        return replace(self, methods=methods, tables=tuple(t for t in self.tables if t.of in (None, *methods)))

    def tests_of(self, train: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in self.test if name not in train)

    def jobs(self) -> list[Job]:
        """In an order in which whole pairs are finished early."""
        jobs = [
            self._job(method, train, test, seed)
            for seed in self.seeds
            for train in self.train
            for test in self.tests_of(train)
            for method in self.methods
        ]
        return list(dict.fromkeys(jobs))

    def _job(self, method: str, train: tuple[str, ...], test: str, seed: int) -> Job:
        plan = self.methods[method]
        tests = self.tests_of(train) if plan.together else (test,)
        return Job(method, plan.configs, train, tests, seed, (*plan.overrides, *self.overrides))

    def check(self) -> None:
        """Before anything is begun: what the methods need is there, and the data with all classes that the jobs name.

        Raises:
            UserError: it is not.
        """
        from threedzal.data.index import list_classes

        unfinished = [job for job in self.jobs() if JobFolder(self.jobs_folder, job).result() is None]
        for name in dict.fromkeys(job.method for job in unfinished):
            for path, command in self.methods[name].needs.items():
                if not Path(path).is_file():
                    raise UserError(
                        f"{self.name}: {name} needs {path}, which is not there: make it once by `{command}`, or run "
                        "the other methods alone, by --methods"
                    )
        wanted = {*self.test, *(name for names in self.train for name in names)}
        roots = {str((job.options.get("data") or {}).get("root")) for job in self.jobs()}
        for root in sorted(roots):
            if root == "None":
                raise UserError(f"{self.name}: no data set is named: give --data.root")
            found = set(list_classes(root))
            if missing := sorted(wanted - found):
                raise UserError(f"{self.name}: {root} has no class {', '.join(missing)}; it has {', '.join(found)}")


def read_plan(
    path: str | Path,
    *,
    seeds: Sequence[int] | None = None,
    overrides: Sequence[str] = (),
    slurm: Mapping[str, Any] | None = None,
    out: str | None = None,
) -> Plan:
    """The plan of a config, with what the command line says on top.

    Raises:
        UserError: what the config says cannot work: which key, what was wanted.
    """
    content = {str(key): value for key, value in read_yaml(path).items()}
    known = {f.name for f in fields(Plan)} - {"name"}
    if unknown := sorted(content.keys() - known):
        raise UserError(f"{path}: there is no key {', '.join(unknown)}; a protocol has {', '.join(sorted(known))}")
    if missing := [key for key in ("methods", "train", "test") if not content.get(key)]:
        raise UserError(f"{path}: lacks {', '.join(missing)}; a protocol has methods, and classes to train and test on")
    plan = Plan(
        name=Path(path).stem,
        methods=_methods(path, content["methods"]),
        train=tuple(_names(item) for item in content["train"]),
        test=_names(content["test"]),
        seeds=tuple(content.get("seeds", (0,))),
        title=content.get("title", ""),
        overrides=(*_names(content.get("overrides", ())), *overrides),
        tables=tuple(_table(path, table) for table in content.get("tables", ())),
        out=out or content.get("out", Plan.out),
        slurm={**content.get("slurm", {}), **(slurm or {})},
    )
    for table in plan.tables:
        if table.layout == "pairs" and table.of not in plan.methods:
            raise UserError(f"{path}: a table of pairs is of one method: `of` is one of {', '.join(plan.methods)}")
    return replace(plan, seeds=tuple(seeds)) if seeds else plan


def _methods(path, methods: Any) -> dict[str, MethodPlan]:
    found = {}
    for name, options in methods.items() if isinstance(methods, dict) else ():
        options = options if isinstance(options, dict) else {}
        known = {f.name for f in fields(MethodPlan)}
        if not options.get("configs") or options.keys() - known or not isinstance(options.get("needs", {}), dict):
            raise UserError(
                f"{path}: method {name}: wanted configs (files), and perhaps overrides, score, together, and needs "
                "(FILE: the command that makes it)"
            )
        lists = {key: _names(options.get(key, ())) for key in ("configs", "overrides")}
        found[str(name)] = MethodPlan(**{**options, **lists})
    if not found:
        raise UserError(f"{path}: methods: wanted a name for each method, with its configs")
    return found


def _table(path, table: dict[str, Any]) -> TablePlan:
    known = [f.name for f in fields(TablePlan)]
    if table.get("layout") not in get_args(Layout) or not table.get("metrics") or table.keys() - set(known):
        raise UserError(
            f"{path}: a table has {', '.join(known)}; its layout is one of {', '.join(get_args(Layout))}, got {table}"
        )
    if table.get("paper") not in (None, *TABLES):
        raise UserError(f"{path}: the paper has no {table['paper']!r}: there are {', '.join(TABLES)}")
    return TablePlan(**{**table, "metrics": _names(table["metrics"])})


def _names(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(shlex.split(value)) if value.startswith("--") else (value,)
    return tuple(str(item) for item in value)
