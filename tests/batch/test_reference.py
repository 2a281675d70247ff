"""A batch judged by itself: what is found, what hides it, and that the way of giving it does not matter."""

import pytest
import torch

from threedzal.batch import BatchOptions, BatchReference, reference
from threedzal.batch.fusion import Scale
from threedzal.batch.rows import Rows
from threedzal.errors import UserError
from threedzal.memory.store import RowStore

WIDTHS = {"rgb": 12, "fpfh": 5}


def judged(features, cells, **options):
    batch = BatchReference(WIDTHS, BatchOptions(**options))
    for number, (one, inside) in enumerate(zip(features, cells, strict=True)):
        batch.add(one, inside, key=str(number))
    return batch.judge()


@pytest.fixture
def defective(make_scans):
    """Eight scans; in scan 2 one object patch is like nothing else."""
    features, cells = make_scans()
    cells[2, 4] = True
    features[2, 4] += 6.0
    return features, cells


def by_hand(features, cells, own):
    """Late fusion of the nearest other patch, in double precision, by torch.cdist and sorting."""

    def floor_and_spread(values):
        return values.sort().values[round(0.1 * len(values)) - 1], values.std(correction=0)

    total = torch.zeros(cells.shape, dtype=torch.float64)
    scan = torch.arange(len(cells))[:, None].expand_as(cells)[cells]
    for at in (slice(0, 12), slice(12, 17)):
        rows = features[cells][:, at].double()
        distances = torch.cdist(rows, rows).masked_fill(scan[:, None] == scan, torch.inf).amin(1)
        for number in range(len(cells)):
            mine = distances[scan == number]
            pairs = zip(floor_and_spread(distances), floor_and_spread(mine), strict=True)
            floor, spread = ((1 - own) * batchs + own * scans for batchs, scans in pairs)
            total[number, cells[number]] += ((mine - floor) / spread).clamp(min=0)
    return total


@pytest.mark.parametrize("own", [0.0, 0.5, 1.0])
def test_scores_are_those_computed_by_hand(defective, own):
    judgement = judged(*defective, own_scale=own)
    torch.testing.assert_close(judgement.cells.double(), by_hand(*defective, own), rtol=1e-3, atol=2e-3)
    assert (judgement.cells[~defective[1]] == 0).all()


@pytest.mark.parametrize("options", [{}, {"fusion": "early"}, {"neighbours": 0.3}, {"branches": ("fpfh",)}])
def test_the_defect_stands_out(defective, options):
    cells = judged(*defective, **options).cells
    assert divmod(int(cells.argmax()), cells.shape[1]) == (2, 4)
    assert cells[2, 4] > 2 * cells.flatten().sort().values[-2]


def test_a_branch_alone_ignores_the_other(defective):
    features, cells = defective
    changed = features.clone()
    changed[..., :12] = torch.randn_like(changed[..., :12])
    assert torch.equal(
        judged(features, cells, branches=("fpfh",)).cells, judged(changed, cells, branches=("fpfh",)).cells
    )


def test_a_repeated_defect_hides_itself_and_trimming_uncovers_it(defective):
    features, cells = defective
    features[5, 4], cells[5, 4] = features[2, 4] + 0.05, True
    hidden, trimmed = judged(features, cells).cells, judged(features, cells, trim=0.05).cells
    normal = cells.clone()
    normal[2, 4] = normal[5, 4] = False
    assert hidden[2, 4] < hidden[normal].max()
    assert min(trimmed[2, 4], trimmed[5, 4]) > 1.5 * trimmed[normal].max()


def test_near_duplicate_scans_are_named_and_others_are_not(make_scans):
    features, cells = make_scans(scans=10)
    assert judged(features, cells).duplicates == []
    features[7], cells[7] = features[1] + 0.02 * torch.randn_like(features[1]), cells[1]
    assert judged(features, cells).duplicates == [("1", "7")]


def test_rows_on_disk_give_the_same_scores(defective, monkeypatch, tmp_path):
    in_memory = judged(*defective).cells
    monkeypatch.setattr(reference, "RowStore", lambda: RowStore(limit=1000, folder=tmp_path))
    batch = BatchReference(WIDTHS)
    for number, (one, inside) in enumerate(zip(*defective, strict=True)):
        batch.add(one, inside, key=str(number))
    assert batch._store.on_disk
    assert torch.equal(batch.judge().cells, in_memory)


def test_a_scan_without_the_object_is_all_background(defective):
    features, cells = defective
    cells[0] = False
    result = judged(features, cells).cells
    assert result.shape == cells.shape
    assert (result[0] == 0).all() and (result[1:] > 0).any()


def test_a_scan_alone_cannot_be_judged(make_scans):
    features, cells = make_scans(scans=1)
    with pytest.raises(UserError, match="at least 2 scans"):
        judged(features, cells)


def test_the_history_is_a_reference_and_is_not_judged(make_scans):
    features, cells = make_scans(scans=6)
    rows = [features[i][cells[i]] for i in range(5)]
    starts = [0, *torch.tensor([len(part) for part in rows]).cumsum(0).tolist()]
    batch = BatchReference(WIDTHS, history=Rows(torch.cat(rows), starts, [str(i) for i in range(5)]))
    batch.add(features[5], cells[5], key="5")
    alone, together = batch.judge(), judged(features, cells)
    torch.testing.assert_close(alone.branches["rgb"][0], together.branches["rgb"][5])
    assert alone.cells.shape == (1, 36)


def test_a_scan_seen_before_is_not_its_own_reference(make_scans):
    features, cells = make_scans(scans=3)
    rows = features[0][cells[0]]
    batch = BatchReference(WIDTHS, history=Rows(rows, [0, len(rows)], ["old name#abc"]))
    for i, key in enumerate(("new name#abc", "other#def", "third#fff")):
        batch.add(features[i], cells[i], key=key)
    assert batch.judge().references == ["new name#abc", "other#def", "third#fff"]


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"neighbours": 0}, "batch_neighbours"),
        ({"neighbours": 1.5}, "batch_neighbours"),
        ({"fusion": "middle"}, "batch_fusion"),
        ({"trim": 1.0}, "batch_trim"),
        ({"own_scale": 1.2}, "batch_own_scale"),
        ({"index": "HNSW32", "trim": 0.1}, "batch_index"),
    ],
)
def test_options_that_cannot_work_are_one_sentence(options, what):
    with pytest.raises(UserError, match=what):
        BatchOptions(**options)


def test_a_branch_that_is_not_there_is_one_sentence():
    with pytest.raises(UserError, match="batch_branches names depth"):
        BatchReference(WIDTHS, BatchOptions(branches=("depth",)))


def test_scale_is_the_lowest_tenth_and_the_standard_deviation():
    values = torch.arange(1.0, 101.0)
    scale = Scale.measured(torch.cat([values, torch.tensor([torch.inf])]))
    assert scale.floor == 10.0
    assert scale.spread == pytest.approx(values.numpy().std())
