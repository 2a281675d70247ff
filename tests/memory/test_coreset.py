"""The blocked coreset against one-at-a-time greedy, and the projection against its definition."""

import math

import pytest
import torch

from threedzal.memory import farthest
from threedzal.memory.coreset import greedy_coreset
from threedzal.memory.projection import projection_dim, sparse_projection


def one_at_a_time(points, size, start):
    """Greedy k-center by its definition: measure every row to the last choice, take the farthest, lowest row first."""
    chosen = [start]
    distance = torch.full((len(points),), math.inf)
    while len(chosen) < size:
        distance = torch.minimum(distance, (points - points[chosen[-1]]).square().sum(1))
        distance[chosen] = -1.0
        chosen.append(int(distance.argmax()))
    return chosen


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks so small that a test of a few hundred rows takes many rounds and chunks."""
    monkeypatch.setattr(farthest, "BLOCK_ROWS", 16)
    monkeypatch.setattr(farthest, "CHUNK_ELEMENTS", 500)
    monkeypatch.setattr(farthest, "SORTED_ROWS", 150)


@pytest.mark.parametrize("seed", range(5))
def test_the_choice_is_that_of_one_at_a_time_greedy(small_blocks, seed):
    points = torch.randn(400, 6, generator=torch.Generator().manual_seed(seed)).cumsum(0)
    got = greedy_coreset(points, 60, seed=seed, projection_eps=None)
    assert got.dtype == torch.int64 and got.shape == (60,)
    assert got.tolist() == one_at_a_time(points, 60, int(got[0]))


def test_equal_distances_go_to_the_lower_row(small_blocks):
    grid = torch.cartesian_prod(torch.arange(7.0), torch.arange(7.0), torch.arange(3.0))  # float32 is exact here
    got = greedy_coreset(grid, 100, seed=1, projection_eps=None)
    assert got.tolist() == one_at_a_time(grid, 100, int(got[0]))


def test_large_sets_in_default_blocks_cover_as_well_as_one_at_a_time():
    points = torch.randn(6000, 8, generator=torch.Generator().manual_seed(0))
    got = greedy_coreset(points, 300, projection_eps=None)
    assert set(got.tolist()) == set(one_at_a_time(points, 300, int(got[0])))


def test_the_projection_is_chosen_greedily_too():
    features = torch.randn(30, 900, generator=torch.Generator().manual_seed(0))
    assert projection_dim(30, 0.9) == 83
    generator = torch.Generator().manual_seed(5)
    start = int(torch.randint(30, (1,), generator=generator))
    projected = (features - features[start]) @ sparse_projection(900, 83, generator=generator)
    got = greedy_coreset(features, 12, seed=5)
    assert got.tolist() == one_at_a_time(projected, 12, start)
    assert got.tolist() != greedy_coreset(features, 12, seed=5, projection_eps=None).tolist()


def test_narrow_features_are_not_projected():
    features = torch.randn(200, 32)
    assert greedy_coreset(features, 40).tolist() == greedy_coreset(features, 40, projection_eps=None).tolist()


def test_projection_dim_is_the_formula_of_johnson_and_lindenstrauss():
    # values printed in scikit-learn's documentation of johnson_lindenstrauss_min_dim
    assert projection_dim(1_000_000, 0.5) == 663
    assert projection_dim(1_000_000, 0.1) == 11841
    assert projection_dim(191_296, 0.9) == 300


def test_sparse_projection_has_its_density_and_keeps_lengths():
    matrix = sparse_projection(1600, 300, generator=torch.Generator().manual_seed(0))
    assert sorted(set(matrix.unique().tolist())) == pytest.approx([-math.sqrt(40 / 300), 0.0, math.sqrt(40 / 300)])
    assert (matrix != 0).float().mean().item() == pytest.approx(1 / 40, rel=0.02)
    assert (matrix > 0).sum().item() == pytest.approx((matrix < 0).sum().item(), rel=0.05)
    x = torch.randn(200, 1600, generator=torch.Generator().manual_seed(1))
    ratio = (x @ matrix).square().sum(1) / x.square().sum(1)
    assert ratio.mean().item() == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("copies", [1, 40])
def test_duplicate_rows_still_give_distinct_row_numbers(small_blocks, copies):
    points = torch.randn(5, 4).repeat(copies, 1) if copies > 1 else torch.ones(50, 4)
    got = greedy_coreset(points, len(points), projection_eps=None).tolist()
    assert sorted(got) == list(range(len(points)))


def test_duplicates_come_last():
    distinct = torch.randn(20, 4)
    got = greedy_coreset(torch.cat([distinct, distinct]), 20, projection_eps=None)
    assert len(set((got % 20).tolist())) == 20


def test_the_seed_decides_the_start():
    points = torch.randn(300, 3)
    starts = {int(greedy_coreset(points, 1, seed=seed)) for seed in range(8)}
    assert len(starts) > 3
    assert torch.equal(greedy_coreset(points, 20, seed=7), greedy_coreset(points, 20, seed=7))


def test_progress_ends_at_the_size(small_blocks):
    calls = []
    greedy_coreset(torch.randn(200, 3), 50, progress=lambda done, size: calls.append((done, size)))
    assert calls[-1] == (50, 50)
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})


def test_inference_tensors_and_half_precision_are_accepted():
    with torch.inference_mode():
        got = greedy_coreset(torch.randn(50, 4).half(), 10)
    assert len(set(got.tolist())) == 10


def test_autocast_does_not_change_the_choice(small_blocks):
    points = torch.randn(300, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = greedy_coreset(points, 50)
    assert torch.equal(inside, greedy_coreset(points, 50))


@pytest.mark.parametrize(
    ("features", "size", "options"),
    [
        (torch.rand(10, 3), 0, {}),
        (torch.rand(10, 3), 11, {}),
        (torch.rand(10), 2, {}),
        (torch.ones(10, 3, dtype=torch.int64), 2, {}),
        (torch.rand(10, 3), 2, {"projection_eps": 1.5}),
        (torch.full((10, 3), math.nan), 2, {}),
    ],
)
def test_wrong_arguments_get_a_sentence(features, size, options):
    with pytest.raises(ValueError, match="greedy_coreset"):
        greedy_coreset(features, size, **options)
