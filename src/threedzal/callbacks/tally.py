"""Counts what a test run finds: metrics and scans of each class, as its scans come."""

from __future__ import annotations

import torch
from torch import Tensor

from threedzal.callbacks.batch import BatchScan
from threedzal.callbacks.results import TestedScan, TestResults
from threedzal.data.datamodule import ZeroShotDataModule
from threedzal.data.scan import Scan, ScanRecord
from threedzal.detector import ScanScores
from threedzal.distributed import gather_objects
from threedzal.metrics import ScanMetrics


class TestTally:
    """The metrics of each test class and the scans behind them, on this process until `results`.

    Args:
        data: Whose test scans are to come.
        names: Of the scores that are measured.
        device: Of the metrics.
    """

    __test__ = False  # not a test case, whatever pytest makes of the name

    def __init__(self, data: ZeroShotDataModule, names: tuple[str, ...], device: torch.device) -> None:
        kinds: dict[str, set[str]] = {name: set() for name in data.classes.test}
        for record in data.test_records:
            kinds[record.class_name].add(record.defect)
        self._metrics = {
            name: ScanMetrics(defects=sorted(found - {"good"}), names=names).to(device) for name, found in kinds.items()
        }
        self._scans: list[TestedScan] = []
        self._device = device

    def add(self, scan: Scan, scores: ScanScores) -> None:
        """A batch of scans that the detector has scored."""
        for i, record in enumerate(scan.record):
            maps = {name: values[i] for name, values in scores.maps.items()}
            self._update(record, maps, {n: v[i] for n, v in scores.scores.items()}, scan.mask[i, 0], scan.object[i])
            self._scans.append(TestedScan.of(scores, i, record))

    def add_judged(self, scan: BatchScan) -> None:
        """A scan that its batch has judged."""
        scores = {name: torch.tensor(value) for name, value in scan.scores.items()}
        self._update(scan.record, scan.maps, scores, scan.mask, scan.object)
        maps = {name: values.half() for name, values in scan.maps.items() if name != "foreground"}
        self._scans.append(TestedScan(scan.record, scan.scores, maps))

    def _update(
        self, record: ScanRecord, maps: dict[str, Tensor], scores: dict[str, Tensor], mask: Tensor, object: Tensor
    ) -> None:
        self._metrics[record.class_name].update(
            {name: values[None].to(self._device) for name, values in maps.items()},
            {name: value[None].to(self._device) for name, value in scores.items()},
            mask=mask[None].to(self._device),
            object=object[None].to(self._device),
            label=torch.tensor([record.label], device=self._device),
            defects=[record.defect],
        )

    def results(self, transductive: TestResults | None = None) -> TestResults:
        """What all processes found; every process must ask."""
        return TestResults.of(self._metrics, gather_objects(self._scans), transductive)
