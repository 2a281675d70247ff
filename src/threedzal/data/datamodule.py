"""The data of a run as a LightningDataModule: its options, its checks before anything starts, its loaders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor
from torch.utils.data import DataLoader

from threedzal.data.attention import RandomAttention
from threedzal.data.check import check_records
from threedzal.data.datasets import (
    GoodScanDataset,
    PatchDataset,
    PseudoScanDataset,
    ScanDataset,
    TrainingScanDataset,
    collate_patches,
)
from threedzal.data.index import index_dataset, list_classes, records_from_path
from threedzal.data.interest import InterestPool
from threedzal.data.loaders import Loaders
from threedzal.data.options import DataOptions
from threedzal.data.readers.settle import settle
from threedzal.data.scan import Scan, ScanRecord, collate_scans
from threedzal.data.selection import expected_splits, names, select_training
from threedzal.data.simulated_depth import SimulatedDepthDataset, list_pictures
from threedzal.distributed import agree
from threedzal.errors import UserError
from threedzal.progress import track

SIMULATED_VALIDATION = 64  # pairs, the same in each epoch


class ZeroShotDataModule(DataOptions):
    """Normal patches of the training classes, pseudo anomalies out of the auxiliary ones, scans of the test classes.

    No scan of a test class ever reaches training: not as a normal scan, not as the stuff of pseudo anomalies, and not
    in any choice of weight or threshold (section 4, leave one out).

    The options are those of `DataOptions`.
    """

    attention: RandomAttention | None = None
    _pool: InterestPool | None = None
    _pictures: list[Path] | None = None
    _attention_state: dict[str, Tensor] | None = None

    # the scans of a stage -------------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Index and check all files that the stage will read, before anything starts."""
        agree(lambda: self._setup(stage))

    def _setup(self, stage: str) -> None:
        method = self.trainer and self.trainer.lightning_module
        if getattr(method, "uses_fpfh", False) and not self.hparams.fpfh:
            raise UserError("data.fpfh is false, but the method looks at FPFH: set it to true, or let no part see fpfh")
        if stage == "predict":
            if self.hparams.predict_path is None:
                raise UserError("predict needs scans: give --data.predict_path, a scan, a folder or a data set")
            self.predict_records = self._settled(records_from_path(self.hparams.predict_path))
            self._check(self.predict_records, need_gt=False, nan="allow")
            return
        if stage in ("fit", "validate") and self.hparams.training == "simulated":
            pictures = None if self.hparams.pictures is None else list_pictures(self.hparams.pictures)
            self._pictures = pictures if self._method_has("uses_rgb") else None
            return
        if self.hparams.root is None:
            raise UserError("no data set is named: give --data.root, a folder of CLASS folders")
        if stage in ("fit", "validate"):
            self._setup_training()
        elif stage == "test":
            if not self.classes.test:
                raise UserError("no class to test is named: give --data.test_classes")
            self.test_records = self._index(self.classes.test, "test")
            self._check(self.test_records, [(name, "test") for name in self.classes.test])

    def _setup_training(self) -> None:
        if not self.classes.train:
            raise UserError("no class to train on is named: give --data.train_classes")
        if hasattr(self, "train_records"):
            return
        self.classes = classes = self.classes.completed(list_classes(self.hparams.root))
        if not classes.auxiliary and self._method_has("uses_pseudo_anomalies"):
            raise UserError(
                f"{self.hparams.root}: no class is left to make pseudo anomalies with, besides those to train on "
                f"({names(classes.train)}) and to test on ({names(classes.test)}): give --data.auxiliary_classes"
            )
        rank_zero_info(str(classes))
        scans = select_training(
            classes,
            self._index,
            auxiliary_per_class=self.hparams.auxiliary_scans_per_class,
            pseudo_scans=self.hparams.pseudo_scans,
            pseudo_classes=self.hparams.pseudo_scan_classes,
        )
        self._check(scans.seen, expected_splits(classes, scans))
        self.train_records, self.validation_records = scans.train, scans.validation
        self.auxiliary_records, self.pseudo_records = scans.auxiliary, scans.pseudo

    def _index(self, classes: list[str], split: str) -> list[ScanRecord]:
        """Scans of a split, class by class in the order given."""
        records = index_dataset(self.hparams.root, classes=classes, splits=(split,)) if classes else []
        records = self._settled(records)
        return [record for name in classes for record in records if record.class_name == name]

    @cached_property
    def _guessed_units(self) -> dict[tuple[str, str], float]:
        return {}

    def _settled(self, records: list[ScanRecord]) -> list[ScanRecord]:
        units, camera = self.hparams.units, self.hparams.camera
        return settle(records, units=units, camera=camera, guesses=self._guessed_units, warn=rank_zero_warn)

    def _check(self, records: list[ScanRecord], expected: Iterable[tuple[str, str]] = (), **options) -> None:
        """One error for all that cannot be read, before anything starts (the first process looks)."""
        if self.trainer is not None and not self.trainer.is_global_zero:
            return
        options["need_rgb"] = self._method_has("uses_rgb")
        check_records(list(dict.fromkeys(records)), expected=expected, cache=self.hparams.cache_dir, **options)

    def _method_has(self, need: str) -> bool:
        """Whether the method of this run has a need (`Method.uses_rgb` and so on); without a run it may have any."""
        return getattr(self.trainer and self.trainer.lightning_module, need, True)

    # the random CNN and its points of interest ----------------------------------------------------------------------

    @property
    def pool(self) -> InterestPool:
        """Points of interest of the auxiliary scans, found once a run."""
        if self._pool is None:
            if self.attention is None:
                self.attention = RandomAttention(
                    init=self.hparams.cnn_init, seed=self.hparams.seed, weights=self.hparams.cnn_weights
                )
                if self._attention_state is not None:
                    self.attention.load_state_dict(self._attention_state)
            scans = self._one_by_one(self.auxiliary_records, "Points of interest")
            self._pool = InterestPool.build(scans, self.attention, tau=self.hparams.tau, mode=self.hparams.interest)
            if not self._pool.scans:
                raise UserError(f"{names(self.classes.auxiliary)}: no scan has a measured point on the object")
            if self.scan_anomalies.place == "attention":
                own = self.train_records if self.hparams.training == "scans" else []
                records = [r for r in (*own, *self.pseudo_records) if r.key not in self._pool.masks]
                self._pool.attend(self._one_by_one(records, "Places of interest"), self.attention)
        return self._pool

    def _one_by_one(self, records: list[ScanRecord], description: str) -> Iterator[Scan]:
        loader = Loaders(1, self.hparams.num_workers).once(self._scans(records, fpfh=False))
        for batch in track(loader, description, total=len(loader)):
            yield replace(batch._map(lambda tensor: tensor[0]), record=batch.record[0])

    def state_dict(self) -> dict[str, Tensor]:
        """The random CNN, drawn once a run: a resumed run attends with the same one. Of no use where nothing is learned
        from what it attends to."""
        method = self.trainer and self.trainer.lightning_module
        needed = self.attention is not None and getattr(method, "uses_pseudo_anomalies", True)
        return dict(self.attention.state_dict()) if needed else {}

    def load_state_dict(self, state_dict: dict[str, Tensor]) -> None:
        self._attention_state = state_dict or None

    # loaders --------------------------------------------------------------------------------------------------------

    def train_dataloader(self) -> DataLoader:
        """Batches of `PatchBatch`: the patches of `batch_size` scans; or scans, with pseudo anomalies or without."""
        training, seed, visits = self.hparams.training, self.hparams.seed, self.hparams.visits
        if training == "simulated":
            dataset = self._simulated(self.hparams.simulated_samples, seed)
            return self._loaders.epochs(dataset, torch.stack, shuffle=True, seed=seed)
        records = [*self.train_records, *(self.auxiliary_records if self.hparams.auxiliary_normals else [])]
        if training == "patches":
            dataset = PatchDataset(self._scans(records), self.pool, self.patch_options, seed, visits)
            return self._loaders.epochs(dataset, collate_patches, shuffle=True, seed=seed)
        if training == "good_scans":
            dataset = GoodScanDataset(self._scans(records), visits)
        else:
            scans = self._scans(records, fpfh=self._method_has("learns_fpfh"))
            dataset = TrainingScanDataset(scans, self.pool, self.scan_anomalies, seed, visits)
        return self._loaders.epochs(dataset, collate_scans, shuffle=True, seed=seed)

    def val_dataloader(self) -> list[DataLoader]:
        """Fresh patches of the training classes' `validation/good`, and whole pseudo-anomalous scans.

        The latter alone where training sees no patches; good scans and the latter where it sees good scans.
        """
        training, seed = self.hparams.training, self.hparams.seed + 1
        if training == "scans":
            return [self.pseudo_scan_dataloader()]
        if training == "simulated":
            dataset = self._simulated(SIMULATED_VALIDATION, seed)
            return [self._loaders.once(dataset, torch.stack, keep_workers=True)]
        scans = self._scans(self.validation_records)
        if training == "good_scans":
            pseudo = [self.pseudo_scan_dataloader()] if self.pseudo_records else []
            return [self._loaders.once(scans), *pseudo]
        dataset = PatchDataset(scans, self.pool, self.patch_options, seed)
        patches = self._loaders.epochs(dataset, collate_patches, shuffle=False, seed=seed)
        return [patches, self.pseudo_scan_dataloader()]

    def pseudo_scan_dataloader(self) -> DataLoader:
        """Scans with exact pixel truth, made without a defect (method: "choosing without defects").

        None where there is no auxiliary class to make them with.
        """
        pool = self.pool if self.pseudo_records else InterestPool([])
        dataset = PseudoScanDataset(self._scans(self.pseudo_records), pool, self.scan_anomalies, self.hparams.seed)
        return self._loaders.once(dataset)

    def bank_dataloader(self) -> DataLoader:
        """All good training scans, once each."""
        agree(self._setup_training)
        return self._loaders.once(self._scans(self.train_records))

    def calibration_dataloader(self) -> DataLoader:
        """The training classes' `validation/good`, once each."""
        agree(self._setup_training)
        return self._loaders.once(self._scans(self.validation_records))

    def test_dataloader(self) -> DataLoader:
        """The test classes' scans, once each over all processes."""
        return self._loaders.once(self._scans(self.test_records))

    def predict_dataloader(self) -> DataLoader:
        """The scans at `predict_path`."""
        return self._loaders.once(self._scans(self.predict_records))

    @property
    def _loaders(self) -> Loaders:
        ranks = {}
        if self.trainer is not None:
            ranks = {"rank": self.trainer.global_rank, "world_size": self.trainer.world_size}
        return Loaders(self.hparams.batch_size, self.hparams.num_workers, **ranks)

    def _scans(self, records: list[ScanRecord], *, fpfh: bool = True) -> ScanDataset:
        preparation = self.preparation if fpfh else replace(self.preparation, fpfh=False)
        return ScanDataset(records, preparation, self.cache)

    def _simulated(self, length: int, seed: int) -> SimulatedDepthDataset:
        size, colour = self.hparams.image_size, self._method_has("uses_rgb")
        made = {"pictures": self._pictures, "levelled": self.hparams.textures == "levelled"}
        return SimulatedDepthDataset(length, size, colour=colour, **made, seed=seed)
