"""After each test: the report page, and its content to whatever loggers show tables and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger

from threedzal.callbacks.costs import Stopwatch
from threedzal.callbacks.memory_bank import FITTED, MemoryBankCallback
from threedzal.callbacks.report_data import command_line, report_data, test_counts
from threedzal.distributed import agree
from threedzal.report import ReportData, read_baselines, write_report
from threedzal.report.content import Curve
from threedzal.report.to_tensorboard import log_to_tensorboard
from threedzal.report.to_wandb import fitted_artifact, log_to_wandb
from threedzal.wandb_run import keep_run_id

MOST_POINTS = 2000  # of a training curve; a longer one is thinned


class ReportCallback(Callback):
    """Writes `report/` below the run's folder and sends the same to W&B or TensorBoard, the worst mistakes first.

    Args:
        enabled: Write the report and send it.
        scans: Most scans shown with pictures.
        surfaces: Most scans with a view in 3D, about 300 kB of the page each.
        baselines: Other test runs to stand beside this one: `PATH` or `NAME=PATH` of a `metrics.json`, a report or a
            run's folder. They must have been tested on the same scans.
        logged_panels: Most scans whose pictures are sent to W&B or TensorBoard, so that long runs do not fill a disk.
        log_fitted: Keep the fitted file as an artifact of the W&B run.
    """

    def __init__(
        self,
        enabled: bool = True,
        scans: int = 48,
        surfaces: int = 8,
        baselines: list[str] | None = None,
        logged_panels: int = 16,
        log_fitted: bool = True,
    ) -> None:
        self.enabled, self.scans, self.surfaces = enabled, scans, surfaces
        self.baselines, self.logged_panels, self.log_fitted = baselines or [], logged_panels, log_fitted
        self.curves: dict[str, list[tuple[int, float]]] = {}
        self.watch = Stopwatch()

    # curves, times and the command travel in the checkpoint, so that a test on another day shows them ----------------

    def state_dict(self) -> dict[str, Any]:
        curves = {name: [list(map(float, point)) for point in points] for name, points in self.curves.items()}
        return {"curves": curves, "fit": self.watch.fitted()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.curves = {name: [(int(s), v) for s, v in points] for name, points in state["curves"].items()}
        self.watch.fit = state.get("fit", {})

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, outputs, batch, batch_index: int) -> None:
        self._note(trainer, "train/")

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        self._note(trainer, "val/")

    def _note(self, trainer: Trainer, prefix: str) -> None:
        for name, value in trainer.callback_metrics.items():
            if name.startswith(prefix):
                self.curves.setdefault(name, []).append((trainer.global_step, float(value)))

    # when a run starts ----------------------------------------------------------------------------------------------

    def setup(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        folder = trainer.log_dir  # all processes must ask
        if trainer.is_global_zero and folder:
            keep_run_id(trainer.loggers, Path(folder))
        if stage == "test" and self.enabled:  # a wrong path is told before the test, not after it
            counts = test_counts(trainer.datamodule.test_records)
            agree(lambda: read_baselines(self.baselines, counts=counts))

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.watch.start_fit(module.device, command_line())

    def on_test_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.watch.start_test()

    def on_test_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs, scan, batch_index: int, dataloader_idx: int = 0
    ) -> None:
        self.watch.count(len(scan.record))

    def on_test_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        if bank := _bank_callback(trainer):
            module.log_dict(bank_facts(bank), rank_zero_only=True)

    # when it ends ---------------------------------------------------------------------------------------------------

    def on_fit_end(self, trainer: Trainer, module: LightningModule) -> None:
        bank, folder = _bank_callback(trainer), trainer.log_dir
        if bank is None or bank.detector is None or not trainer.is_global_zero:
            return
        facts = bank_facts(bank)
        for logger in trainer.loggers:
            logger.log_metrics(facts, step=trainer.global_step)
        if folder:
            validation = {name: float(value) for name, value in trainer.callback_metrics.items()}
            self._keep_fitted(trainer, Path(folder) / FITTED, facts | validation)

    def on_test_end(self, trainer: Trainer, module: LightningModule) -> None:
        bank, folder = _bank_callback(trainer), trainer.log_dir  # a broadcast: all processes must ask
        nothing = not self.enabled or bank is None or bank.results is None or folder is None
        if nothing or not trainer.is_global_zero:
            return
        shown = {"scans": self.scans, "surfaces": self.surfaces}
        data = report_data(trainer, module, bank, self.watch, folder=Path(folder), **shown)
        data.training = {name: _curve(points) for name, points in self.curves.items()}
        data.baselines = read_baselines(self.baselines, counts=test_counts(trainer.datamodule.test_records))
        page = write_report(Path(folder) / "report", data, max_scans=self.scans)
        for logger in trainer.loggers:
            log_report(logger, data, pictures=self.logged_panels, step=trainer.global_step)
        if trainer.ckpt_path:
            figures = bank_facts(bank) | bank.results.flat()
            self._keep_fitted(trainer, Path(trainer.ckpt_path), figures, page.with_name("metrics.json"))
        print(f"Report: {page}")

    def _keep_fitted(self, trainer: Trainer, path: Path, figures: dict[str, float], *others: Path) -> None:
        for logger in trainer.loggers:
            if self.log_fitted and isinstance(logger, WandbLogger) and path.is_file():
                artifact = fitted_artifact(f"fitted-{logger.experiment.id}", [path, *others], figures)
                logger.experiment.log_artifact(artifact)


def log_report(logger, data: ReportData, *, pictures: int, step: int) -> None:
    """Send a report's content to a logger that shows tables and pictures; others are left alone."""
    if isinstance(logger, WandbLogger):
        log_to_wandb(logger.experiment, data, pictures=pictures, step=step)
    elif isinstance(logger, TensorBoardLogger):
        log_to_tensorboard(logger.experiment, data, pictures=pictures, step=step)


def _curve(points: list[tuple[int, float]]) -> Curve:
    steps, values = np.array(points, dtype=float).T
    keep = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), MOST_POINTS)).astype(int))
    return steps[keep], values[keep]


def bank_facts(callback: MemoryBankCallback) -> dict[str, float]:
    """The bank's size and how well it covers what it stands for, for loggers; nothing for a method without one."""
    bank = getattr(callback.detector, "bank", None)
    if bank is None:
        return {}
    rows = bank.features
    facts = {"bank/rows": float(len(rows)), "bank/numbers": float(rows.shape[1])}
    if bank.coverage is not None:
        facts |= {"bank/patches": float(bank.coverage[0]), "bank/coreset_radius": bank.coverage[1]}
    return facts


def _bank_callback(trainer: Trainer) -> MemoryBankCallback | None:
    return next((c for c in trainer.callbacks if isinstance(c, MemoryBankCallback)), None)
