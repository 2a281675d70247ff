"""Builds the memory bank when training ends, keeps it in the fitted file, and scores test and predict scans with it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lightning import Callback, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from threedzal.calibration import Calibration
from threedzal.callbacks.bank_options import BankOptions
from threedzal.callbacks.batch import BatchJudge, BatchScan
from threedzal.callbacks.build import at_chosen_rate, build_detector, make_detector
from threedzal.callbacks.checkpoint_io import MappedCheckpointIO, save_whole
from threedzal.callbacks.results import TestResults, print_table
from threedzal.callbacks.tally import TestTally
from threedzal.data.scan import Scan, ScanRecord
from threedzal.detector import Detector, ScoringOptions
from threedzal.errors import UserError
from threedzal.features.rgb import kept_features
from threedzal.memory import MemoryBank
from threedzal.module import Method, PatchModule

FITTED = "fitted.ckpt"
SCORED = ("weights", *(f.name for f in fields(ScoringOptions)))  # options without which a score is another one
SCORES = ("fused", "distance", "classification", "foreground")


class MemoryBankCallback(BankOptions, Callback):
    """Section 3.3, "Training and memory bank", and the scores and metrics of sections 3.4 and 4.

    At the end of `fit`: features of all patches of the good training scans, greedy k-center coreset, FAISS index, score
    scales, weights and threshold; all kept in `fitted.ckpt` in the run's folder. `test` and `predict` take them from
    the checkpoint; `test` on a checkpoint without a bank builds it from the training scans. A `MapModule` has no
    bank: its threshold is measured, the rest is the same.

    The options are those of `BankOptions`.
    """

    detector: Detector | None = None
    results: TestResults | None = None
    _stored: Mapping[str, Any] = MappingProxyType({})  # what a checkpoint held
    _saved = False

    def setup(self, trainer: Trainer, module: Method, stage: str) -> None:
        if stage in ("test", "predict"):
            MappedCheckpointIO.use(trainer)

    # in the checkpoint ----------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Options, and once there is a bank, its rows and the calibration: tensors and plain numbers."""
        state: dict[str, Any] = {"options": self.options}
        if self.detector is not None:
            if self.detector.bank is not None:
                state["bank"] = self.detector.bank.state_dict()
                if self.options["precision"] == "float16":  # the rows were rounded to it when they were chosen
                    state["bank"]["features"] = state["bank"]["features"].half()
            state["calibration"] = self.detector.calibration.to_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._stored = state

    # when training ends ---------------------------------------------------------------------------------------------

    def on_fit_start(self, trainer: Trainer, module: Method) -> None:
        # what a resumed checkpoint held belongs to another state of the networks
        self.detector, self._stored, self._saved = None, {}, False

    def on_train_end(self, trainer: Trainer, module: Method) -> None:
        """Here the networks are still on their device, and signals are heard."""
        self._fitted(trainer, module)

    def on_fit_end(self, trainer: Trainer, module: Method) -> None:
        if not self._saved:  # nothing was trained: no network to train, or all epochs done before
            self._fitted(trainer, module)

    def _fitted(self, trainer: Trainer, module: Method) -> None:
        if module.judges_scans:
            self.detector = self._built(trainer, module)
        self._saved = True
        folder = trainer.log_dir
        if folder is not None and not trainer.fast_dev_run:
            path = Path(folder) / FITTED
            save_whole(trainer, path)
            if trainer.is_global_zero:
                rank_zero_info(f"Fitted file: {path} ({path.stat().st_size / 2**20:.1f} MiB)")

    def _built(self, trainer: Trainer, module: Method) -> Detector:
        scratch = self.scratch or trainer.log_dir or tempfile.gettempdir()
        return build_detector(module, trainer.datamodule, self.options, scratch=scratch)

    # when scans are scored ------------------------------------------------------------------------------------------

    def on_test_start(self, trainer: Trainer, module: Method) -> None:
        self._ready(trainer, module)
        self._keeping = ExitStack()
        self._keeping.enter_context(kept_features(module, trainer.datamodule.rgb_cache))
        self.results = None
        self._tally = TestTally(trainer.datamodule, SCORES, module.device)
        self._judge = self._batch_judge(trainer, module, trainer.datamodule.test_records)

    def on_predict_start(self, trainer: Trainer, module: Method) -> None:
        if self.reference != "batch" and "calibration" not in self._stored and self.detector is None:
            raise UserError(
                "predict needs a fitted file: give --ckpt_path .../fitted.ckpt, or let the scans "
                "judge each other: --memory_bank.reference batch"
            )
        self._ready(trainer, module)
        self._judge = self._batch_judge(trainer, module, trainer.datamodule.predict_records)

    def _ready(self, trainer: Trainer, module: Method) -> None:
        """The detector of this run, that of the checkpoint under this run's options, or a new one; none for a batch."""
        if self.reference == "batch":
            self.detector = None
        elif "calibration" in self._stored:
            bank = self._stored_bank() if "bank" in self._stored else None
            calibration = Calibration.from_dict(self._stored["calibration"])
            if bank is not None and self.options["weights"] not in ("auto", self._stored["options"]["weights"]):
                calibration = calibration.with_weights(self.options["weights"])
            if any(self.options[name] != self._stored["options"].get(name, self.options[name]) for name in SCORED):
                calibration = calibration.without_scores()
            if self.options["false_positive_rate"] != calibration.false_positive_rate:
                calibration = at_chosen_rate(calibration, self.options)
            self.detector = make_detector(module, bank, trainer.datamodule, self.options, calibration)
        elif self.detector is None:
            rank_zero_info("The checkpoint is not of a finished fit: finishing it with the scans of training")
            self.detector = self._built(trainer, module)

    def _stored_bank(self) -> MemoryBank:
        stored, index, recall = self._stored["options"], self.options["index"], self.options["index_recall"]
        as_it_was = (stored["index"], stored.get("index_recall", recall)) == (index, recall)
        return MemoryBank.from_state_dict(self._stored["bank"], index=index, recall=None if as_it_was else recall)

    def _batch_judge(self, trainer: Trainer, module: Method, records: list[ScanRecord]) -> BatchJudge | None:
        if self.reference == "training":
            return None
        if not isinstance(module, PatchModule):
            raise UserError(
                f"memory_bank.reference is {self.reference}, but {type(module).__name__} describes no patches by "
                "which the scans of a batch could be compared: leave it at training"
            )
        return BatchJudge(
            module,
            trainer.datamodule.preparation,
            classes={record.class_name for record in records},
            options=self.batch_options,
            score=self.options["batch_score"],
            blur=self.options["batch_blur"],
            state=self.state,
            state_rows=self.options["state_rows"],
        )

    def on_test_batch_end(
        self,
        trainer: Trainer,
        module: Method,
        outputs: Tensor,
        scan: Scan,
        batch_index: int,
        dataloader_idx: int = 0,
    ) -> None:
        scores = None if self.detector is None else self.detector.score(scan, outputs)
        if self._judge is not None:
            self._judge.add(scan, outputs, scores)
        if scores is not None:
            self._tally.add(scan, scores)

    def on_test_epoch_end(self, trainer: Trainer, module: Method) -> None:
        self._keeping.close()
        judged = None if self._judge is None else self._judged(trainer, module)
        self.results = TestResults({}, transductive=judged) if self.detector is None else self._tally.results(judged)
        module.log_dict({f"test/{name}": value for name, value in self.results.flat().items()}, rank_zero_only=True)
        if trainer.is_global_zero:
            print_table(self.results)
        self._tally = self._judge = None

    def _judged(self, trainer: Trainer, module: Method) -> TestResults:
        """The batches' own judgement, under its own names."""
        names = ("both",) * (self.reference == "both") + ("batch", "foreground")
        tally = TestTally(trainer.datamodule, names, module.device)
        for scan in self._judge.judged():
            tally.add_judged(scan)
        return tally.results()

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        module: Method,
        outputs: Tensor,
        scan: Scan,
        batch_index: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._judge is not None:
            self._judge.add(scan, outputs, self.detector and self.detector.score(scan, outputs))

    def judged_batch(self) -> Iterator[BatchScan]:
        """After a predict epoch: this process's scans as their batch judged them (nothing where reference is training).

        To be gone through once, to its end, on every process.
        """
        if self._judge is not None:
            yield from self._judge.judged()
            self._judge = None
