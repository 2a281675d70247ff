"""From a finished test to what its report shows."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from lightning import LightningModule, Trainer

from threedzal.callbacks.costs import Stopwatch, costs
from threedzal.callbacks.memory_bank import MemoryBankCallback
from threedzal.callbacks.results import TestedScan
from threedzal.data.cached import cached_foreground
from threedzal.data.datamodule import ZeroShotDataModule
from threedzal.data.readers import read_object, read_picture, read_points, read_truth
from threedzal.data.resize import restore_map
from threedzal.data.scan import ScanRecord
from threedzal.report import ReportData, ScanOutcome, ScanPanel, pixel_overlap, worst_first
from threedzal.threshold import threshold_at_rate


def report_data(
    trainer: Trainer,
    module: LightningModule,
    bank: MemoryBankCallback,
    watch: Stopwatch,
    *,
    folder: Path,
    scans: int,
    surfaces: int,
) -> ReportData:
    """All that the test says, but the training curves and the baselines. On the first process alone.

    Args:
        folder: Of the run, where its configuration lies.
        scans, surfaces: How many are shown with pictures and in 3D at most.
    """
    data, results, apart = trainer.datamodule, bank.results, bank.results.transductive
    shown = results if bank.detector is not None else apart  # a batch alone: its own scans and curves
    threshold = None if bank.detector is None else bank.detector.calibration.threshold
    threshold = threshold if threshold is not None and math.isfinite(threshold) else None
    outcomes = [_outcome(scan, threshold) for scan in shown.scans]
    order = sorted(range(len(outcomes)), key=lambda i: _badness(outcomes[i], threshold))[:scans]
    panels = worst_first([_panel(shown.scans[i], outcomes[i], data) for i in order], threshold=threshold)
    records = {scan.record.key: scan.record for scan in shown.scans}
    for panel in _in_depth(panels, surfaces):
        panel.points = _object_points(records[panel.key], data)
    fitted = Path(trainer.ckpt_path) if trainer.ckpt_path else None
    workers = data.hparams.num_workers
    return ReportData(
        title="3D anomaly localisation" + " on products never seen" * _unseen(data),
        subtitle=_subtitle(module, bank, len(outcomes)),
        method=method_name(module),
        commands={name: text for name, text in (("Fit", watch.fit.get("command")), ("Test", command_line())) if text},
        config=_config(folder),
        train_classes=[] if bank.detector is None else list(data.classes.train),
        facts=_facts(module, bank, data),
        costs=costs(watch, module.device, workers=workers, processes=trainer.world_size, fitted=fitted),
        metrics=results.table(),
        defects=results.defect_table() or (apart.defect_table() if apart is not None else {}),
        transductive={} if apart is None else apart.table(),
        pro_curves=shown.pro_curves,
        floor_pro_curves=shown.floor_pro_curves,
        roc_curves=shown.roc_curves,
        panels=panels,
        outcomes=outcomes,
        threshold=threshold,
        threshold_note=_threshold_note(bank),
    )


def method_name(module: LightningModule) -> str:
    """The method as papers name it; a class without such a name, by its own."""
    return getattr(module, "title", "") or type(module).__name__


def command_line() -> str:
    """The command of this process, as a shell takes it."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def test_counts(records: Sequence[ScanRecord]) -> dict[str, dict[str, int]]:
    """{class: {defect kind: scans}}"""
    counts: dict[str, dict[str, int]] = {}
    for record in records:
        kinds = counts.setdefault(record.class_name, {})
        kinds[record.defect] = kinds.get(record.defect, 0) + 1
    return counts


def _outcome(scan: TestedScan, threshold: float | None) -> ScanOutcome:
    score = next(iter(scan.scores.values()))
    return ScanOutcome(
        key=scan.record.key,
        label=scan.record.label,
        defect=scan.record.defect,
        score=score,
        verdict=None if threshold is None else int(score >= threshold),
    )


def _badness(outcome: ScanOutcome, threshold: float | None) -> tuple[bool, float]:
    if threshold is None:  # good scans by how high they score, defective ones by how low
        return True, outcome.score if outcome.label else -outcome.score
    margin = abs(outcome.score - threshold)
    return (not outcome.misjudged, -margin if outcome.misjudged else margin)


