"""Builds the memory bank when training ends, keeps it in the fitted file, and scores test and predict scans with it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

from lightning import Callback, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from threedzal.batch import BatchOptions
from threedzal.calibration import Calibration
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
HERE = ("self", "state", "scratch")  # of this call alone: not in the fitted file
SCORED = ("weights", *(f.name for f in fields(ScoringOptions)))  # options without which a score is another one
SCORES = ("fused", "distance", "classification", "foreground")


class MemoryBankCallback(Callback):
    """Section 3.3, "Training and memory bank", and the scores and metrics of sections 3.4 and 4.

    At the end of `fit`: features of all patches of the good training scans, greedy k-center coreset, FAISS index, score
    scales, weights and threshold; all kept in `fitted.ckpt` in the run's folder. `test` and `predict` take them from
    the checkpoint; `test` on a checkpoint without a bank builds it from the training scans. A `MapModule` has no
    bank: its threshold is measured, the rest is the same.

    Args:
        coreset: Share of the patches that the bank keeps; above 1, how many.
        coreset_mode: `exact` chooses among all patches, which wait for it on disk when they are many; `composed` among
            those chosen of each group of patches, so that no more than twice the bank is kept, and says what it loses;
            `released` as BTF's released code does.
        coreset_group: Patches of a group.
        precision: Of the patches while the bank is built and in the fitted file; `float16` halves both, to 3 digits.
        build_memory: GiB of patches that a process keeps in memory while the bank is built.
        scratch: Folder for the others, on a disk that all machines of a run see; by default the run's.
        bank_cells: Patches of `all` grid cells, as the paper counts them, or of `object` cells only.
        index: `Flat` is exact; `HNSW32`, `IVF1024,Flat`, `IVF4096,PQ64` or any other factory string of FAISS for very
            large banks (docs/scaling.md).
        index_recall: How often such an index is to find the nearest row: it is searched as deep as that takes.
        neighbours: b of eq. (6).
        reweight_temperature: Divisor of the distances in eq. (6): `sqrt_dim` (PatchCore's released code) or `one`.
        reweight_nearest: Whether f* is `included` in its own neighbours, or `left_out` (PatchCore's released code).
        eta: Size of the input perturbation, eq. (8).
        blur: Sigma of the Gaussian blur of maps, in pixels.
        map_precision: The distance map is blurred in `float`, or in `8bit` as a picture (PatchCore's released code).
        weights: [w_d, w_c] of eqs. (11) and (12), or `auto`: chosen on pseudo-anomalous validation scans.
        score_scale: `validation` divides each raw score by its mean over the training classes' `validation/good`;
            `spread` by its standard deviation on the good ones among the scans that weights are chosen on.
        rim: Sigma in pixels of a weight that takes the fused map down towards the object's rim; 0: none.
        object_score: A scan's score: the `sum` of eq. (12), or the maximum of the fused `map`.
        false_positive_rate: Share of good scans that may be flagged: the threshold is set on the scores of normal
            validation scans, which the fitted file keeps. None: the best F1 on pseudo-anomalous scans.
        seed: Of the coreset.
        reference: What a scan is compared with: `training` scans, as in the paper; the other scans of the `batch` it
            comes in, each class for itself, unlabelled, no training scan needed; `both`, fused.
        batch_neighbours: Of the other scans, how many are to have a patch's like (1, 2, ...), or which share of them.
        batch_fusion: Branches searched apart and added (`late`), or as one feature (`early`).
        batch_branches: Branches that the batch is searched by; by default all that the method has.
        batch_trim: Share of the patches that serve as reference no longer in a second pass (repeated defects).
        batch_own_scale: Share of the scan's own noise floor and spread, beside the batch's, in its distances' scale.
        batch_index: `Flat` is exact; `IVF1024,Flat` or `HNSW32` for very large batches.
        batch_score: A scan's score: mean of the map's `top` 0.5 % of the object's pixels, or its `max`.
        batch_blur: Sigma of the blur of a batch's maps, in pixels.
        state: File that keeps the patches of scans from call to call, so that scans may come one by one.
        state_rows: Most patches in it.
    """

    def __init__(
        self,
        coreset: float = 0.1,
        coreset_mode: Literal["exact", "composed", "released"] = "exact",
        coreset_group: int = 25_000,
        precision: Literal["float32", "float16"] = "float32",
        build_memory: float = 1.0,
        scratch: str | None = None,
        bank_cells: Literal["all", "object"] = "all",
        index: str = "Flat",
        index_recall: float = 0.95,
        neighbours: int = 3,
        reweight_temperature: Literal["sqrt_dim", "one"] = "sqrt_dim",
        reweight_nearest: Literal["included", "left_out"] = "included",
        eta: float = 0.1,
        blur: float = 4.0,
        map_precision: Literal["float", "8bit"] = "float",
        weights: Literal["auto"] | list[float] = "auto",
        score_scale: Literal["validation", "spread", "none"] = "validation",
        rim: float = 0.0,
        object_score: Literal["sum", "map"] = "sum",
        false_positive_rate: float | None = None,
        seed: int = 0,
        reference: Literal["training", "batch", "both"] = "training",
        batch_neighbours: int | float = 1,
        batch_fusion: Literal["late", "early"] = "late",
        batch_branches: list[str] | None = None,
        batch_trim: float = 0.0,
        batch_own_scale: float = 0.5,
        batch_index: str = "Flat",
        batch_score: Literal["top", "max"] = "top",
        batch_blur: float = 2.0,
        state: str | None = None,
        state_rows: int = 20000,
    ) -> None:
        given = locals()
        self.options = {name: value for name, value in given.items() if name not in HERE}
        if not (0 < coreset <= 1 or coreset > 1 and coreset == int(coreset)):
            raise UserError(
                f"memory_bank.coreset is {coreset}, but it is a share of the patches, above 0 and at most 1, or "
                "how many of them, a whole number above 1"
            )
        if not 0 < index_recall <= 1:
            raise UserError(f"memory_bank.index_recall is {index_recall}, but it is a share: above 0, at most 1")
        if coreset_group < 1 or build_memory <= 0:
            raise UserError(
                f"memory_bank.coreset_group is {coreset_group} and memory_bank.build_memory {build_memory}, "
                "but wanted a group of at least 1 patch, and memory above 0"
            )
        if weights != "auto" and (len(weights) != 2 or min(weights) < 0 or max(weights) == 0):
            raise UserError(f"memory_bank.weights is {weights}, but wanted auto or two numbers [w_d, w_c], not both 0")
        if state is not None and (reference == "training" or state_rows < 1):
            raise UserError(
                f"memory_bank.state keeps the scans of a batch, but memory_bank.reference is {reference} and "
                f"memory_bank.state_rows {state_rows}: use reference batch or both, and some rows"
            )
        self.reference, self.state, self.scratch = reference, state, scratch
        self.batch_options = BatchOptions(
            neighbours=batch_neighbours,
            fusion=batch_fusion,
            branches=None if batch_branches is None else tuple(batch_branches),
            trim=batch_trim,
            own_scale=batch_own_scale,
            index=batch_index,
        )
        self.detector: Detector | None = None
        self.results: TestResults | None = None
        self._stored: dict[str, Any] = {}
        self._saved = False

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
