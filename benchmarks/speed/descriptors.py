"""Stages that describe a scan: cleaning, FPFH, pooling."""

import numpy as np
import torch
from torch import Tensor

from benchmarks.reference import descriptors as reference
from benchmarks.speed.data import object_points, points_above_table
from benchmarks.speed.harness import Case, Size, Stage
from threedzal.data.background import largest_cluster
from threedzal.features import fpfh, fpfh_grid
from threedzal.features.fpfh_torch import point_features
from threedzal.features.neighbours import nearest_neighbours


def cleaning(size: Size) -> Case:
    points = points_above_table(800 if size == "full" else 160)
    options = {"radius": 0.006, "min_points": 30}

    def agree(slow: np.ndarray, fast: np.ndarray) -> str:
        same = float((slow == fast).mean())
        assert same > 0.99, same
        return f"{100 * same:.2f} % of {len(points)} points judged the same (border points may differ)"

    return Case(
        work=f"{len(points)} points above the table",
        reference=lambda: reference.largest_dbscan_cluster(points, **options),
        fast=lambda: largest_cluster(points, **options),
        agree=agree,
        traffic=points.nbytes,
        repeats=1,
    )


def descriptor(size: Size) -> Case:
    xyz, valid = object_points(224 if size == "full" else 96)
    points = xyz[0][:, valid[0]].T.double()

    def slow() -> Tensor:
        features = torch.zeros(1, 33, *valid.shape[1:], dtype=torch.float64)
        features[0][:, valid[0]] = torch.from_numpy(reference.fpfh_of_cloud(points.numpy())).T
        return reference.pool_and_resize(features, grid=28)

    def agree(expected: Tensor, fast: Tensor) -> str:
        normals = reference.normals_of_cloud(points.numpy())
        given = reference.fpfh_of_cloud(points.numpy(), normals)
        near = nearest_neighbours(xyz[0].double(), valid[0], count=99)
        own = point_features(points, torch.from_numpy(normals), *near).numpy()
        error = np.abs(own - given).max() / given.max()
        together = np.corrcoef(expected.numpy().ravel(), fast.numpy().ravel())[0, 1]
        assert error <= 1e-6 and together > 0.999, (error, together)
        return f"given equal normals, relative difference {error:.0e}; correlation with own normals {together:.6f}"

    def quick() -> Tensor:
        return fpfh_grid(fpfh(xyz, valid, backend="torch"), grid=28)

    quick()  # what numba compiles at its first call, or reads from disk, is not measured
    pairs = 99.0 * len(points)
    return Case(
        work=f"{len(points)} points, {valid.shape[1]} x {valid.shape[2]} pixels",
        reference=slow,
        fast=quick,
        agree=agree,
        flops=60 * pairs,  # a pair's three angles
        traffic=2 * 33 * 8 * pairs / 99,
        repeats=5,
    )


def pooling(size: Size) -> Case:
    maps = torch.rand(1, 33, 224, 224, generator=torch.Generator().manual_seed(0))
    wide = maps.double()

    def agree(expected: Tensor, fast: Tensor) -> str:
        error = float((expected - fast).abs().max())
        assert error < 1e-5, error
        return f"largest difference {error:.0e}"

    return Case(
        work="33 channels, 224 x 224 to 28 x 28",
        reference=lambda: reference.pool_and_resize(wide, grid=28),
        fast=lambda: fpfh_grid(maps, grid=28),
        agree=agree,
        traffic=maps.nbytes,
        repeats=9,
    )


STAGES = [
    Stage("cleaning of a raw scan", cleaning, ratio=300),
    Stage("FPFH and pooling", descriptor, ratio=3),
    Stage("pooling alone", pooling),
]
