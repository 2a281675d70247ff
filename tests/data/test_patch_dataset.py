"""Visits of the scans that patches are drawn from."""

import numpy as np
import torch

from tests.data.test_pseudo_anomalies import PREPARATION, scan
from threedzal.data.datasets import PatchDataset, PatchOptions


class CountedScans:
    """Two scans that take note of how often they are read."""

    preparation = PREPARATION

    def __init__(self):
        self.read = []

    def __len__(self):
        return 2

    def __getitem__(self, index):
        self.read.append(index)
        return scan()


class Pool:
    def draw(self, rng):
        return rng.normal(0, 0.001, (50, 3)).astype(np.float32)


def test_a_scan_is_read_once_and_its_patches_are_those_of_one_read_anew():
    options = PatchOptions(positives_per_scan=4, negatives_per_positive=2, interest_draws=2)
    scans = CountedScans()
    dataset = PatchDataset(scans, Pool(), options, seed=0, visits=2)
    for epoch in range(2):
        batches = [dataset[epoch, index] for index in range(4)]
    assert scans.read == [0, 1]
    for index, batch in enumerate(batches):
        anew = PatchDataset(CountedScans(), Pool(), options, seed=0, visits=2)[1, index]
        assert torch.equal(batch.points, anew.points) and torch.equal(batch.kind, anew.kind)
