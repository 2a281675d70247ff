"""From the scans that may be seen to a detector: features, coreset, index, calibration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from lightning.pytorch.utilities.exceptions import SIGTERMException

from threedzal.calibration import Calibration
from threedzal.callbacks.calibrate import calibrate
from threedzal.data.datamodule import ZeroShotDataModule
from threedzal.data.scan import Scan
from threedzal.detector import Detector, ScoringOptions
from threedzal.distributed import agree
from threedzal.features.rgb import kept_features
from threedzal.memory import BankRows, MemoryBank, RowOptions
from threedzal.module import Method, PatchModule
from threedzal.progress import progress_bar, track


@torch.no_grad()
def build_detector(
    module: Method, data: ZeroShotDataModule, options: dict[str, Any], *, scratch: str | Path
) -> Detector:
    """Memory bank (of a `PatchModule`) and calibration from the scans that may be seen; every process takes part.

    Args:
        options: Those of `MemoryBankCallback`, by name.
        scratch: Folder for what does not stay in memory.
    """
    training = module.training
    module.eval()
    bank = build_bank(module, data, options, scratch=scratch) if isinstance(module, PatchModule) else None
    detector = make_detector(module, bank, data, options)
    detector.calibration = calibrate(
        detector,
        normal=_with_kept_features(scan_batches(data.calibration_dataloader(), module, "Score scales"), module, data),
        pseudo=scan_batches(data.pseudo_scan_dataloader(), module, "Weights and threshold"),
        weights=options["weights"],
        score_scale=options["score_scale"],
    )
    detector.calibration = at_chosen_rate(detector.calibration, options)
    module.train(training)
    return detector


def at_chosen_rate(calibration: Calibration, options: dict[str, Any]) -> Calibration:
    """The calibration with its threshold at `false_positive_rate` where one is chosen; says how sure that is."""
    rate = options["false_positive_rate"]
    if rate is None:
        return calibration
    calibration, found = calibration.at_rate(rate)
    (rank_zero_info if found.enough else rank_zero_warn)(str(found))
    return calibration


def build_bank(
    module: PatchModule, data: ZeroShotDataModule, options: dict[str, Any], *, scratch: str | Path
) -> MemoryBank:
    """Section 3.3: the features of all patches of the good training scans, their greedy k-center coreset, an index.

    Each process describes its own scans and keeps their patches to itself until they are chosen among.
    """
    loader = data.bank_dataloader()
    expected = len(data.train_records) * data.preparation.grid**2
    chosen_how = RowOptions(
        coreset=options["coreset"],
        mode=options["coreset_mode"],
        group=options["coreset_group"],
        precision=options["precision"],
        memory=options["build_memory"],
        scratch=scratch,
        seed=options["seed"],
    )
    with BankRows(chosen_how, expected=expected, here=1 / module.trainer.num_nodes, device=module.device) as rows:
        agree(lambda: _add_features(rows, loader, module, cells=options["bank_cells"]))
        with progress_bar("Coreset") as progress:
            chosen = rows.choose(progress)
    rank_zero_info(
        f"Memory bank: coreset of {len(chosen.rows)} among {chosen.seen} patches of {chosen.rows.shape[1]} numbers; "
        f"none is farther than {chosen.radius:.4g} from it (any of that size would leave one at {chosen.least:.4g})"
    )
    coverage = (chosen.seen, chosen.radius)
    bank = MemoryBank.build(chosen.rows, options["index"], recall=options["index_recall"], coverage=coverage)
    if bank.depth:
        rank_zero_info(f"Index: {bank}")
    return bank


def _add_features(rows: BankRows, loader, module: PatchModule, *, cells: Literal["all", "object"]) -> None:
    batches = scan_batches(loader, module, "Features of the training scans")
    for scan in _with_kept_features(batches, module, module.trainer.datamodule):
        wanted = torch.ones_like(scan.cells) if cells == "all" else scan.cells
        rows.add(module.features(scan)[wanted])


def make_detector(
    module: Method,
    bank: MemoryBank | None,
    data: ZeroShotDataModule,
    options: dict[str, Any],
    calibration: Calibration | None = None,
) -> Detector:
    """A detector on the module's device, with the knobs of section 3.4 as they stand in `options`."""
    names = [f.name for f in fields(ScoringOptions)]
    return Detector(
        module,
        None if bank is None else bank.to(module.device),
        preparation=data.preparation,
        options=ScoringOptions(**{name: options[name] for name in names}),
        calibration=calibration,
    )


def scan_batches(loader, module: Method, description: str) -> Iterator[Scan]:
    """Batches of scans on the module's device; ends early where a signal asks for it."""
    for scan in track(loader, description, total=len(loader)):
        if module.trainer.received_sigterm:  # no loop of Lightning runs that would look
            raise SIGTERMException
        yield scan.to(module.device)


def _with_kept_features(batches: Iterator[Scan], module: Method, data: ZeroShotDataModule) -> Iterator[Scan]:
    """The same batches; what frozen image networks say of them is looked up in the cache of the data."""
    for scan in batches:
        with kept_features(module, data.rgb_cache):
            yield scan
