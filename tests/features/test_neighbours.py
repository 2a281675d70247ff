"""Exact neighbours on the organised grid, against brute force, where windows suffice and where they cannot."""

import pytest
import torch

from threedzal.features import neighbours as module
from threedzal.features import neighbours_torch
from threedzal.features.neighbours import nearest_neighbours, nearest_of
from threedzal.features.neighbours_torch import nearest_on_grid


def surface(size: int = 40, *, kind: str = "smooth", seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A scan of a pinhole camera: xyz (3, H, W) float64 and its measured pixels."""
    generator = torch.Generator().manual_seed(seed)
    v, u = torch.meshgrid(*[torch.linspace(-0.2, 0.2, size, dtype=torch.float64)] * 2, indexing="ij")
    depth = 0.6 + 0.01 * torch.randn(1, generator=generator) + 1e-4 * torch.randn(size, size, generator=generator)
    valid = torch.ones(size, size, dtype=torch.bool)
    if kind == "step":  # near pixels far apart in space, far pixels near
        depth = torch.where(u > 0.03, depth + 0.3, depth)
    elif kind == "steep":
        depth = depth + 3 * u
    elif kind == "sparse":
        valid = torch.rand(size, size, generator=generator) > 0.8
    elif kind == "folded":  # no camera: the slopes do not grow with the columns
        u = torch.sin(30 * u) * 0.1
    xyz = torch.stack([u * depth, v * depth, depth])
    if kind == "behind":
        xyz = xyz * torch.tensor([1.0, 1.0, -1.0])[:, None, None]
    return torch.where(valid, xyz, 0.0).double(), valid


def brute_force(points: torch.Tensor, *, count: int) -> torch.Tensor:
    squared = (points[:, None] - points[None]).square().sum(-1)
    return squared.fill_diagonal_(torch.inf).sort(1).values[:, :count]


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("kind", ["smooth", "step", "steep", "sparse", "folded", "behind"])
def test_neighbours_are_those_of_all_distances(kind):
    xyz, valid = surface(kind=kind)
    points = xyz[:, valid].T
    rows, squared = nearest_neighbours(xyz, valid, count=99)
    torch.testing.assert_close(squared.sort(1).values, brute_force(points, count=99), rtol=1e-9, atol=0)
    torch.testing.assert_close((points[rows] - points[:, None]).square().sum(-1), squared, rtol=1e-9, atol=0)
    assert all(len(set(row.tolist()) | {number}) == 100 for number, row in enumerate(rows))  # distinct, not itself


@pytest.mark.usefixtures("either_way")
def test_on_a_smooth_scan_most_neighbours_are_proved_without_a_tree(monkeypatch):
    xyz, valid = surface(60)
    asked, search = [], module._search_tree

    def counted(points, pending, *, count):
        asked.append(len(pending))
        return search(points, pending, count=count)

    monkeypatch.setattr(module, "_search_tree", counted)
    nearest_neighbours(xyz, valid, count=99)
    assert sum(asked) < 0.2 * valid.sum()


@pytest.mark.usefixtures("either_way")
def test_ties_are_taken_as_often_as_asked_for():
    v, u = torch.meshgrid(torch.arange(30.0), torch.arange(30.0), indexing="ij")
    xyz = torch.stack([u, v, torch.full_like(u, 500.0)]).double()  # a lattice: four and eight points equally far
    valid = torch.ones(30, 30, dtype=torch.bool)
    rows, squared = nearest_neighbours(xyz, valid, count=10)
    torch.testing.assert_close(squared.sort(1).values, brute_force(xyz[:, valid].T, count=10))
    assert all(len(set(row.tolist())) == 10 for row in rows)


@pytest.mark.usefixtures("either_way")
def test_equal_points_are_neighbours_of_one_another():
    xyz, valid = surface(20)
    xyz[:, 3, 3:6] = xyz[:, 3, 3:4]
    rows, squared = nearest_neighbours(xyz, valid, count=5)
    assert (squared[63:66] == 0).sum(1).tolist() == [2, 2, 2]
    assert all(number not in rows[number] for number in (63, 64, 65))


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("points", [0, 1, 2, 7])
def test_missing_neighbours_are_infinitely_far(points):
    xyz, valid = surface(10)
    valid.view(-1)[points:] = False
    rows, squared = nearest_neighbours(xyz, valid, count=5)
    assert rows.shape == squared.shape == (points, 5)
    assert squared.isfinite().sum(1).tolist() == [min(5, points - 1)] * points
    assert rows.numel() == 0 or rows.max() < points


@pytest.mark.parametrize("kind", ["smooth", "step", "steep", "sparse", "folded", "behind"])
def test_the_way_of_a_gpu_gives_the_same(kind, monkeypatch):
    monkeypatch.setattr(neighbours_torch, "POINTS_AT_ONCE", 300)
    monkeypatch.setattr(neighbours_torch, "DISTANCES_AT_ONCE", 50_000)
    xyz, valid = surface(50, kind=kind)
    points = xyz[:, valid].T
    rows, squared = nearest_on_grid(xyz, valid, count=99)
    torch.testing.assert_close(squared.sort(1).values, brute_force(points, count=99), rtol=1e-9, atol=0)
    torch.testing.assert_close((points[rows] - points[:, None]).square().sum(-1), squared, rtol=1e-9, atol=0)


@pytest.mark.parametrize("points", [0, 1, 7])
def test_the_way_of_a_gpu_marks_missing_neighbours_too(points):
    xyz, valid = surface(10)
    valid.view(-1)[points:] = False
    rows, squared = nearest_on_grid(xyz, valid, count=5)
    assert rows.shape == squared.shape == (points, 5)
    assert squared.isfinite().sum(1).tolist() == [min(5, points - 1)] * points


@pytest.mark.parametrize("kind", ["smooth", "sparse", "lattice"])
def test_without_numba_the_neighbours_are_the_same_in_the_same_order(kind, request):
    pytest.importorskip("numba")
    xyz, valid = surface(kind=kind)
    if kind == "lattice":  # the last place is always tied for
        v, u = torch.meshgrid(torch.arange(40.0), torch.arange(40.0), indexing="ij")
        xyz = torch.stack([u, v, torch.full_like(u, 500.0)]).double()
    compiled = nearest_neighbours(xyz, valid, count=60)
    kept = nearest_of(*compiled, count=29)
    request.getfixturevalue("without_numba")
    for one, other in zip(
        (*compiled, *kept), (*nearest_neighbours(xyz, valid, count=60), *nearest_of(*compiled, count=29)), strict=True
    ):
        assert torch.equal(one, other)


@pytest.mark.usefixtures("either_way")
def test_the_nearest_of_the_neighbours_are_kept():
    squared = torch.rand(50, 30, dtype=torch.float64)
    squared[3, 5:] = torch.inf
    rows = torch.randint(0, 1000, (50, 30))
    kept_rows, kept = nearest_of(rows, squared, count=8)
    values, order = squared.sort(1)
    torch.testing.assert_close(kept.sort(1).values, values[:, :8])
    finite = values[:, :8].isfinite()
    for number in range(50):
        expected = rows[number, order[number, :8]][finite[number]]
        assert sorted(kept_rows[number][kept[number].isfinite()].tolist()) == sorted(expected.tolist())