def _panel(scan: TestedScan, outcome: ScanOutcome, data: ZeroShotDataModule) -> ScanPanel:
    record = scan.record
    depth = read_points(record)[..., 2]

    def restored(name: str) -> np.ndarray | None:
        if name not in scan.maps:
            return None
        pad = data.preparation.pad_to_square
        return restore_map(scan.maps[name].float(), size=depth.shape, pad_to_square=pad).numpy()

    return ScanPanel(
        **vars(outcome),
        map=restored(next(iter(scan.maps))),
        rgb=read_picture(record),
        depth=np.where(depth > 0, depth, np.nan),
        gt=read_truth(record),
        distance_map=restored("distance") if "classification" in scan.maps else None,  # else it is the fused map
        classifier_map=restored("classification"),
    )


def _in_depth(panels: list[ScanPanel], most: int) -> list[ScanPanel]:
    """Those shown in 3D: half the worst mistakes, half the defects that were marked best."""
    worst = panels[: most - most // 2]
    rest = [panel for panel in panels if panel.label and all(panel is not other for other in worst)]
    return worst + sorted(rest, key=lambda panel: -(pixel_overlap(panel) or 0))[: most // 2]


def _object_points(record: ScanRecord, data: ZeroShotDataModule) -> np.ndarray:
    """(h,w,3) float32 metres, 0 off the object."""
    points = np.nan_to_num(read_points(record), nan=0.0, posinf=0.0, neginf=0.0)
    if data.preparation.background == "keep":
        return points
    known = read_object(record)
    return points * (cached_foreground(points, data.cache) if known is None else known)[..., None]


def _unseen(data: ZeroShotDataModule) -> bool:
    """Whether the tested classes are none that was learned."""
    return not set(data.classes.test) & set(data.classes.train)


def _subtitle(module: LightningModule, bank: MemoryBankCallback, scans: int) -> str:
    how = ", each judged by the others of its class" if bank.reference == "batch" else ""
    return f"{method_name(module)}, {scans} test scans{how}"


def _facts(module: LightningModule, bank: MemoryBankCallback, data: ZeroShotDataModule) -> dict[str, str]:
    sizes = {name: sum(p.numel() for p in child.parameters()) for name, child in module.named_children()}
    tested = ", ".join(data.classes.test)
    if bank.detector is None:
        about = {"Tested on": tested, "Reference": "the other scans of the same test class, unlabelled"}
    else:
        calibration, rows = bank.detector.calibration, getattr(bank.detector, "bank", None)
        about = {"Trained on": ", ".join(data.classes.train), f"Tested on{' (never seen)' * _unseen(data)}": tested}
        if rows is not None:
            about["Memory bank"] = _bank_facts(rows)
        if "classification" in bank.results.table():
            about["Weights w_d : w_c of the map"] = "{:.2g} : {:.2g}".format(*calibration.weights.map)
            about["Weights w_d : w_c of the score"] = "{:.2g} : {:.2g}".format(*calibration.weights.score)
    about["Parameters"] = ", ".join(f"{name} {count / 1e6:.2f} M" for name, count in sizes.items() if count)
    return {name: text for name, text in about.items() if text} | {"torch": torch.__version__}


def _threshold_note(bank: MemoryBankCallback) -> str:
    calibration = None if bank.detector is None else bank.detector.calibration
    if calibration is None or not math.isfinite(calibration.threshold):
        return ""
    never = "No scan of a tested class had a part in it."
    if calibration.false_positive_rate is None:
        return f"It has the best F1 on validation scans with pseudo anomalies. {never}"
    found = threshold_at_rate(calibration.pooled_scores, calibration.false_positive_rate)
    return f"{str(found)[0].upper()}{str(found)[1:]}. {never}"


def _bank_facts(bank) -> str:
    of = f" of {bank.coverage[0]}" if bank.coverage else ""
    far = f", the others at most {bank.coverage[1]:.3g} away" if bank.coverage else ""
    return f"{len(bank)}{of} patches, {bank.features.shape[1]} numbers each{far}"


def _config(folder: Path) -> str:
    path = folder / "config.yaml"
    return path.read_text(encoding="utf-8") if path.is_file() else ""
