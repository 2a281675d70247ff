"""From the scans that may be seen to a detector: features, coreset, index, calibration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor

from threedzal.callbacks.calibrate import calibrate
from threedzal.data.datamodule import ZeroShotDataModule
from threedzal.data.scan import Scan
from threedzal.detector import Calibration, Detector, ScoringOptions
from threedzal.distributed import gather_rows
from threedzal.memory import MemoryBank, greedy_coreset
from threedzal.module import Method, PatchModule
from threedzal.progress import progress_bar, track


@torch.no_grad()
def build_detector(module: Method, data: ZeroShotDataModule, options: dict[str, Any]) -> Detector:
    """Memory bank (of a `PatchModule`) and calibration from the scans that may be seen; every process takes part.

    Args:
        options: Those of `MemoryBankCallback`, by name.
    """
    training = module.training
    module.eval()
    bank = build_bank(module, data, options) if isinstance(module, PatchModule) else None
    detector = make_detector(module, bank, data, options)
    detector.calibration = calibrate(
        detector,
        normal=scan_batches(data.calibration_dataloader(), module, "Score scales"),
        pseudo=scan_batches(data.pseudo_scan_dataloader(), module, "Weights and threshold"),
        weights=options["weights"],
        score_scale=options["score_scale"],
    )
    module.train(training)
    return detector


def build_bank(module: PatchModule, data: ZeroShotDataModule, options: dict[str, Any]) -> MemoryBank:
    """Section 3.3: the features of all patches of the good training scans, their greedy k-center coreset, an index."""
    features = gather_rows(_bank_features(module, data, options))
    size = max(1, round(options["coreset"] * len(features)))
    rank_zero_info(f"Memory bank: coreset of {size} among {len(features)} patches of {features.shape[1]} numbers")
    with progress_bar("Coreset") as progress:
        chosen = greedy_coreset(features.to(module.device), size, seed=options["seed"], progress=progress)
    return MemoryBank.build(features[chosen.cpu()], options["index"])


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


def _bank_features(module: PatchModule, data: ZeroShotDataModule, options: dict[str, Any]) -> Tensor:
    rows = []
    for scan in scan_batches(data.bank_dataloader(), module, "Features of the training scans"):
        features = module.features(scan)
        wanted = torch.ones_like(scan.cells) if options["bank_cells"] == "all" else scan.cells
        rows.append(features[wanted].float().cpu())
    return torch.cat(rows) if rows else torch.zeros(0, 0)
