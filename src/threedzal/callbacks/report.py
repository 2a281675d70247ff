"""After each test: the report page, and picture panels to whatever loggers show pictures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger

from threedzal.callbacks.memory_bank import MemoryBankCallback
from threedzal.callbacks.results import TestedScan
from threedzal.data.readers import read_picture, read_points, read_truth
from threedzal.data.scan import restore_map
from threedzal.report import ReportData, ScanOutcome, ScanPanel, panel_png, worst_first, write_report

MOST_POINTS = 2000  # of a training curve; a longer one is thinned


class ReportCallback(Callback):
    """Writes `report/` below the run's folder and logs panels, the worst mistakes first.

    Args:
        enabled: Write the report.
        scans: Most scans shown with pictures.
        logged_panels: Most panels sent to W&B or TensorBoard, so that long runs do not fill a disk.
    """

    def __init__(self, enabled: bool = True, scans: int = 48, logged_panels: int = 16) -> None:
        self.enabled, self.scans, self.logged_panels = enabled, scans, logged_panels
        self.curves: dict[str, list[tuple[int, float]]] = {}

    # the training curves travel in the checkpoint, so that a test on another day shows them -------------------------

    def state_dict(self) -> dict[str, Any]:
        return {"curves": {name: [list(map(float, point)) for point in points] for name, points in self.curves.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.curves = {name: [(int(s), v) for s, v in points] for name, points in state["curves"].items()}

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, outputs, batch, batch_index: int) -> None:
        self._note(trainer, "train/")

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        self._note(trainer, "val/")

    def _note(self, trainer: Trainer, prefix: str) -> None:
        for name, value in trainer.callback_metrics.items():
            if name.startswith(prefix):
                self.curves.setdefault(name, []).append((trainer.global_step, float(value)))

    # the report -----------------------------------------------------------------------------------------------------

    def on_test_end(self, trainer: Trainer, module: LightningModule) -> None:
        bank = next((c for c in trainer.callbacks if isinstance(c, MemoryBankCallback)), None)
        folder = trainer.log_dir
        if not self.enabled or bank is None or bank.results is None or not trainer.is_global_zero:
            return
        data = self._report_data(trainer, module, bank)
        page = write_report(Path(folder) / "report", data)
        for logger in trainer.loggers:
            log_panels(logger, data.panels[: self.logged_panels], step=trainer.global_step)
        print(f"Report: {page}")

    def _report_data(self, trainer: Trainer, module: LightningModule, bank: MemoryBankCallback) -> ReportData:
        results, apart = bank.results, bank.results.transductive
        shown = results if bank.detector is not None else apart  # a batch alone: its own scans and curves
        threshold = bank.detector.calibration.threshold if bank.detector is not None else None
        outcomes = [
            ScanOutcome(
                key=s.record.key,
                label=s.record.label,
                defect=s.record.defect,
                score=next(iter(s.scores.values())),
                verdict=None if threshold is None else int(s.scores["fused"] >= threshold),
            )
            for s in shown.scans
        ]
        order = sorted(range(len(outcomes)), key=lambda i: _badness(outcomes[i], threshold))[: self.scans]
        pad_to_square = trainer.datamodule.preparation.pad_to_square
        panels = [_panel(shown.scans[i], outcomes[i], pad_to_square) for i in order]
        return ReportData(
            title="3D anomaly localisation on products never seen",
            subtitle=f"{type(module).__name__}, {len(outcomes)} test scans"
            + (", each judged by the others of its class" if bank.reference == "batch" else ""),
            command=" ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            facts=_facts(trainer, module, bank),
            metrics=results.table(),
            defects=results.defect_table(),
            transductive={} if apart is None else apart.table(),
            pro_curves=shown.pro_curves,
            floor_pro_curves=shown.floor_pro_curves,
            roc_curves=shown.roc_curves,
            training={name: _curve(points) for name, points in self.curves.items()},
            panels=worst_first(panels, threshold=threshold),
            outcomes=outcomes,
            threshold=threshold,
        )


def log_panels(logger, panels: list[ScanPanel], *, step: int) -> None:
    """Send panels to a logger that shows pictures; others are left alone."""
    if isinstance(logger, WandbLogger):
        captions = [f"{p.key}: {p.score:.3f}, {p.word}" for p in panels]
        logger.log_image("test/panels", [panel_png(p) for p in panels], caption=captions)
    elif isinstance(logger, TensorBoardLogger):
        for panel in panels:
            logger.experiment.add_image(f"test/{panel.key}", np.asarray(panel_png(panel)), step, dataformats="HWC")


def _badness(outcome: ScanOutcome, threshold: float | None) -> tuple[bool, float]:
    if threshold is None:  # good scans by how high they score, defective ones by how low
        return True, outcome.score if outcome.label else -outcome.score
    margin = abs(outcome.score - threshold)
    return (not outcome.misjudged, -margin if outcome.misjudged else margin)


def _panel(scan: TestedScan, outcome: ScanOutcome, pad_to_square: bool) -> ScanPanel:
    record = scan.record
    depth = read_points(record)[..., 2]

    def restored(name: str) -> np.ndarray | None:
        if name not in scan.maps:
            return None
        return restore_map(scan.maps[name].float(), size=depth.shape, pad_to_square=pad_to_square).numpy()

    return ScanPanel(
        **vars(outcome),
        map=restored(next(iter(scan.maps))),
        rgb=read_picture(record),
        depth=np.where(depth > 0, depth, np.nan),
        gt=read_truth(record),
        distance_map=restored("distance"),
        classifier_map=restored("classification"),
    )


def _facts(trainer: Trainer, module: LightningModule, bank: MemoryBankCallback) -> dict[str, str]:
    data = trainer.datamodule
    sizes = {name: sum(p.numel() for p in child.parameters()) for name, child in module.named_children()}
    tested = ", ".join(data.test_classes)
    if bank.detector is None:
        about = {"Tested on": tested, "Reference": "the other scans of the same test class, unlabelled"}
    else:
        calibration = bank.detector.calibration
        about = {
            "Trained on": ", ".join(data.train_classes),
            "Tested on (never seen)": tested,
        }
        if (rows := bank.detector.bank) is not None:
            about |= {
                "Memory bank": f"{len(rows)} rows of {rows.features.shape[1]} numbers",
                "Weights w_d : w_c of the map": "{:.2g} : {:.2g}".format(*calibration.weights.map),
                "Weights w_d : w_c of the score": "{:.2g} : {:.2g}".format(*calibration.weights.score),
            }
    return about | {
        "Parameters": ", ".join(f"{name} {count / 1e6:.2f} M" for name, count in sizes.items() if count),
        "torch": torch.__version__,
    }


def _curve(points: list[tuple[int, float]]) -> tuple[np.ndarray, np.ndarray]:
    steps, values = np.array(points, dtype=float).T
    keep = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), MOST_POINTS)).astype(int))
    return steps[keep], values[keep]
