"""`threedzal protocol ...`: run a protocol, see how it stands, print its tables."""

from __future__ import annotations

import argparse
import json
import shlex
from collections import Counter
from collections.abc import Sequence
from typing import Any

import yaml

from threedzal.errors import UserError
from threedzal.protocol.arguments import names, positive, seeds, split_options
from threedzal.protocol.files import write_tables
from threedzal.protocol.folder import JobFolder
from threedzal.protocol.plan import Plan, read_plan
from threedzal.protocol.render import markdown
from threedzal.protocol.runner import run_jobs
from threedzal.protocol.submit import submit_jobs

LAST_RUN = "last_run.json"


def run(args: Sequence[str]) -> None:
    """Run one of the `protocol` commands.

    Raises:
        UserError: the config cannot work, or jobs have failed.
        Interrupted: by a signal; the same command goes on.
        SystemExit: 2 for options that do not parse, 0 after `--help`.
    """
    parser = _parser()
    options, rest = parser.parse_known_args(args)
    slurm, overrides = _split(rest)
    options.command(options, slurm, overrides)


def _run(options: argparse.Namespace, slurm: dict[str, Any], overrides: list[str]) -> None:
    plan = read_plan(options.config, seeds=options.seeds, overrides=overrides, slurm=slurm, out=options.out)
    plan = plan.only(options.methods) if options.methods else plan
    plan.check()
    plan.folder.mkdir(parents=True, exist_ok=True)
    said = {"seeds": options.seeds, "methods": options.methods, "overrides": overrides}
    (plan.folder / LAST_RUN).write_text(json.dumps(said), encoding="utf-8")
    jobs = plan.jobs()
    environment = {"WANDB_RUN_GROUP": plan.name}
    print(f"{plan.name}: {len(jobs)} jobs in {plan.jobs_folder}")
    if options.launcher == "here":
        outcome = run_jobs(jobs, plan.jobs_folder, workers=options.workers, environment=environment)
    else:
        outcome = submit_jobs(
            jobs,
            plan.jobs_folder,
            cluster=options.launcher,
            log_folder=plan.folder / "submitit",
            parameters=plan.slurm,
            environment=environment,
        )
    print(f"{plan.name}: {outcome}")
    if outcome.results:
        _, paths = write_tables(plan)
        print("Tables: " + ", ".join(map(str, paths)))
    if outcome.failures:
        raise UserError(
            f"{len(outcome.failures)} of {len(jobs)} jobs failed; `threedzal protocol status {options.config}` names "
            "their logs, and the same command tries them once more"
        )


def _status(options: argparse.Namespace, slurm: dict[str, Any], overrides: list[str]) -> None:
    plan = _as_last_run(options, overrides)
    folders = [JobFolder(plan.jobs_folder, job) for job in plan.jobs()]
    states = {folder: folder.state for folder in folders}
    counts = Counter(states.values())
    print(f"{plan.name}: {len(folders)} jobs, " + ", ".join(f"{n} {state}" for state, n in counts.most_common()))
    for folder, state in states.items():
        if state == "failed":
            print(f"  failed   {folder.job}: {folder.failure().sentence}\n           {folder.log}")
        elif state in ("running", "stopped") or options.all:
            submitted = folder.read("submitted") if state in ("stopped", "waiting") else None
            note = f" (submitted to {submitted['cluster']} as {submitted['id']})" if submitted else ""
            print(f"  {state:8} {folder.job}: {folder.path}{note}")
    seconds = [r.test_seconds + (r.fit_seconds or 0) for f in folders if (r := f.result()) is not None]
    if seconds and len(seconds) < len(folders):
        mean = sum(seconds) / len(seconds)
        print(f"A job takes {mean:.0f} s in the mean; what is left takes {mean * (len(folders) - len(seconds)):.0f} s")


def _table(options: argparse.Namespace, slurm: dict[str, Any], overrides: list[str]) -> None:
    plan = _as_last_run(options, overrides)
    tables, paths = write_tables(plan)
    print(markdown(tables))
    print("Written: " + ", ".join(map(str, paths)))


def _as_last_run(options: argparse.Namespace, overrides: list[str]) -> Plan:
    """The plan with the seeds, methods and overrides of its last run, where none are given."""
    plan, last = read_plan(options.config, seeds=options.seeds, overrides=overrides, out=options.out), {}
    said = plan.folder / LAST_RUN
    if said.is_file() and not overrides:
        last = json.loads(said.read_text(encoding="utf-8"))
        seeds, methods = options.seeds or last["seeds"], options.methods or last.get("methods")
        plan = read_plan(options.config, seeds=seeds, overrides=last["overrides"], out=options.out)
    else:
        methods = options.methods
    plan = plan.only(methods) if methods else plan
    if any(last.values()):
        some = f"methods {', '.join(plan.methods)}, " if methods else ""
        print(f"As last run: seeds {list(plan.seeds)}, {some}{shlex.join(last['overrides']) or 'no options'}")
    return plan


def _split(rest: list[str]) -> tuple[dict[str, Any], list[str]]:
    """`--slurm.KEY VALUE` for submitit, and the options of `threedzal fit` and `test`."""
    slurm, overrides = {}, []
    for name, value in split_options(rest):
        if name.startswith("slurm."):
            slurm[name.removeprefix("slurm.")] = yaml.safe_load(value)
        else:
            overrides.append(f"--{name}={value}")
    return slurm, overrides


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="threedzal protocol",
        description="Run many experiments as one (docs/protocol.md). Options of `threedzal fit` and `test` may follow "
        "the config and go to every job: threedzal protocol run CONFIG --data.root mvtec_3d",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    for name, command, what in (
        ("run", _run, "run what is not done yet"),
        ("status", _status, "what is done, running, failed (with its log) or waiting"),
        ("table", _table, "print the tables of what is done; write Markdown, LaTeX, HTML, results.csv"),
    ):
        sub = commands.add_parser(name, help=what, allow_abbrev=False)
        sub.add_argument("config", metavar="CONFIG", help="as configs/protocol/table1.yaml")
        sub.add_argument("--seeds", type=seeds, metavar="N", help="how many seeds (0 to N-1), or which (0,3)")
        sub.add_argument("--methods", type=names, metavar="A,B", help="some of the config's methods; all by default")
        sub.add_argument("--out", help="folder of jobs and tables, instead of the config's")
        sub.set_defaults(command=command)
        if name == "run":
            sub.add_argument("--workers", type=positive, default=1, metavar="N", help="jobs at a time, here")
            sub.add_argument(
                "--launcher",
                choices=("here", "slurm", "local", "debug"),
                default="here",
                help="here: this machine; slurm: a job array, by submitit (--slurm.KEY VALUE: its parameters); "
                "local, debug: submitit without a cluster",
            )
        if name == "status":
            sub.add_argument("--all", action="store_true", help="list every job")
    return parser
