"""The zero-shot protocol as a LightningDataModule: who may be seen when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from lightning import LightningDataModule
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor
from torch.utils.data import DataLoader

from threedzal.data.attention import RandomAttention
from threedzal.data.check import check_records
from threedzal.data.datasets import (
    GoodScanDataset,
    PatchDataset,
    PatchOptions,
    PseudoScanDataset,
    ScanAnomalies,
    ScanDataset,
    TrainingScanDataset,
    collate_patches,
)
from threedzal.data.index import index_dataset, list_classes, records_from_path
from threedzal.data.interest import InterestPool
from threedzal.data.readers.settle import settle
from threedzal.data.samplers import EpochSampler, UnpaddedSampler
from threedzal.data.scan import Scan, ScanPreparation, ScanRecord, collate_scans
from threedzal.data.scan_anomalies import AnomalySize
from threedzal.data.simulated_depth import SimulatedDepthDataset, list_pictures
from threedzal.distributed import agree
from threedzal.errors import UserError
from threedzal.features.cache import ArrayCache
from threedzal.progress import track

SIMULATED_VALIDATION = 64  # pairs, the same in each epoch
TRAINED_ON = (PatchDataset, TrainingScanDataset, GoodScanDataset, SimulatedDepthDataset)  # they keep their workers


class ZeroShotDataModule(LightningDataModule):
    """Normal patches of the training classes, pseudo anomalies out of the auxiliary ones, scans of the test classes.

    No scan of a test class ever reaches training: not as a normal scan, not as the stuff of pseudo anomalies, and not
    in any choice of weight or threshold (section 4, leave one out).

    Args:
        root: A data set in the layout of MVTec 3D-AD or Eyecandies, or CLASS folders of good scans (docs/own_scans.md).
        train_classes: Classes whose good scans are learned and stored in the memory bank.
        test_classes: Classes to find defects on, never seen before.
        auxiliary_classes: The task-irrelevant classes of section 3.2. None: all the rest of `root`. A method that
            learns from no pseudo anomalies needs none: its threshold is then the largest score of a validation scan.
        protocol: `zero_shot` forbids a class on both sides; `in_class` is the classical setting (train and test on
            the same class), which the baselines' published numbers are about.
        background: `remove` the table (plane and largest cluster), or `keep` it.
        image_size: Side of the network's input in pixels.
        rgb_size: Side of the picture that the RGB branch sees; None: image_size. Twice that shows it finer patches.
        fpfh_size: FPFH is computed on the points at the scan's own size, but no finer than this; None: image_size.
        patch_size: Side of a patch in pixels.
        points_per_patch: K, the points of a patch.
        min_valid_points: A cell with fewer measured pixels is background.
        pad_to_square: Zero-pad a non-square scan before the resize; False stretches it.
        nearest: Which point of the scan a resized pixel takes: at its `centre`, or at its upper left `corner`.
        smoothing: The 3x3 average of a branch's maps: `padded`, or as BTF's released code has it, `unpadded`.
        patch_source: `neighbours` cuts every patch as the nearest points of an anchor; `grid` is the paper's letter.
        patch_scale: Divide a patch by its own radius (`unit`), the scan's median radius (`scan`), or a constant length.
        normals: `oriented` towards the camera, or `raw` as BTF has them.
        fpfh: Compute FPFH (a method without that branch saves the time).
        fpfh_backend: `torch`, or the reference in `open3d`.
        fpfh_radius: Search radius of FPFH in metres.
        fpfh_neighbours: Most neighbours of FPFH.
        batch_size: Scans a step.
        positives_per_scan: Normal patches drawn from a scan at a visit.
        negatives_per_positive: Pseudo anomalies for each of them.
        visits: How often an epoch visits each scan.
        pseudo_anomalies: Which kinds (Table 4).
        training: Train on `patches`, as in the paper, on whole `scans` with pseudo anomalies in them, on whole
            `good_scans` as they are, or on `simulated` depth and pictures, for which no data set is needed.
        simulated_samples: Pairs of simulated depth and a picture in an epoch.
        pictures: Folder of the pictures beside simulated depth, any natural ones; None: procedural textures.
        scan_anomalies: What is done to a whole scan: `relief` moves points and tints them; `shaded` changes points and
            picture together (bumps, foreign bodies, pasted pieces, stains; dents, holes, cuts, scrapes).
        regions_per_scan: Most pseudo anomalies in a training scan (`training: scans`).
        anomaly_place: Where in a scan (`shaded`): likelier where the random CNN attends (`attention`), or `anywhere`.
        anomaly_radius: Radius of a region (`shaded`), evenly in the logarithm between two numbers of `anomaly_unit`.
        anomaly_unit: The paper's `patches`, 8 pixels of 224 wide, or `millimetres`.
        anomaly_relief: Millimetres that bumps rise and dents sink (`shaded`).
        removal: `hole` takes a contiguous hole out of a neighbourhood, `random` points at random.
        interest: `local` takes the points around one of the top pixels, `global` the top pixels themselves.
        interest_draws: Sets of points of interest drawn for a visit.
        tau: Share of the pixels that are points of interest.
        jitter: Rotate and scale attached points.
        cnn_init: Weights of the CNN that attends (Table 5).
        cnn_weights: A local file for `cnn_init: imagenet` where there is no network.
        auxiliary_normals: Draw normal patches from those scans too, so that C_w learns what is normal on more than one
            product; the paper draws them from the training classes alone.
        auxiliary_scans_per_class: Cap on the task-irrelevant scans that points of interest are taken from; None: all.
        pseudo_scans: Validation scans that are shown whole, as they are and with each kind of pseudo anomaly, to choose
            weights and thresholds without a defect.
        pseudo_scan_classes: Whose validation scans those are: `auxiliary` (a class the bank does not know, as the test
            class will be) or `training`.
        num_workers: Worker processes of each loader.
        cache_dir: Where masks and descriptors of scans are kept between runs (docs/protocol.md); None: nowhere.
        cache_rgb: Keep what the frozen image network says of a scan there, too: 4.8 MB a scan in the paper's setting.
        cache_gigabytes: What the folder may grow to, about; what was not used for longest goes. None: no limit.
        predict_path: A scan, a folder of scans or a data set for `predict`.
        units: Of the lengths in files that do not say it: `m`, `mm`, or how many metres one unit is. `auto`: metres in
            a TIFF of points, as in MVTec 3D-AD; in other formats a guess between m and mm, with a warning.
        camera: Intrinsics of depth images: a file (JSON of MVTec 3D-AD, Open3D, RealSense, or fx fy cx cy), or the four
            numbers. None: looked for beside the scans. Given, unorganised clouds are seen through it too.
        seed: Of everything that is drawn.
    """

    def __init__(
        self,
        root: str | None = None,
        train_classes: list[str] | str | None = None,
        test_classes: list[str] | str | None = None,
        auxiliary_classes: list[str] | None = None,
        protocol: Literal["zero_shot", "in_class"] = "zero_shot",
        background: Literal["remove", "keep"] = "remove",
        image_size: int = 224,
        rgb_size: int | None = None,
        fpfh_size: int | None = None,
        patch_size: int = 8,
        points_per_patch: int = 64,
        min_valid_points: int = 16,
        pad_to_square: bool = True,
        nearest: Literal["centre", "corner"] = "centre",
        smoothing: Literal["padded", "unpadded"] = "padded",
        patch_source: Literal["neighbours", "grid"] = "neighbours",
        patch_scale: Literal["unit", "scan", "metric"] = "unit",
        normals: Literal["oriented", "raw"] = "oriented",
        fpfh: bool = True,
        fpfh_backend: Literal["torch", "open3d"] = "torch",
        fpfh_radius: float = 0.25,
        fpfh_neighbours: int = 100,
        batch_size: int = 4,
        positives_per_scan: int = 32,
        negatives_per_positive: int = 16,
        visits: int = 1,
        pseudo_anomalies: tuple[Literal["adding", "removing"], ...] = ("adding", "removing"),
        training: Literal["patches", "scans", "good_scans", "simulated"] = "patches",
        simulated_samples: int = 64000,
        pictures: str | None = None,
        scan_anomalies: Literal["relief", "shaded"] = "relief",
        regions_per_scan: int = 3,
        anomaly_place: Literal["attention", "anywhere"] = "anywhere",
        anomaly_radius: tuple[float, float] = (0.5, 1.75),
        anomaly_unit: Literal["patches", "millimetres"] = "patches",
        anomaly_relief: tuple[float, float] = (1.0, 5.0),
        removal: Literal["hole", "random"] = "hole",
        interest: Literal["local", "global"] = "local",
        interest_draws: int = 8,
        tau: float = 0.001,
        jitter: bool = True,
        cnn_init: Literal["he", "imagenet"] = "he",
        cnn_weights: str | None = None,
        auxiliary_normals: bool = False,
        auxiliary_scans_per_class: int | None = 16,
        pseudo_scans: int = 12,
        pseudo_scan_classes: Literal["auxiliary", "training"] = "auxiliary",
        num_workers: int = 2,
        cache_dir: str | None = None,
        cache_rgb: bool = True,
        cache_gigabytes: float | None = 50.0,
        predict_path: str | None = None,
        units: Literal["auto", "m", "mm"] | float = "auto",
        camera: str | list[float] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.train_classes, self.test_classes = _as_list(train_classes), _as_list(test_classes)
        self.auxiliary_classes = auxiliary_classes
        shared = set(self.test_classes) & {*self.train_classes, *(auxiliary_classes or [])}
        if protocol == "zero_shot" and shared:
            raise UserError(
                f"{_names(shared)}: among test_classes and among train_classes or auxiliary_classes, but zero-shot "
                "means that no scan of a test class is seen: take it out of one of them (or set protocol: in_class)"
            )
        self.preparation = ScanPreparation(
            image_size=image_size,
            rgb_size=rgb_size,
            fpfh_size=fpfh_size,
            patch_size=patch_size,
            points_per_patch=points_per_patch,
            min_valid_points=min_valid_points,
            background=background,
            pad_to_square=pad_to_square,
            nearest=nearest,
            smoothing=smoothing,
            patch_source=patch_source,
            patch_scale=patch_scale,
            normals=normals,
            fpfh=fpfh,
            fpfh_backend=fpfh_backend,
            fpfh_radius=fpfh_radius,
            fpfh_neighbours=fpfh_neighbours,
        )
        self.patch_options = PatchOptions(
            positives_per_scan=positives_per_scan,
            negatives_per_positive=negatives_per_positive,
            kinds=tuple(pseudo_anomalies),
            removal=removal,
            jitter=jitter,
            interest_draws=interest_draws,
        )
        self.scan_anomalies = ScanAnomalies(
            style=scan_anomalies,
            kinds=tuple(pseudo_anomalies),
            regions=regions_per_scan,
            size=AnomalySize(tuple(anomaly_radius), anomaly_unit, tuple(anomaly_relief)),
            place=anomaly_place,
        )
        self.cache = ArrayCache(cache_dir, limit=None if cache_gigabytes is None else 1e9 * cache_gigabytes)
        self.rgb_cache = self.cache if cache_rgb else ArrayCache(None)
        self._guessed_units: dict[tuple[str, str], float] = {}
        self.attention: RandomAttention | None = None
        self._pool: InterestPool | None = None
        self._pictures: list[Path] | None = None
        self._attention_state: dict[str, Tensor] | None = None

    # who may be seen ------------------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Index and check all files that the stage will read, before anything starts."""
        agree(lambda: self._setup(stage))

    def _setup(self, stage: str) -> None:
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
            if not self.test_classes:
                raise UserError("no class to test is named: give --data.test_classes")
            self.test_records = self._index(self.test_classes, "test")
            self._check(self.test_records, [(name, "test") for name in self.test_classes])

    def _setup_training(self) -> None:
        if not self.train_classes:
            raise UserError("no class to train on is named: give --data.train_classes")
        if hasattr(self, "train_records"):
            return
        rest = [c for c in list_classes(self.hparams.root) if c not in {*self.train_classes, *self.test_classes}]
        self.auxiliary_classes = self.auxiliary_classes or rest
        if not self.auxiliary_classes and self._method_has("uses_pseudo_anomalies"):
            raise UserError(
                f"{self.hparams.root}: no class is left to make pseudo anomalies with, besides those to train on "
                f"({_names(self.train_classes)}) and to test on ({_names(self.test_classes)}): "
                "give --data.auxiliary_classes"
            )
        unseen = set(self.test_classes) - set(self.train_classes)
        rank_zero_info(
            f"{'In-class' if self.hparams.protocol == 'in_class' else 'Zero-shot'}: learning "
            f"{_names(self.train_classes)}; pseudo anomalies from {_names(self.auxiliary_classes) or 'no class'}; "
            f"never seen: {_names(unseen) or ('none' if self.test_classes else 'no class named')}"
        )
        own = self.hparams.pseudo_scan_classes == "training" and self.auxiliary_classes  # these give what is inserted
        classes = self.train_classes if own else self.auxiliary_classes
        self.train_records = self._index(self.train_classes, "train")
        self.validation_records = self._index(self.train_classes, "validation")
        self.auxiliary_records = self._index(self.auxiliary_classes, "train", self.hparams.auxiliary_scans_per_class)
        self.pseudo_records = _evenly(self._index(classes, "validation"), self.hparams.pseudo_scans)
        seen = [*self.train_records, *self.validation_records, *self.auxiliary_records, *self.pseudo_records]
        if self.hparams.protocol == "zero_shot" and {r.class_name for r in seen} & set(self.test_classes):
            raise AssertionError("a scan of a test class reached training")
        self._check(
            seen,
            [
                *((name, split) for name in self.train_classes for split in ("train", "validation")),
                *((name, "train") for name in self.auxiliary_classes),
                *((record.class_name, "validation") for record in self.pseudo_records),
            ],
        )

    def _index(self, classes: list[str], split: str, per_class: int | None = None) -> list[ScanRecord]:
        records = index_dataset(self.hparams.root, classes=classes, splits=(split,)) if classes else []
        records = self._settled(records)
        return [r for name in classes for r in _evenly([r for r in records if r.class_name == name], per_class)]

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
                raise UserError(f"{_names(self.auxiliary_classes)}: no scan has a measured point on the object")
            if self.scan_anomalies.place == "attention":
                own = self.train_records if self.hparams.training == "scans" else []
                records = [r for r in (*own, *self.pseudo_records) if r.key not in self._pool.masks]
                self._pool.attend(self._one_by_one(records, "Places of interest"), self.attention)
        return self._pool

    def _one_by_one(self, records: list[ScanRecord], description: str) -> Iterator[Scan]:
        loader = self._scan_loader(records, sharded=False, batch_size=1, fpfh=False)
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
        if self.hparams.training == "simulated":
            return self._simulated_loader(self.hparams.simulated_samples, shuffle=True, seed=self.hparams.seed)
        records = [*self.train_records, *(self.auxiliary_records if self.hparams.auxiliary_normals else [])]
        if self.hparams.training == "patches":
            return self._patch_loader(records, shuffle=True, seed=self.hparams.seed)
        seed, visits = self.hparams.seed, self.hparams.visits
        if self.hparams.training == "good_scans":
            dataset = GoodScanDataset(self._scans(records), visits)
        else:
            scans = self._scans(records, fpfh=self._method_has("learns_fpfh"))
            dataset = TrainingScanDataset(scans, self.pool, self.scan_anomalies, seed, visits)
        return self._loader(
            dataset, EpochSampler(len(dataset), shuffle=True, seed=seed, **self._ranks()), collate_scans
        )

    def val_dataloader(self) -> list[DataLoader]:
        """Fresh patches of the training classes' `validation/good`, and whole pseudo-anomalous scans.

        The latter alone where training sees no patches; good scans and the latter where it sees good scans.
        """
        if self.hparams.training == "scans":
            return [self.pseudo_scan_dataloader()]
        if self.hparams.training == "simulated":
            return [self._simulated_loader(SIMULATED_VALIDATION, shuffle=False, seed=self.hparams.seed + 1)]
        if self.hparams.training == "good_scans":
            pseudo = [self.pseudo_scan_dataloader()] if self.pseudo_records else []
            return [self._scan_loader(self.validation_records), *pseudo]
        return [
            self._patch_loader(self.validation_records, shuffle=False, seed=self.hparams.seed + 1),
            self.pseudo_scan_dataloader(),
        ]

    def pseudo_scan_dataloader(self) -> DataLoader:
        """Scans with exact pixel truth, made without a defect (method: "choosing without defects").

        None where there is no auxiliary class to make them with.
        """
        pool = self.pool if self.pseudo_records else InterestPool([])
        dataset = PseudoScanDataset(self._scans(self.pseudo_records), pool, self.scan_anomalies, self.hparams.seed)
        return self._dealt_loader(dataset)

    def bank_dataloader(self) -> DataLoader:
        """All good training scans, once each."""
        agree(self._setup_training)
        return self._scan_loader(self.train_records)

    def calibration_dataloader(self) -> DataLoader:
        """The training classes' `validation/good`, once each."""
        agree(self._setup_training)
        return self._scan_loader(self.validation_records)

    def test_dataloader(self) -> DataLoader:
        """The test classes' scans, once each over all processes."""
        return self._scan_loader(self.test_records)

    def predict_dataloader(self) -> DataLoader:
        """The scans at `predict_path`."""
        return self._scan_loader(self.predict_records)

    def _scans(self, records: list[ScanRecord], *, fpfh: bool = True) -> ScanDataset:
        preparation = self.preparation if fpfh else replace(self.preparation, fpfh=False)
        return ScanDataset(records, preparation, self.cache)

    def _patch_loader(self, records: list[ScanRecord], *, shuffle: bool, seed: int) -> DataLoader:
        dataset = PatchDataset(
            self._scans(records), self.pool, self.patch_options, seed, self.hparams.visits if shuffle else 1
        )
        sampler = EpochSampler(len(dataset), shuffle=shuffle, seed=seed, **self._ranks())
        return self._loader(dataset, sampler, collate_patches)

    def _simulated_loader(self, length: int, *, shuffle: bool, seed: int) -> DataLoader:
        size, colour = self.hparams.image_size, self._method_has("uses_rgb")
        dataset = SimulatedDepthDataset(length, size, colour=colour, pictures=self._pictures, seed=seed)
        sampler = (
            EpochSampler(length, shuffle=True, seed=seed, **self._ranks())
            if shuffle
            else UnpaddedSampler(length, **self._ranks())
        )
        return self._loader(dataset, sampler, torch.stack)

    def _scan_loader(
        self, records: list[ScanRecord], *, sharded: bool = True, batch_size: int | None = None, fpfh: bool = True
    ) -> DataLoader:
        return self._dealt_loader(self._scans(records, fpfh=fpfh), sharded=sharded, batch_size=batch_size)

    def _dealt_loader(self, dataset, *, sharded: bool = True, batch_size: int | None = None) -> DataLoader:
        """Each scan once: over all processes, or on every one of them."""
        batch_size = batch_size or self.hparams.batch_size
        sampler = UnpaddedSampler(len(dataset), batch_size=batch_size, **(self._ranks() if sharded else {}))
        return self._loader(dataset, sampler, collate_scans, batch_size)

    def _loader(self, dataset, sampler, collate, batch_size: int | None = None) -> DataLoader:
        return DataLoader(
            dataset,
            batch_size=batch_size or self.hparams.batch_size,
            sampler=sampler,
            collate_fn=collate,
            num_workers=self.hparams.num_workers,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=isinstance(dataset, TRAINED_ON) and self.hparams.num_workers > 0,
        )

    def _ranks(self) -> dict[str, int]:
        if self.trainer is None:
            return {}
        return {"rank": self.trainer.global_rank, "world_size": self.trainer.world_size}


def _as_list(classes: list[str] | str | None) -> list[str]:
    if classes is None:
        return []
    return [classes] if isinstance(classes, str) else list(classes)


def _names(classes) -> str:
    return ", ".join(sorted(classes))


def _evenly(records: list[ScanRecord], most: int | None) -> list[ScanRecord]:
    """At most `most` records, spread over the list."""
    if most is None or len(records) <= most:
        return records
    return [records[i * len(records) // most] for i in range(most)]
