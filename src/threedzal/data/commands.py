"""`threedzal data ...`: make, download, check and look at data sets."""

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
        classes=_names(options.classes),
        size=options.size,
        train=options.train,
        validation=options.validation,
        test_good=options.test_good,
        test_per_defect=options.test_per_defect,
        products=options.products,
        seed=options.seed,
        workers=options.workers,
    )


def _download(options: argparse.Namespace) -> None:
    from threedzal.data.mvtec_download import fetch_mvtec3d

    fetch_mvtec3d(
        options.out,
        accept_license=options.accept_license,
        url=options.url,
        sha256=options.sha256,
        keep_archive=options.keep_archive,
    )


def _check(options: argparse.Namespace) -> None:
    from threedzal.data.survey import print_survey, survey

    print_survey(options.root, *survey(options.root, classes=_names(options.classes)))


def _preview(options: argparse.Namespace) -> None:
    from threedzal.data.preview import preview

    sheets = preview(
        options.root, options.out, classes=_names(options.classes), scans=options.scans, units=options.units
    )
    print("\n".join(map(str, sheets)))


def _names(classes: str | None) -> list[str] | None:
    return classes.split(",") if classes else None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="threedzal data", description="Make, download, check and look at data sets.")
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
    generate.add_argument(
        "--products", type=int, default=0, help="more classes of one training scan, each a product drawn at random"
    )
    generate.add_argument("--seed", type=int, default=0, help="the same seed makes the same bytes")
    generate.add_argument("--workers", type=int, default=None, help="processes; as many as there are cores by default")
    generate.set_defaults(command=_generate)

    download = commands.add_parser(
        "download",
        help="fetch MVTec 3D-AD from its makers",
        description="Fetch MVTec 3D-AD from its makers and unpack it. A cut download goes on where it stopped. MVTec "
        "publishes no digest: the archive is compared with the MD5 that the library anomalib pins, or with --sha256.",
    )
    download.add_argument("dataset", choices=["mvtec3d"])
    download.add_argument(
        "--out", metavar="FOLDER", default="mvtec_3d", help="new folder to unpack to; mvtec_3d by default"
    )
    download.add_argument("--accept-license", action="store_true", help="I agree to CC BY-NC-SA 4.0: not commercial")
    download.add_argument("--url", help="of a mirror, or where the makers' address has changed")
    download.add_argument("--sha256", help="that the archive must have; of a mirror's it is only printed if not given")
    download.add_argument("--keep-archive", action="store_true", help="leave the archive beside the folder")
    download.set_defaults(command=_download)

    check = commands.add_parser("check", help="say what a data set holds, and report every broken file")
    check.add_argument("root", metavar="ROOT", help="folder of CLASS folders")
    check.add_argument("--classes", metavar="A,B,...", help="some of its classes; all where not given")
    check.set_defaults(command=_check)

    preview = commands.add_parser("preview", help="write a contact sheet a class: pictures, depth, ground truth")
    preview.add_argument("root", metavar="ROOT", help="folder of CLASS folders")
    preview.add_argument("--out", metavar="FOLDER", default="preview", help="folder of the sheets (preview)")
    preview.add_argument("--classes", metavar="A,B,...", help="some of its classes; all where not given")
    preview.add_argument("--scans", type=int, default=2, help="of training, and of each kind of defect (2)")
    preview.add_argument(
        "--units", default="auto", help="m, mm, auto, or metres of one unit, where files do not say it"
    )
    preview.set_defaults(command=_preview)
    return parser
