"""The leave-one-scan-out search against brute force."""

import pytest
import torch

from threedzal.batch import search
from threedzal.batch.approximate import approximate_leave_one_out
from threedzal.batch.search import ScanIndex, aggregate, leave_one_out
from threedzal.errors import UserError


def rows_of(features, cells):
    starts = [0, *cells.sum(1).cumsum(0).tolist()]
    return features[cells], starts


def brute_force(rows, starts):
    """(N,S) by torch.cdist in double precision, scan by scan."""
    distances = torch.cdist(rows.double(), rows.double())
    spans = list(zip(starts[:-1], starts[1:], strict=True))
    return torch.stack(
        [distances[:, a:b].amin(1) if b > a else torch.full((len(rows),), torch.inf) for a, b in spans], 1
    )


@pytest.fixture(params=[(8192, 2048), (20, 17)], ids=["one block", "many blocks"])
def blocks(request, monkeypatch):
    monkeypatch.setattr(search, "REFERENCE_BLOCK", request.param[0])
    monkeypatch.setattr(search, "QUERY_BLOCK", request.param[1])


def test_nearest_patch_of_every_scan_is_that_of_cdist(make_scans, blocks):
    features, cells = make_scans()
    cells[3] = False  # a scan without an object patch
    rows, starts = rows_of(features, cells)
    found = ScanIndex(rows, starts).nearest(rows)
    expected = brute_force(rows, starts)
    others = torch.ones_like(expected, dtype=torch.bool)
    for scan in range(len(starts) - 1):
        others[starts[scan] : starts[scan + 1], scan] = False
    torch.testing.assert_close(found.double()[others], expected[others], rtol=1e-4, atol=1e-3)
    assert found[:, 3].isinf().all()
    assert found[~others].max() < 0.02  # each patch is in its own scan, at 0 up to rounding


@pytest.mark.parametrize("neighbours", [1, 2, 5, 100, 0.3, 0.9])
def test_leave_one_out_is_the_mean_of_the_nearest_other_scans(make_scans, blocks, neighbours):
    features, cells = make_scans()
    rows, starts = rows_of(features, cells)
    scan_of = torch.arange(len(cells)).repeat_interleave(cells.sum(1))
    expected = brute_force(rows, starts)
    expected[torch.arange(len(rows)), scan_of] = torch.inf
    others = len(cells) - 1
    k = min(neighbours, others) if isinstance(neighbours, int) else max(1, round(neighbours * others))
    expected_values = expected.sort(1).values[:, :k].mean(1)

    values, between = leave_one_out(ScanIndex(rows, starts), rows, starts, range(len(cells)), neighbours=neighbours)

    torch.testing.assert_close(values.double(), expected_values, rtol=1e-4, atol=1e-3)
    for a in range(len(cells)):
        for b in set(range(len(cells))) - {a}:
            assert between[a, b] == pytest.approx(float(expected[scan_of == a, b].mean()), rel=1e-4)
        assert between[a, a] == torch.inf


def test_rows_that_are_not_kept_serve_no_one(make_scans):
    features, cells = make_scans()
    rows, starts = rows_of(features, cells)
    keep = torch.rand(len(rows), generator=torch.Generator().manual_seed(1)) < 0.5
    found = ScanIndex(rows, starts, keep=keep).nearest(rows)
    distances = torch.cdist(rows.double(), rows.double()).masked_fill(~keep, torch.inf)
    expected = torch.stack([distances[:, a:b].amin(1) for a, b in zip(starts[:-1], starts[1:], strict=True)], 1)
    away = expected > 0.1
    torch.testing.assert_close(found.double()[away], expected[away], rtol=1e-4, atol=1e-3)
    assert not torch.equal(found, ScanIndex(rows, starts).nearest(rows))


def test_the_index_among_its_own_rows_is_the_same_search(make_scans, blocks):
    features, cells = make_scans()
    cells[3] = False
    rows, starts = rows_of(features, cells)
    index = ScanIndex(rows, starts)
    torch.testing.assert_close(index.among_themselves(), index.nearest(rows), rtol=1e-4, atol=2e-2)
    values, between = leave_one_out(index, None, starts, range(len(cells)))
    expected_values, expected_between = leave_one_out(index, rows, starts, range(len(cells)))
    torch.testing.assert_close(values, expected_values, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(between, expected_between, rtol=1e-4, atol=1e-3)
    keep = torch.rand(len(rows), generator=torch.Generator().manual_seed(1)) < 0.5
    some = ScanIndex(rows, starts, keep=keep)
    torch.testing.assert_close(some.among_themselves(), some.nearest(rows))


def test_aggregate_leaves_out_scans_without_a_patch():
    distances = torch.tensor([[3.0, torch.inf, 1.0, 2.0], [torch.inf] * 4])
    assert aggregate(distances, neighbours=2).tolist() == [1.5, torch.inf]
    assert aggregate(distances, neighbours=0.67).tolist() == [1.5, torch.inf]  # two of three
    assert aggregate(distances, neighbours=10).tolist() == [2.0, torch.inf]


@pytest.mark.parametrize("index", ["IVF4,Flat", "HNSW16"])
def test_approximate_search_leaves_the_own_scan_out_and_states_its_recall(make_scans, index):
    features, cells = make_scans(scans=12)
    rows, starts = rows_of(features, cells)
    exact, _ = leave_one_out(ScanIndex(rows, starts), rows, starts, range(12))
    found, recall = approximate_leave_one_out(rows, starts, rows, starts, range(12), index)
    assert (found >= exact - 1e-2).all()
    right = (found <= exact * 1.001 + 1e-3).float().mean().item()
    assert recall == pytest.approx(right, abs=0.02)
    assert recall > 0.9


def test_an_unknown_index_is_one_sentence(make_scans):
    rows, starts = rows_of(*make_scans(2))
    with pytest.raises(UserError, match="batch_index is 'PQ3'"):
        approximate_leave_one_out(rows, starts, rows, starts, range(2), "PQ3")
