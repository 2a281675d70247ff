"""The stages of the whole of fit and test: both ways get from the same files to features and scores of one shape."""

import pytest
import torch

from benchmarks.whole import Clock, Row, our_features, reference_features, stages
from threedzal.data.generated import generate
from threedzal.data.index import index_dataset
from threedzal.features import RGBFeatures


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    root = tmp_path_factory.mktemp("whole")
    generate(root, classes=["ring"], size=160, train=2, validation=1, test_good=1, test_per_defect=1)
    index = index_dataset(root)
    return [[record for record in index if record.split == split] for split in ("train", "test")]


@pytest.fixture(scope="module")
def network() -> RGBFeatures:
    return RGBFeatures(backbone="resnet18", weights="random")


def test_both_ways_describe_the_same_scan(records, network):
    pytest.importorskip("open3d")
    clock = Clock()
    slow, fast = (way(records[0][0], network, clock) for way in (reference_features, our_features))
    assert slow.shape == fast.shape == (784, 417)
    shapes = torch.stack([slow[:, 384:].flatten(), fast[:, 384:].double().flatten()])  # the picture: one has its table
    assert torch.corrcoef(shapes)[0, 1] > 0.99
    assert all(seconds > 0 for seconds in clock.seconds.values())


def test_every_stage_is_measured_both_ways_and_scaled(records, network):
    pytest.importorskip("open3d")
    train, test = records
    rows = {row.stage: row for row in stages(train, test, network, scans=1, steps=5)}
    wanted = {"background", "FPFH and pooling", "projection", "coreset", "nearest rows", "map", "AUPRO, pixel AUROC"}
    assert wanted <= set(rows)
    assert all(row.reference > 0 and row.ours > 0 for row in rows.values())
    assert rows["background"].times == len(train) + len(test) and rows["nearest rows"].times == len(test)
    slow, fast = Clock(), Clock()
    slow.seconds, fast.seconds = {"x": 6.0}, {"x": 2.0}
    scaled = Row.scaled("x", 10, slow, fast, scans=2)
    assert (scaled.reference, scaled.ours) == (30.0, 10.0) and "| 3.0 |" in str(scaled)
