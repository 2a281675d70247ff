"""`threedzal compare`: several methods on the same pairs and seeds, as one table and one page."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from threedzal.comparison.plan import Comparison, read_methods, read_pairs
from threedzal.comparison.summary import results_of, summarise
from threedzal.comparison.tables import markdown, runs_csv, table_csv, text
from threedzal.errors import UserError
from threedzal.files import write_text
from threedzal.protocol import run_jobs
from threedzal.protocol.arguments import positive, seeds, split_options


def run(args: Sequence[str]) -> None:
    """Run what is not done yet, then write the table and the page of all that is.

    Raises:
        UserError: an option cannot work, or jobs have failed (the others are in the table).
        Interrupted: by a signal; the same command goes on.
        SystemExit: 2 for options that do not parse, 0 after `--help`.
    """
    options, rest = _parser().parse_known_args(args)
    comparison = Comparison(
        methods=read_methods(options.configs),
        pairs=read_pairs(options.pairs),
        seeds=tuple(options.seeds),
        overrides=tuple(f"--{name}={value}" for name, value in split_options(rest)),
        cache=str(Path(options.out, "cache").absolute()),
    )
    comparison.check()
    jobs, folder = comparison.jobs(), options.jobs or str(Path(options.out, "jobs"))
    print(f"{len(comparison.methods)} methods, {len(comparison.pairs)} pairs: {len(jobs)} jobs in {folder}")
    outcome = run_jobs(list(jobs), folder, workers=options.workers)
    print(f"Jobs: {outcome}")
    write_comparison(comparison, outcome, options.out, folder, scans=options.scans, command=_command(args))
    if outcome.failures:
        logs = "; ".join(f"{job}: {failure.sentence} ({failure.log})" for job, failure in outcome.failures.items())
        raise UserError(
            f"{len(outcome.failures)} of {len(jobs)} jobs failed, and the same command tries them once more: {logs}"
        )


def write_comparison(
    comparison: Comparison, outcome, out: str | Path, jobs_folder: str, *, scans: int, command: str
) -> Path:
    """Print the table and write comparison.{txt,md,csv}, runs.csv and index.html into `out`; the page's path."""
    from threedzal.comparison.page import comparison_page
    from threedzal.comparison.pictures import scan_rows

    results = results_of(comparison, outcome.results)
    groups, out = summarise(comparison, results), Path(out)
    table = text(groups)
    print(table)
    for name, content in {
        "comparison.txt": table,
        "comparison.md": markdown(groups),
        "comparison.csv": table_csv(groups),
        "runs.csv": runs_csv(comparison, results),
    }.items():
        write_text(out / name, content)
    rows = list(scan_rows(comparison, jobs_folder, scans=scans)) if results and scans else []
    page = write_text(out / "index.html", comparison_page(comparison, groups, rows, outcome.failures, command=command))
    print(f"Page: {page}; table beside it as comparison.txt, .md and .csv, every figure in runs.csv")
    return page


def _command(args: Sequence[str]) -> str:
    return f"threedzal compare {shlex.join(args)}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="threedzal compare",
        description="Several methods on the same train and test classes and seeds: one table (text, Markdown, CSV) and "
        "one page with the methods' maps side by side. Finished runs are not run again. Other options of `threedzal "
        "fit` and `test` go to every job, as --data.root mvtec_3d or --model.init_args.backbone resnet18.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--configs",
        required=True,
        metavar="A.yaml,B.yaml",
        help="a method each; A.yaml+MORE.yaml puts more on top, NAME=A.yaml names it",
    )
    parser.add_argument(
        "--pairs",
        required=True,
        metavar="TRAIN:TEST,...",
        help="as bagel:cable_gland,rope:tire+foam; TRAIN:TRAIN is in-class, bagel+rope:tire learns two",
    )
    parser.add_argument(
        "--seeds", type=seeds, default=[0], metavar="N", help="how many seeds (0 to N-1), or which (0,3)"
    )
    parser.add_argument("--out", default="lightning_logs/compare", help="folder of the table, the page and the jobs")
    parser.add_argument("--jobs", help="folder of the jobs instead, to share those of another comparison or protocol")
    parser.add_argument("--workers", type=positive, default=1, metavar="N", help="jobs at a time")
    parser.add_argument("--scans", type=int, default=10, metavar="N", help="scans shown of each pair and test class")
    return parser
