"""Fast point feature histograms as Open3D computes them, in torch: the same numbers without Open3D, on CPU or GPU.

Rusu et al., ICRA 2009; the details that decide the numbers (what is skipped, normalised and summed) are those of
Open3D's `compute_fpfh_feature`. Everything is double precision inside: a histogram bin must not flip. On a CPU with
numba, `fpfh_loops.py` does the work.
"""

import math

import torch
from torch import Tensor

from threedzal.compiled import has_numba

BINS = 11
CHUNK = 200  # points at a time: their pairs with 100 neighbours stay in cache
CHUNK_ON_GPU = 16_384  # so many that launching the kernels is not what takes the time


def point_features(points: Tensor, normals: Tensor, neighbours: Tensor, squared: Tensor) -> Tensor:
    """FPFH (N, 33) float64 of points (N, 3) with unit normals (N, 3), both float64.

    neighbours (N, k) int64 rows of the other points nearby, squared (N, k) float64 their squared distances, infinite
    where there is no such neighbour. Open3D weighs a neighbour's histogram by one over the *squared* distance, leaves
    out those at distance zero, and scales each third of the sum to 100 before it adds the point's own.
    """
    own = simple_histograms(points, normals, neighbours, squared)
    around = _sum_around(own, neighbours, squared).view(-1, 3, BINS)
    total = around.sum(-1, keepdim=True)
    around = around * torch.where(total > 0, 100 / total, 0.0)
    return own + around.flatten(1)


def simple_histograms(points: Tensor, normals: Tensor, neighbours: Tensor, squared: Tensor) -> Tensor:
    """SPFH (N, 33) float64: for each point the histograms of its pair features, each summing to 100."""
    if points.device.type == "cpu" and has_numba():
        from threedzal.features.fpfh_loops import simple_histograms as compiled

        return torch.from_numpy(compiled(*(x.contiguous().numpy() for x in (points, normals, neighbours, squared))))
    axes = [axis.contiguous() for axis in (*points.T, *normals.T)]
    counts = []
    step = CHUNK if points.device.type == "cpu" else CHUNK_ON_GPU
    for start in range(0, len(points), step):
        chunk = slice(start, start + step)
        rows = neighbours[chunk]
        near = [axis.take(rows) for axis in axes]
        here = [axis[chunk, None] for axis in axes]
        features = pair_features(here[:3], here[3:], near[:3], near[3:])
        counts.append(_count(features, present=squared[chunk].isfinite()))
    counts = torch.cat(counts) if counts else points.new_zeros(0, 3 * BINS)
    number = squared.isfinite().sum(1, keepdim=True)
    return counts * (100 / number.clamp(min=1).double())


def pair_features(
    p1: list[Tensor], n1: list[Tensor], p2: list[Tensor], n2: list[Tensor]
) -> tuple[Tensor, ...]:
    """The three angles of Darboux frames, each scaled to [0, 11]: between points p1, p2 with unit normals n1, n2.

    Each argument is a list of the three coordinates, of shapes that broadcast. The frame stands on the point whose
    normal is closer to the line between them. With `d = |p2 - p1|`, `a1 = n1.(p2 - p1)/d`, `a2 = n2.(p2 - p1)/d` and
    `c = n1.n2`, Open3D's cross products come down to the dot products below. a1 and a2 are rounded at each step, in
    Open3D's order (no fused `addcmul`), because many pairs differ in their last digits alone.
    """
    line = [b - a for a, b in zip(p1, p2, strict=True)]
    length = _dot(line, line).sqrt_()
    a1, a2 = (_dot(normal, line).div_(length) for normal in (n1, n2))
    swapped = a1.abs() < a2.abs()
    (dx, dy, dz), (x1, y1, z1), (x2, y2, z2) = (axis.div_(length) for axis in line), n1, n2
    c = (x2 * x1).addcmul_(y2, y1).addcmul_(z2, z1)
    triple = (dy * z1).addcmul_(dz, y1, value=-1).mul_(x2)
    triple.addcmul_((dz * x1).addcmul_(dx, z1, value=-1), y2)
    triple.addcmul_((dx * y1).addcmul_(dy, x1, value=-1), z2)
    cosine = torch.where(swapped, -a2, a1)
    numerator = torch.where(swapped, a2 * c - a1, a2 - a1 * c)
    sine = (1 - cosine * cosine).clamp_(min=0).sqrt_()
    angle = torch.atan2(numerator, c.mul_(sine))
    # no frame (same place, or a normal along the line): Open3D counts three zeros
    none = (sine == 0) | (length == 0)
    features = (angle.mul_(1 / math.pi), triple.div_(sine), cosine)  # in [-1, 1]
    if none.any():
        features = [feature.masked_fill_(none, 0) for feature in features]
    return tuple(feature.add_(1).mul_(BINS / 2) for feature in features)


def _dot(a: list[Tensor], b: list[Tensor]) -> Tensor:
    return (a[0] * b[0]).add_(a[1] * b[1]).add_(a[2] * b[2])


def _count(features: tuple[Tensor, ...], *, present: Tensor) -> Tensor:
    """Counts (n, 33) float64 of three features (n, k) in [0, 11], in 11 bins each."""
    n = len(present)
    first = torch.arange(n, dtype=torch.int32, device=present.device)[:, None] * (3 * BINS)
    bins = torch.stack([  # whole numbers by truncation: what rounding left below zero belongs to the first bin
        feature.int().clamp_(max=BINS - 1).add_(first + BINS * number) for number, feature in enumerate(features)
    ])  # fmt: skip
    if not present.all():
        bins = bins[present.expand_as(bins)]
    return torch.bincount(bins.flatten(), minlength=n * 3 * BINS).view(n, 3 * BINS).double()


def _sum_around(values: Tensor, rows: Tensor, squared: Tensor) -> Tensor:
    """sum_k values[rows[n, k]] / squared[n, k]: (N, 33) from values (N, 33), rows and squared (N, k)."""
    if values.device.type == "cpu" and has_numba():
        from threedzal.features.fpfh_loops import sum_around

        return torch.from_numpy(sum_around(*(x.contiguous().numpy() for x in (values, rows, squared))))
    weights = torch.where(squared > 0, 1 / squared, 0.0)  # 0 for the missing: 1 / infinity
    if values.device.type == "cpu":
        from scipy.sparse import csr_array

        n, k = rows.shape
        starts = torch.arange(0, n * k + 1, max(k, 1))[: n + 1] if k else torch.zeros(n + 1, dtype=torch.long)
        matrix = csr_array((weights.flatten().numpy(), rows.flatten().numpy(), starts.numpy()), shape=(n, n))
        return torch.from_numpy(matrix @ values.numpy())
    return torch.cat([
        torch.einsum("nk,nkc->nc", w, values[r])
        for r, w in zip(rows.split(20 * CHUNK), weights.split(20 * CHUNK), strict=True)
    ])  # fmt: skip
