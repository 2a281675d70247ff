"""What a protocol leaves: tables in three formats, and every number in one tidy file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from threedzal.figures import csv_text
from threedzal.files import write_text
from threedzal.protocol.folder import JobFolder, Result
from threedzal.protocol.plan import Plan
from threedzal.protocol.render import html_page, latex, markdown
from threedzal.protocol.tables import Scores, Table, build_tables

Results = Mapping[tuple[str, tuple[str, ...], str, int], Result]


def finished(plan: Plan) -> Results:
    """{(method, training classes, test class, seed): result} of all jobs that are done."""
    found = {}
    for job in plan.jobs():
        result = JobFolder(plan.jobs_folder, job).result()
        if result is not None:
            found |= {(job.method, job.train, test, job.seed): result for test in job.test}
    return found


def write_tables(plan: Plan) -> tuple[list[Table], list[Path]]:
    """Build the plan's tables of what is finished, and write tables.md, .tex, .html, results.csv and costs.csv."""
    results = finished(plan)
    tables = build_tables(plan, Scores(plan, results))
    texts = {
        "tables.md": markdown(tables),
        "tables.tex": latex(tables),
        "tables.html": html_page(tables, title=plan.title or plan.name),
        "results.csv": results_csv(results),
        "costs.csv": costs_csv(results),
    }
    return tables, [write_text(plan.folder / name, text) for name, text in texts.items()]


def results_csv(results: Results) -> str:
    """One number a line: method, train, test, seed, score, defect (empty: all kinds), metric, value."""
    rows = []
    for (method, train, test, seed), result in results.items():
        for name, value in result.metrics.get(test, {}).items():
            score, _, metric = name.rpartition("/")
            score, _, defect = score.partition("/defect/")
            rows.append([method, "+".join(train), test, seed, score, defect, metric, value])
    return csv_text(["method", "train", "test", "seed", "score", "defect", "metric", "value"], rows)


def costs_csv(results: Results) -> str:
    """What each job took: seconds of wall time, milliseconds a scan, bytes of the fitted file."""
    tests: dict[tuple, list[str]] = {}  # a job may have several
    for (method, train, test, seed), result in results.items():
        tests.setdefault((method, train, seed, result.folder), []).append(test)
    rows = []
    for (method, train, seed, _), names in tests.items():
        r = results[method, train, names[0], seed]
        costs = [r.fit_seconds, r.test_seconds, r.milliseconds_a_scan, r.fitted_bytes]
        rows.append([method, "+".join(train), "+".join(names), seed, *costs])
    columns = ["fit_seconds", "test_seconds", "milliseconds_a_scan", "fitted_bytes"]
    return csv_text(["method", "train", "test", "seed", *columns], rows)
