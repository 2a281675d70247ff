"""`threedzal cache ...`: what is kept of frozen features and masks, and how to have less of it."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Sequence
from pathlib import Path

from threedzal.errors import UserError
from threedzal.features.cache import Kept, array_names, kept_files, prune

WHAT = {"bits": "background masks", "fpfh": "FPFH", "rgb": "RGB features"}  # by the array that stands in the file
UNITS = {"": 1, "B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}


def run(args: Sequence[str]) -> None:
    """Run one of the `cache` commands.

    Raises:
        UserError: there is no such folder.
        SystemExit: 2 for options that do not parse, 0 after `--help`.
    """
    options = _parser().parse_args(args)
    if not Path(options.folder).is_dir():
        raise UserError(f"there is no {options.folder}: give the folder that data.cache_dir names")
    options.command(options)


def _show(options: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{options.folder}: {_words(sum(f.size for f in kept_files(options.folder)))}")
    for name in ("what", "files", "size", "not used for longest", "used last"):
        table.add_column(name, justify="left" if name == "what" else "right")
    kinds: dict[str, list[Kept]] = {}
    for file in kept_files(options.folder):
        kinds.setdefault(_kind(file.path), []).append(file)
    for kind, files in sorted(kinds.items()):
        used = [file.used for file in files]
        table.add_row(kind, str(len(files)), _words(sum(f.size for f in files)), _ago(min(used)), _ago(max(used)))
    Console().print(table)


def _prune(options: argparse.Namespace) -> None:
    removed = prune(options.folder, options.max_size)
    left = sum(file.size for file in kept_files(options.folder))
    print(
        f"{options.folder}: removed {len(removed)} files, {_words(sum(f.size for f in removed))}; left {_words(left)}"
    )


def _kind(path: Path) -> str:
    names = array_names(path)
    return next((what for name, what in WHAT.items() if name in names), "other" if names else "unreadable")


def size_in_bytes(text: str) -> float:
    """`50GB`, `1.5 TB`, `0`: decimal units, as disks are sold."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([KMGT]?B?)\s*", text, re.IGNORECASE)
    unit = found and (found[2].upper() if found[2].upper() in UNITS else found[2].upper() + "B")
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r}: wanted a size, as 50GB")
    return float(found[1]) * UNITS[unit]


def _words(size: float) -> str:
    for unit in ("TB", "GB", "MB", "KB"):
        if size >= UNITS[unit]:
            return f"{size / UNITS[unit]:.1f} {unit}"
    return f"{size:.0f} B"


def _ago(moment: float) -> str:
    seconds = max(0.0, time.time() - moment)
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="threedzal cache", description="What `data.cache_dir` keeps between runs.")
    commands = parser.add_subparsers(required=True, metavar="command")
    for name, command, what in (
        ("show", _show, "how much of what is kept"),
        ("prune", _prune, "remove what was not used for longest"),
    ):
        sub = commands.add_parser(name, help=what)
        sub.add_argument("folder", metavar="FOLDER", nargs="?", default=".cache", help=".cache where not given")
        sub.set_defaults(command=command)
        if name == "prune":
            sub.add_argument(
                "--max-size", "--max_size", type=size_in_bytes, required=True, metavar="SIZE", help="50GB, 0, ..."
            )
    return parser
