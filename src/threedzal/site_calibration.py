"""`threedzal calibrate`: a fitted file's threshold set anew on good scans of the product that it is used on.

The validation scans of a fit are of products that were seen, and say little of how an unseen one scores. Where good
scans of it turn up, they take their place: as reference of ranks, and to set the threshold at a false-positive rate.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from threedzal.errors import UserError


def run(args: Sequence[str]) -> None:
    """The command.

    Raises:
        UserError: the file or the scans cannot work.
        SystemExit: 2 for options that do not parse, 0 after `--help`.
    """
    options = _parser().parse_args(args)
    calibrate_file(
        options.fitted,
        options.scans,
        options.out,
        rate=options.false_positive_rate,
        units=options.units,
        camera=options.camera,
        device=options.device,
    )


def calibrate_file(
    fitted: str | Path,
    scans: str | Path,
    out: str | Path,
    *,
    rate: float = 0.05,
    units: str | float = "auto",
    camera: str | None = None,
    device: str = "cpu",
) -> None:
    """Write `out`: the fitted file with its threshold at `rate` on the good scans under `scans`, and their scores."""
    import torch

    from threedzal.callbacks.calibrate import on_good_scans, score_scans
    from threedzal.checkpoint import BANK, read_checkpoint
    from threedzal.data.check import check_records
    from threedzal.data.datasets import ScanDataset
    from threedzal.data.index import records_from_path
    from threedzal.data.readers.settle import settle
    from threedzal.data.scan import collate_scans
    from threedzal.detector import load, require_pictures
    from threedzal.features.cache import ArrayCache
    from threedzal.files import atomic_path
    from threedzal.progress import track

    detector = load(fitted, device=device)
    records = settle(records_from_path(scans), units=units, camera=camera, guesses={}, warn=_warn)
    for record in (r for r in records if r.defect not in ("good", "")):
        raise UserError(f"{record.xyz}: is a scan of a defect ({record.defect}), but good scans are wanted")
    check_records(records, need_rgb=detector.method.uses_rgb, need_gt=False, nan="allow")
    require_pictures(detector.method, records)
    dataset = ScanDataset(records, detector.preparation, ArrayCache(None))
    indices = track(range(len(dataset)), "Good scans", total=len(dataset))
    scored = score_scans(detector, (collate_scans([dataset[i]]).to(detector.method.device) for i in indices))
    calibration = on_good_scans(detector, scored)
    calibration, found = calibration.at_rate(rate)
    checkpoint = read_checkpoint(fitted)
    checkpoint["callbacks"][BANK]["calibration"] = calibration.to_dict()
    checkpoint["callbacks"][BANK]["options"]["false_positive_rate"] = rate
    with atomic_path(out) as part:
        torch.save(checkpoint, part)
    print(f"{out}: {found}")


def _warn(text: str) -> None:
    import sys

    print(f"threedzal: warning: {text}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="threedzal calibrate",
        description="Set a fitted file's threshold on good scans of the product that it is used on.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("fitted", metavar="FITTED", help="a fitted.ckpt")
    parser.add_argument("--scans", required=True, help="good scans: a folder, as for `predict`")
    parser.add_argument("--out", required=True, help="the fitted file to write")
    parser.add_argument(
        "--false_positive_rate", type=float, default=0.05, help="share of good scans that may be flagged"
    )
    parser.add_argument(
        "--units", default="auto", help="of files that do not say it: m, mm, auto, or metres of one unit"
    )
    parser.add_argument(
        "--camera", default=None, help="intrinsics of depth images, where they are not beside the scans"
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    return parser
