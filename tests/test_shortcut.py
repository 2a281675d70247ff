"""The shortcut test: a trained `C_w` knows anomalies, not the outline of a patch nor where it was cut.

Cut normal patches from the pixel grid and pseudo anomalies by distance, and a classifier is perfect within 100 steps
by telling a square from a disc. With one sampler for all, normal patches at the grid's anchors and at random anchors
must look alike to it, while both kinds of pseudo anomalies do not.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchmetrics.functional.classification import binary_auroc

from threedzal.data.attention import RandomAttention
from threedzal.data.generated import generate
from threedzal.data.index import index_dataset
from threedzal.data.interest import InterestPool
from threedzal.data.pseudo_anomalies import ADDING, NORMAL, REMOVING, draw_patches
from threedzal.data.readers import read_xyz
from threedzal.data.scan import ScanPreparation, prepare_scan
from threedzal.features.pointnet2 import PointNet2

NORMAL_CLASS, DONORS, STEPS = "grooved_sphere", ("cone", "porous_block"), 90
NEIGHBOURS = ScanPreparation(fpfh=False)
GRID = ScanPreparation(fpfh=False, patch_source="grid")


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Built-in scans: five to train on and two held out of the normal class, one and one of each donor."""
    root = tmp_path_factory.mktemp("built_in")
    counts = {"test_good": 0, "test_per_defect": 0, "workers": 1, "progress": False, "size": 224}
    generate(root / "own", classes=[NORMAL_CLASS], train=5, validation=2, **counts)
    generate(root / "donors", classes=DONORS, train=1, validation=1, **counts)
    return {
        "train": index_dataset(root / "own", splits=["train"]),
        "held_out": index_dataset(root / "own", splits=["validation"]),
        "donors": index_dataset(root / "donors"),
    }


@pytest.fixture(scope="module")
def pool(records):
    return InterestPool.build(prepare(records["donors"], NEIGHBOURS), RandomAttention(seed=0))


def prepare(records, preparation):
    return [prepare_scan(read_xyz(r.xyz), None, None, preparation=preparation, record=r) for r in records]


def draw(scan, pool, rng, *, positives, negatives_per_positive, preparation):
    interest = [pool.draw(rng) for _ in range(8)]
    options = {"positives": positives, "negatives_per_positive": negatives_per_positive}
    return draw_patches(scan, interest, **options, preparation=preparation, rng=rng)


def train(records, pool, preparation):
    """A narrow `C_w` after a few steps of eq. (3), balanced; normal patches as `preparation` cuts them."""
    rng, scans = np.random.default_rng(0), prepare(records["train"], preparation)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = PointNet2(outputs=2, width=0.125, dropout=0.0)
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    for step in range(STEPS):
        batch = draw(scans[step % 5], pool, rng, positives=16, negatives_per_positive=3, preparation=preparation)
        loss = F.cross_entropy(network(batch.points), (batch.kind != NORMAL).long(), weight=torch.tensor([1.0, 1 / 3]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return network.eval()


@torch.no_grad()
def abnormality(network, points):
    logits = network(points)
    return logits[:, 1] - logits[:, 0]


def auroc(abnormal, normal):
    scores = torch.cat([abnormal, normal])
    return float(binary_auroc(scores, torch.cat([torch.ones(len(abnormal)), torch.zeros(len(normal))]).long()))


def held_out_scores(network, records, pool, preparation):
    """Scores on unseen scans: by kind, patches at random anchors; and the normal patches of the scans' grid."""
    rng = np.random.default_rng(1)
    batches = [
        draw(scan, pool, rng, positives=150, negatives_per_positive=2, preparation=NEIGHBOURS)
        for scan in prepare(records["held_out"], NEIGHBOURS)
    ]
    kinds = torch.cat([batch.kind for batch in batches])
    scores = abnormality(network, torch.cat([batch.points for batch in batches]))
    grid = torch.cat([scan.patches[scan.cells] for scan in prepare(records["held_out"], preparation)])
    return {kind: scores[kinds == kind] for kind in (NORMAL, ADDING, REMOVING)}, abnormality(network, grid)


def test_the_classifier_knows_both_kinds_of_anomalies_and_not_where_a_normal_patch_was_cut(records, pool):
    network = train(records, pool, NEIGHBOURS)
    scores, grid = held_out_scores(network, records, pool, NEIGHBOURS)
    assert 0.4 < auroc(grid, scores[NORMAL]) < 0.6
    for normal in (grid, scores[NORMAL]):
        assert auroc(scores[ADDING], normal) > 0.8
        assert auroc(scores[REMOVING], normal) > 0.8


def test_with_normal_patches_cut_from_the_pixel_grid_the_classifier_learns_the_outline(records, pool):
    """The paper's letter, `patch_source: grid`: what the test above is there to catch, so that it can be seen to."""
    network = train(records, pool, GRID)
    scores, grid = held_out_scores(network, records, pool, GRID)
    assert auroc(scores[NORMAL], grid) > 0.65  # normal patches cut by distance pass for anomalies
