"""Stages of the memory bank: projection, coreset, nearest rows, reweighting."""

import torch
from torch import Tensor

from benchmarks.reference import bank as reference
from benchmarks.speed.data import CELLS, PROJECTED, WIDTH, patch_features
from benchmarks.speed.harness import Case, Size, Stage
from threedzal.memory import MemoryBank
from threedzal.memory.coreset import choose
from threedzal.memory.projection import draw_projection, project
from threedzal.scoring import reweighted_score

STEPS = 100  # of one-at-a-time greedy that are measured where all of them would take three quarters of an hour


def projection(size: Size) -> Case:
    features = patch_features(244 if size == "full" else 4, WIDTH)
    matrix = draw_projection(len(features), WIDTH, generator=torch.Generator().manual_seed(0))

    def agree(_, fast: Tensor) -> str:
        some, origin = features[:2000], features[0]
        expected = torch.from_numpy(reference.project_with(some - origin, matrix))
        error = float((fast[:2000] - expected).abs().max() / expected.abs().max())
        assert error < 1e-5, error
        return f"given the same signs, relative difference {error:.0e}"

    return Case(
        work=f"{len(features)} x {WIDTH} to {matrix.shape[1]}",
        reference=lambda: reference.sparse_projection(features, eps=0.9, seed=0),
        fast=lambda: project(features, features[0], matrix),
        agree=agree,
        traffic=features.nbytes + 4 * len(features) * matrix.shape[1],
        repeats=1 if size == "full" else 3,
    )


def coreset_whole(size: Size) -> Case:
    """Both to the end, at 20 000 rows."""
    points = patch_features(26 if size == "full" else 8, PROJECTED)[:20_000]
    wanted = len(points) // 10

    def agree(slow: list[int], fast: Tensor) -> str:
        assert set(slow) == set(fast.tolist()), len(set(slow) ^ set(fast.tolist()))
        return f"the same set of {wanted}"

    return Case(
        work=f"{wanted} of {len(points)} rows, {PROJECTED} numbers",
        reference=lambda: reference.greedy_one_at_a_time(points, wanted, start=0),
        fast=lambda: choose(points, wanted, start=0, matrix=None).chosen,
        agree=agree,
        flops=2.0 * points.numel() * wanted,
        repeats=1,
    )


def coreset(size: Size) -> Case:
    """At the paper's size the reference takes its first steps; each of the 19 129 costs the same."""
    points = patch_features(244 if size == "full" else 6, PROJECTED)
    wanted = len(points) // 10
    steps = min(STEPS, wanted)

    def agree(slow: list[int], fast: Tensor) -> str:
        assert slow == fast[:steps].tolist()
        return f"the same first {steps}"

    return Case(
        work=f"{wanted} of {len(points)} rows, {PROJECTED} numbers",
        reference=lambda: reference.greedy_one_at_a_time(points, steps, start=0),
        fast=lambda: choose(points, wanted, start=0, matrix=None).chosen,
        agree=agree,
        share=steps / wanted,
        flops=2.0 * points.numel() * wanted,
        repeats=1,
    )


def _queries_and_bank(size: Size) -> tuple[Tensor, Tensor]:
    rows = patch_features(26 if size == "full" else 2, WIDTH)
    return rows[-CELLS:], rows[: 19_129 if size == "full" else CELLS].contiguous()


def _nearest(size: Size, dtype: torch.dtype) -> Case:
    queries, rows = _queries_and_bank(size)
    bank, wide_queries, wide_rows = MemoryBank.build(rows), queries.to(dtype), rows.to(dtype)

    def agree(slow: tuple[Tensor, Tensor], fast: tuple[Tensor, Tensor]) -> str:
        assert torch.equal(slow[1], fast[1][:, 0])
        error = float((slow[0] - fast[0][:, 0]).abs().max() / slow[0].max())
        assert error < 1e-3, error
        return f"identical rows; distances to {error:.0e}"

    return Case(
        work=f"{len(queries)} patches, {len(rows)} rows, {WIDTH} numbers",
        reference=lambda: reference.nearest_rows(wide_queries, wide_rows),
        fast=lambda: bank.search(queries, 1),
        agree=agree,
        flops=2.0 * len(queries) * rows.numel(),
        traffic=rows.nbytes,
    )


def distance(size: Size) -> Case:
    return _nearest(size, torch.float64)


def distance_float32(size: Size) -> Case:
    return _nearest(size, torch.float32)


def reweighting(size: Size) -> Case:
    queries, rows = _queries_and_bank(size)
    bank = MemoryBank.build(rows)
    distances, nearest = (found[:, 0] for found in bank.search(queries, 1))
    wide_queries, wide_rows, wide_distances = queries.double(), rows.double(), distances.double()

    def agree(slow: Tensor, fast: Tensor) -> str:
        error = abs(float(slow) - float(fast)) / float(slow)
        assert error < 1e-4, error
        return f"relative difference {error:.0e}"

    return Case(
        work=f"3 of {len(rows)} rows, {WIDTH} numbers",
        reference=lambda: reference.reweighted(wide_queries, wide_distances, nearest, wide_rows, neighbours=3),
        fast=lambda: reweighted_score(queries[None], distances[None], nearest[None], bank, neighbours=3),
        agree=agree,
        traffic=rows.nbytes,
        repeats=5,
    )


def both(size: Size) -> Case:
    """What a test scan asks of the bank, all in float32."""
    queries, rows = _queries_and_bank(size)
    bank = MemoryBank.build(rows)

    def slow() -> tuple[Tensor, Tensor]:
        distances, nearest = reference.nearest_rows(queries, rows)
        return nearest, reference.reweighted(queries, distances, nearest, rows, neighbours=3)

    def fast() -> tuple[Tensor, Tensor]:
        distances, nearest = (found[:, 0] for found in bank.search(queries, 1))
        return nearest, reweighted_score(queries[None], distances[None], nearest[None], bank, neighbours=3)

    def agree(slow: tuple[Tensor, Tensor], fast: tuple[Tensor, Tensor]) -> str:
        assert torch.equal(slow[0], fast[0])
        error = abs(float(slow[1]) - float(fast[1])) / float(slow[1])
        assert error < 1e-4, error
        return f"identical rows; scores to {error:.0e}"

    fast()  # what the bank keeps from its first search on
    return Case(
        work=f"{len(queries)} patches, {len(rows)} rows, {WIDTH} numbers",
        reference=slow,
        fast=fast,
        agree=agree,
        flops=2.0 * len(queries) * rows.numel(),
        traffic=rows.nbytes,
        repeats=5,
    )


STAGES = [
    Stage("projection", projection, ratio=6),
    Stage("coreset to the end", coreset_whole),
    Stage("coreset", coreset, ratio=90, memory=300),
    Stage("nearest rows and reweighting, against float32", both, ratio=2.5),
    Stage("nearest rows, against float64", distance, ratio=2.5),
    Stage("nearest rows, against float32", distance_float32),
    Stage("reweighting, against float64", reweighting, ratio=2.5),
]
