"""Records to tensors: whole scans, patches with pseudo anomalies, and whole pseudo-anomalous scans."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Literal

import numpy as np
import torch
from torch.utils.data import Dataset

from threedzal.data.cached import cached_foreground
from threedzal.data.fittings import insert_fittings
from threedzal.data.interest import InterestPool
from threedzal.data.pseudo_anomalies import PatchBatch, draw_patches
from threedzal.data.pseudo_scans import insert_pseudo_anomalies
from threedzal.data.readers import read_object, read_picture, read_points, read_truth
from threedzal.data.readers.arrays import measured_pixels
from threedzal.data.record import ScanRecord
from threedzal.data.resize import restore_map
from threedzal.data.scan import Scan, ScanPreparation, prepare_scan
from threedzal.data.scan_anomalies import AnomalySize, insert_shaded_anomalies
from threedzal.data.variation import RawScan, vary
from threedzal.errors import UserError
from threedzal.features.cache import ArrayCache


@dataclass
class ScanDataset(Dataset):
    """The scans of an index, prepared."""

    records: list[ScanRecord]
    preparation: ScanPreparation
    cache: ArrayCache

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Scan:
        record = self.records[index]
        return prepare_scan(
            read_points(record),
            read_picture(record),
            read_truth(record),
            preparation=self.preparation,
            record=record,
            foreground=read_object(record),
            cache=self.cache,
        )


@dataclass(frozen=True)
class PatchOptions:
    """How many patches of which kinds a visit to a scan draws (section 3.2; 16:1 in section 4)."""

    positives_per_scan: int = 32
    negatives_per_positive: int = 16
    kinds: tuple[str, ...] = ("adding", "removing")
    removal: str = "hole"
    jitter: bool = True
    interest_draws: int = 8


KEPT_SCANS = 256  # scans whose points a process keeps in memory for its next visits, under 1 MB each


@dataclass
class PatchDataset(Dataset):
    """Normal patches and pseudo anomalies of a scan, drawn anew at each visit from (seed, epoch, index).

    Reading and preparing a scan takes longer than drawing its patches, so the points are kept from visit to visit.
    """

    scans: ScanDataset
    pool: InterestPool
    options: PatchOptions
    seed: int
    visits: int = 1
    _kept: dict[int, Scan] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.scans) * self.visits

    def _scan(self, index: int) -> Scan:
        if index in self._kept:
            return self._kept[index]
        scan = self.scans[index]
        if len(self._kept) < KEPT_SCANS:  # without what training on patches does not look at
            self._kept[index] = replace(scan, rgb=scan.rgb.new_zeros(0), patches=scan.patches.new_zeros(0))
        return scan

    def __getitem__(self, epoch_and_index: tuple[int, int]) -> PatchBatch:
        epoch, index = epoch_and_index
        rng = np.random.default_rng([self.seed, epoch, index])
        scan = self._scan(index % len(self.scans))
        return draw_patches(
            scan,
            [self.pool.draw(rng) for _ in range(self.options.interest_draws)],
            positives=self.options.positives_per_scan,
            negatives_per_positive=self.options.negatives_per_positive,
            kinds=self.options.kinds,
            removal=self.options.removal,
            jitter=self.options.jitter,
            preparation=self.scans.preparation,
            rng=rng,
        )


def collate_patches(batches: list[PatchBatch]) -> PatchBatch:
    """The patches of several scans, one after another."""
    return PatchBatch(*(torch.cat([getattr(batch, f.name) for batch in batches]) for f in fields(PatchBatch)))


@dataclass(frozen=True)
class ScanAnomalies:
    """How pseudo anomalies come into whole scans."""

    style: str = "relief"  # `relief`: `insert_pseudo_anomalies`; `shaded`: `insert_shaded_anomalies`
    kinds: tuple[str, ...] = ("adding", "removing")
    regions: int = 3  # most regions of a training scan; one scan of validation has one
    size: AnomalySize = AnomalySize()  # of the `shaded` style
    place: Literal["attention", "anywhere"] = "anywhere"  # of the `shaded` style: where the random CNN attends, or not
    variation: tuple[str, ...] = ()  # of training scans, see `variation.py`
    fittings: int = 0  # at most so many in a training scan, see `fittings.py`

    def __post_init__(self) -> None:
        if self.fittings < 0:
            raise UserError(f"scan_fittings is {self.fittings}, but wanted the most of a scan, 0 or more")

    def insert(
        self,
        scans: ScanDataset,
        index: int,
        pool: InterestPool,
        *,
        kind: str,
        regions: int,
        rng: np.random.Generator,
        varied: bool = False,
    ) -> Scan:
        """Scan `index` with pseudo anomalies of `kind`, prepared. What is not measured any more is object all the same.

        `varied` draws its `fittings` (of a scan with a picture) and its `variation`, too.

        A scan without a picture has only the `relief` style.
        """
        record = scans.records[index]
        xyz, rgb, foreground = read_points(record), read_picture(record), read_object(record)
        given = foreground is not None
        foreground = foreground if given else cached_foreground(xyz, scans.cache)
        if varied and self.fittings and rgb is not None:
            xyz, rgb = insert_fittings(xyz, rgb, foreground & measured_pixels(xyz), rng, most=self.fittings)
        if self.style == "shaded" and rgb is not None:
            options = {"kind": kind, "rng": rng, "donor": pool.draw_donor(rng), "regions": regions, "size": self.size}
            if self.place == "attention":
                pad = scans.preparation.pad_to_square
                attention = restore_map(pool.masks[record.key].float(), size=foreground.shape, pad_to_square=pad)
                options["attention"] = attention.numpy()
            xyz, rgb, mask = insert_shaded_anomalies(xyz, rgb, foreground, **options)
        else:
            xyz, rgb, mask = insert_pseudo_anomalies(
                xyz, rgb, foreground, interest=pool.draw(rng), kind=kind, rng=rng, regions=regions
            )
        raw = RawScan(xyz, rgb, foreground if given or self.style == "shaded" else None, mask)
        raw = vary(raw, self.variation, rng) if varied else raw
        return prepare_scan(
            raw.xyz,
            raw.rgb,
            raw.mask,
            preparation=scans.preparation,
            record=replace(record, defect=kind),
            foreground=raw.foreground,
            cache=scans.cache,
        )


@dataclass
class GoodScanDataset(Dataset):
    """Good scans as they are, each `visits` times an epoch."""

    scans: ScanDataset
    visits: int = 1

    def __len__(self) -> int:
        return len(self.scans) * self.visits

    def __getitem__(self, epoch_and_index: tuple[int, int]) -> Scan:
        return self.scans[epoch_and_index[1] % len(self.scans)]


@dataclass
class TrainingScanDataset(Dataset):
    """Whole scans with pseudo anomalies, drawn anew at each visit from (seed, epoch, index); the kinds take turns."""

    scans: ScanDataset
    pool: InterestPool
    anomalies: ScanAnomalies
    seed: int
    visits: int = 1

    def __len__(self) -> int:
        return len(self.scans) * self.visits

    def __getitem__(self, epoch_and_index: tuple[int, int]) -> Scan:
        epoch, index = epoch_and_index
        rng = np.random.default_rng([self.seed, 11, epoch, index])
        visit, scan = divmod(index, len(self.scans))
        kind = self.anomalies.kinds[(epoch + visit + scan) % len(self.anomalies.kinds)]
        regions = int(rng.integers(1, self.anomalies.regions + 1))
        return self.anomalies.insert(self.scans, scan, self.pool, kind=kind, regions=regions, rng=rng, varied=True)


@dataclass
class PseudoScanDataset(Dataset):
    """Whole scans with exact pixel truth: every record as it is, then with each kind of pseudo anomaly inserted.

    The scans are a function of the seed, so that a run is validated on the same ones in every epoch and its
    weights and thresholds are chosen on scans that can be made again.
    """

    scans: ScanDataset
    pool: InterestPool
    anomalies: ScanAnomalies
    seed: int
    variants: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.variants = ("good", *self.anomalies.kinds)

    def __len__(self) -> int:
        return len(self.scans) * len(self.variants)

    def __getitem__(self, index: int) -> Scan:
        scan, variant = divmod(index, len(self.variants))
        kind = self.variants[variant]
        if kind == "good":
            return self.scans[scan]
        rng = np.random.default_rng([self.seed, 7, index])
        return self.anomalies.insert(self.scans, scan, self.pool, kind=kind, regions=1, rng=rng)
