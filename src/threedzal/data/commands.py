"""`threedzal data ...`: make and check data sets."""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def run(args: Sequence[str]) -> None:
    """Run one of the `data` commands.

    Raises:
        UserError: the options or the folder cannot work.
        SystemExit: 2 for options that do not parse, 0 after `--help`.
    """
    options = _parser().parse_args(args)
    options.command(options)


def _generate(options: argparse.Namespace) -> None:
    from threedzal.data.generated import generate

    generate(
        options.out,
        classes=options.classes.split(",") if options.classes else None,
        size=options.size,
        train=options.train,
        validation=options.validation,
        test_good=options.test_good,
        test_per_defect=options.test_per_defect,
        seed=options.seed,
        workers=options.workers,
    )


def _check(options: argparse.Namespace) -> None:
    from threedzal.data.check import check_records
    from threedzal.data.mvtec3d import index_dataset

    records = index_dataset(options.root, classes=options.classes.split(",") if options.classes else None)
    check_records(records)
    print(f"{options.root}: {len(records)} scans of {len({r.class_name for r in records})} classes, all readable")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="threedzal data", description="Make and check data sets.")
    commands = parser.add_subparsers(required=True, metavar="command")

    generate = commands.add_parser(
        "generate",
        help="make the built-in data set",
        description="Ten classes of generated objects with defects, in MVTec 3D-AD's layout.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    generate.add_argument("out", metavar="OUT", help="folder to write to")
    generate.add_argument("--classes", metavar="A,B,...", help="some of the ten classes; all where not given")
    generate.add_argument("--size", type=int, default=400, help="side of a square scan in pixels")
    generate.add_argument("--train", type=int, default=24, help="good training scans a class")
    generate.add_argument("--validation", type=int, default=8, help="good validation scans a class")
    generate.add_argument("--test_good", type=int, default=10, help="good test scans a class")
    generate.add_argument("--test_per_defect", type=int, default=5, help="test scans of each kind of defect")
    generate.add_argument("--seed", type=int, default=0, help="the same seed makes the same bytes")
    generate.add_argument("--workers", type=int, default=None, help="processes; as many as there are cores by default")
    generate.set_defaults(command=_generate)

    check = commands.add_parser("check", help="report every broken file of a data set in MVTec 3D-AD's layout")
    check.add_argument("root", metavar="ROOT")
    check.add_argument("--classes", metavar="A,B,...", help="some of its classes; all where not given")
    check.set_defaults(command=_check)
    return parser
