"""Builds the memory bank when training ends, keeps it in the fitted file, and scores test and predict scans with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import torch
from lightning import Callback, Trainer
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor

from threedzal.batch import BatchOptions
from threedzal.callbacks.batch import BatchJudge, BatchScan
from threedzal.callbacks.calibrate import calibrate
from threedzal.callbacks.results import TestedScan, TestResults, print_table
from threedzal.data.scan import Scan, ScanRecord
from threedzal.detector import Calibration, Detector, ScoringOptions
from threedzal.distributed import gather_objects, gather_rows
from threedzal.errors import UserError
from threedzal.memory import MemoryBank, greedy_coreset
from threedzal.metrics import ScanMetrics
from threedzal.module import PatchModule
from threedzal.progress import progress_bar, track

FITTED = "fitted.ckpt"


class MemoryBankCallback(Callback):
    """Section 3.3, "Training and memory bank", and the scores and metrics of sections 3.4 and 4.

    At the end of `fit`: features of all patches of the good training scans, greedy k-center coreset, FAISS index, score
    scales, weights and threshold; all kept in `fitted.ckpt` in the run's folder. `test` and `predict` take them from
    the checkpoint; `test` on a checkpoint without a bank builds it from the training scans.

    Args:
        coreset: Share of the patches that the bank keeps.
        bank_cells: Patches of `all` grid cells, as the paper counts them, or of `object` cells only.
        index: FAISS factory string.
        neighbours: b of eq. (6).
        reweight_temperature: Divisor of the distances in eq. (6): `sqrt_dim` (PatchCore's released code) or `one`.
        eta: Size of the input perturbation, eq. (8).
        blur: Sigma of the Gaussian blur of maps, in pixels.
        weights: [w_d, w_c] of eqs. (11) and (12), or `auto`: chosen on pseudo-anomalous validation scans.
        score_scale: `validation` divides each raw score by its mean over the training classes' `validation/good`;
            `spread` by its standard deviation on the good ones among the scans that weights are chosen on.
        rim: Sigma in pixels of a weight that takes the fused map down towards the object's rim; 0: none.
        object_score: A scan's score: the `sum` of eq. (12), or the maximum of the fused `map`.
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
        bank_cells: Literal["all", "object"] = "all",
        index: str = "Flat",
        neighbours: int = 3,
        reweight_temperature: Literal["sqrt_dim", "one"] = "sqrt_dim",
        eta: float = 0.1,
        blur: float = 4.0,
        weights: Literal["auto"] | list[float] = "auto",
        score_scale: Literal["validation", "spread", "none"] = "validation",
        rim: float = 0.0,
        object_score: Literal["sum", "map"] = "sum",
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
        if not 0 < coreset <= 1:
            raise UserError(f"memory_bank.coreset is {coreset}, but it is a share of the patches: above 0, at most 1")
        if weights != "auto" and (len(weights) != 2 or min(weights) < 0 or max(weights) == 0):
            raise UserError(f"memory_bank.weights is {weights}, but wanted auto or two numbers [w_d, w_c], not both 0")
        self.options = {
            "coreset": coreset,
            "bank_cells": bank_cells,
            "index": index,
            "neighbours": neighbours,
            "reweight_temperature": reweight_temperature,
            "eta": eta,
            "blur": blur,
            "weights": weights,
            "score_scale": score_scale,
            "rim": rim,
            "object_score": object_score,
            "seed": seed,
            "reference": reference,
            "batch_neighbours": batch_neighbours,
            "batch_fusion": batch_fusion,
            "batch_branches": batch_branches,
            "batch_trim": batch_trim,
            "batch_own_scale": batch_own_scale,
            "batch_index": batch_index,
            "batch_score": batch_score,
            "batch_blur": batch_blur,
            "state_rows": state_rows,
        }
        if state is not None and (reference == "training" or state_rows < 1):
            raise UserError(
                f"memory_bank.state keeps the scans of a batch, but memory_bank.reference is {reference} and "
                f"memory_bank.state_rows {state_rows}: use reference batch or both, and some rows"
            )
        self.reference, self.state = reference, state
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

    # in the checkpoint ----------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Options, and once there is a bank, its rows and the calibration: tensors and plain numbers."""
        state: dict[str, Any] = {"options": self.options}
        if self.detector is not None:
            state["bank"] = self.detector.bank.state_dict()
            state["calibration"] = self.detector.calibration.to_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._stored = state

    # when training ends ---------------------------------------------------------------------------------------------

    def on_fit_start(self, trainer: Trainer, module: PatchModule) -> None:
        # what a resumed checkpoint held belongs to another state of the networks
        self.detector, self._stored = None, {}

    def on_train_end(self, trainer: Trainer, module: PatchModule) -> None:
        """Here the networks are still on their device, and signals are heard."""
        self._fitted(trainer, module)

    def on_fit_end(self, trainer: Trainer, module: PatchModule) -> None:
        if self.detector is None:  # nothing was trained: no network to train, or all epochs done before
            self._fitted(trainer, module)

    def _fitted(self, trainer: Trainer, module: PatchModule) -> None:
        self.build(trainer, module)
        folder = trainer.log_dir
        if folder is not None and not trainer.fast_dev_run:
            path = Path(folder) / FITTED
            trainer.save_checkpoint(path)
            rank_zero_info(f"Fitted file: {path} ({path.stat().st_size / 2**20:.1f} MiB)")

    @torch.no_grad()
    def build(self, trainer: Trainer, module: PatchModule) -> Detector:
        """Memory bank and calibration from the scans that may be seen."""
        training = module.training
        module.eval()
        data = trainer.datamodule
        features = gather_rows(self._bank_features(trainer, module))
        size = max(1, round(self.options["coreset"] * len(features)))
        rank_zero_info(f"Memory bank: coreset of {size} among {len(features)} patches of {features.shape[1]} numbers")
        with progress_bar("Coreset") as progress:
            chosen = greedy_coreset(features.to(module.device), size, seed=self.options["seed"], progress=progress)
        rows = features[chosen.cpu()]
        detector = self._make_detector(module, MemoryBank.build(rows, self.options["index"]), data, Calibration())
        detector.calibration = calibrate(
            detector,
            normal=self._batches(data.calibration_dataloader(), module, "Score scales"),
            pseudo=self._batches(data.pseudo_scan_dataloader(), module, "Weights and threshold"),
            weights=self.options["weights"],
            score_scale=self.options["score_scale"],
        )
        module.train(training)
        self.detector = detector
        return detector

    def _bank_features(self, trainer: Trainer, module: PatchModule) -> Tensor:
        rows = []
        for scan in self._batches(trainer.datamodule.bank_dataloader(), module, "Features of the training scans"):
            features = module.features(scan)
            wanted = torch.ones_like(scan.cells) if self.options["bank_cells"] == "all" else scan.cells
            rows.append(features[wanted].float().cpu())
        return torch.cat(rows) if rows else torch.zeros(0, 0)

    def _make_detector(self, module: PatchModule, bank: MemoryBank, data, calibration: Calibration) -> Detector:
        names = [f.name for f in fields(ScoringOptions)]
        return Detector(
            module,
            bank.to(module.device),
            preparation=data.preparation,
            options=ScoringOptions(**{name: self.options[name] for name in names}),
            calibration=calibration,
        )

    @staticmethod
    def _batches(loader, module: PatchModule, description: str):
        for scan in track(loader, description, total=len(loader)):
            if module.trainer.received_sigterm:  # no loop of Lightning runs that would look
                raise SIGTERMException
            yield scan.to(module.device)

    # when scans are scored ------------------------------------------------------------------------------------------

    def on_test_start(self, trainer: Trainer, module: PatchModule) -> None:
        self._ready(trainer, module)
        self.results = None
        self._scans: list[TestedScan] = []
        names = ("fused", "distance", "classification", "foreground")
        self._metrics = self._class_metrics(trainer, module, names) if self.detector is not None else {}
        self._judge = self._batch_judge(trainer, module, trainer.datamodule.test_records)

    def on_predict_start(self, trainer: Trainer, module: PatchModule) -> None:
        if self.reference != "batch" and not self._stored.get("bank") and self.detector is None:
            raise UserError(
                "predict needs a fitted file with a memory bank: give --ckpt_path .../fitted.ckpt, or let the scans "
                "judge each other: --memory_bank.reference batch"
            )
        self._ready(trainer, module)
        self._judge = self._batch_judge(trainer, module, trainer.datamodule.predict_records)

    def _ready(self, trainer: Trainer, module: PatchModule) -> None:
        """The detector of this run, that of the checkpoint under this run's options, or a new one; none for a batch."""
        if self.reference == "batch":
            self.detector = None
        elif self._stored.get("bank"):
            bank = MemoryBank.from_state_dict(self._stored["bank"])
            if bank.index != self.options["index"]:
                bank = MemoryBank.build(bank.features, self.options["index"])
            calibration = Calibration.from_dict(self._stored["calibration"])
            if self.options["weights"] not in ("auto", self._stored["options"]["weights"]):
                calibration = calibration.with_weights(self.options["weights"])
            self.detector = self._make_detector(module, bank, trainer.datamodule, calibration)
        elif self.detector is None:
            rank_zero_info("The checkpoint holds no memory bank: building it from the training scans")
            self.build(trainer, module)

    def _batch_judge(self, trainer: Trainer, module: PatchModule, records: list[ScanRecord]) -> BatchJudge | None:
        if self.reference == "training":
            return None
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

    @staticmethod
    def _class_metrics(trainer: Trainer, module: PatchModule, names: tuple[str, ...]) -> dict[str, ScanMetrics]:
        records, classes = trainer.datamodule.test_records, trainer.datamodule.test_classes
        kinds = {name: sorted({r.defect for r in records if r.class_name == name} - {"good"}) for name in classes}
        return {name: ScanMetrics(defects=kinds[name], names=names).to(module.device) for name in classes}

    def on_test_batch_end(
        self,
        trainer: Trainer,
        module: PatchModule,
        outputs: Tensor,
        scan: Scan,
        batch_index: int,
        dataloader_idx: int = 0,
    ) -> None:
        scores = None if self.detector is None else self.detector.score(scan, features=outputs)
        if self._judge is not None:
            self._judge.add(scan, outputs, scores)
        for i, record in enumerate(scan.record if scores is not None else ()):
            one = slice(i, i + 1)
            self._metrics[record.class_name].update(
                {name: values[one] for name, values in scores.maps.items()},
                {name: values[one] for name, values in scores.scores.items()},
                mask=scan.mask[one, 0],
                object=scan.object[one],
                label=scan.label[one],
                defects=[record.defect],
            )
            self._scans.append(TestedScan.of(scores, i, record))

    def on_test_epoch_end(self, trainer: Trainer, module: PatchModule) -> None:
        transductive = None if self._judge is None else self._transductive_results(trainer, module)
        self.results = TestResults.of(self._metrics, gather_objects(self._scans), transductive)
        module.log_dict({f"test/{name}": value for name, value in self.results.flat().items()}, rank_zero_only=True)
        if trainer.is_global_zero:
            print_table(self.results)
        self._metrics, self._scans, self._judge = {}, [], None

    def _transductive_results(self, trainer: Trainer, module: PatchModule) -> TestResults:
        """The batches' own judgement, under its own names."""
        names = ("both",) * (self.reference == "both") + ("batch", "foreground")
        metrics, scans = self._class_metrics(trainer, module, names), []
        for scan in self._judge.judged():
            metrics[scan.record.class_name].update(
                {name: values[None].to(module.device) for name, values in scan.maps.items()},
                {name: torch.tensor([value], device=module.device) for name, value in scan.scores.items()},
                mask=scan.mask[None].to(module.device),
                object=scan.object[None].to(module.device),
                label=torch.tensor([scan.record.label], device=module.device),
                defects=[scan.record.defect],
            )
            maps = {name: values.half() for name, values in scan.maps.items() if name != "foreground"}
            scans.append(TestedScan(scan.record, scan.scores, maps))
        return TestResults.of(metrics, gather_objects(scans))

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        module: PatchModule,
        outputs: Tensor,
        scan: Scan,
        batch_index: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._judge is not None:
            self._judge.add(scan, outputs, self.detector and self.detector.score(scan, features=outputs))

    def judged_batch(self) -> Iterator[BatchScan]:
        """After a predict epoch: this process's scans as their batch judged them (nothing where reference is training).

        To be gone through once, to its end, on every process.
        """
        if self._judge is not None:
            yield from self._judge.judged()
            self._judge = None
