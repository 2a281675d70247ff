"""Surface normals of a point cloud, as Open3D's `estimate_normals` defines them."""

import torch
from torch import Tensor

from threedzal.compiled import has_numba

GRID = 2.0**33  # normals are whole multiples of its inverse, 1e-10


def oriented_normals(points: Tensor, neighbours: Tensor, squared: Tensor) -> Tensor:
    """`estimate_normals`, each turned to look from its point towards the origin, where the camera is."""
    if points.device.type == "cpu" and has_numba():
        from threedzal.features.fpfh_loops import least_spread

        normals = torch.from_numpy(least_spread(points.numpy(), neighbours.numpy(), squared.numpy()))
        return towards_origin(_rounded(normals), points)
    return towards_origin(estimate_normals(points, neighbours, squared), points)


def estimate_normals(points: Tensor, neighbours: Tensor, squared: Tensor) -> Tensor:
    """Unit normals (N, 3) float64: the direction in which a point and its neighbours spread least; sign left to chance.

    points (N, 3) float64, neighbours (N, k) int64 rows of other points, squared (N, k) their squared distances,
    infinite where there is none. Fewer than 3 points with the point itself have no plane: (0, 0, 1), as in Open3D.
    Rounded to 1e-10.
    """
    present = squared.isfinite()
    offsets = torch.stack([axis.contiguous().take(neighbours) for axis in points.T]) - points.T[:, :, None]  # [3, N, k]
    if not present.all():
        offsets = offsets * present
    count = present.sum(1) + 1  # the point itself stands at the origin
    mean = offsets.sum(2) / count  # [3, N]
    second = [[(offsets[a] * offsets[b]).sum(1) for b in range(a + 1)] for a in range(3)]
    covariance = torch.stack([
        second[max(a, b)][min(a, b)] / count - mean[a] * mean[b] for a in range(3) for b in range(3)
    ], -1).view(-1, 3, 3)  # fmt: skip
    scale = covariance.diagonal(dim1=1, dim2=2).amax(1)
    flat = (count < 3) | (scale == 0)
    covariance = torch.where(flat[:, None, None], covariance.new_tensor([2.0, 2, 1]).diag(), covariance)
    return _rounded(torch.linalg.eigh(covariance).eigenvectors[:, :, 0])


def _rounded(normals: Tensor) -> Tensor:
    """On a plane, and where points have the same neighbours, normals are equal but for their last digits, and FPFH asks
    which of two is nearer to the line between them: without those digits it is the same on all machines."""
    return (normals * GRID).round() / GRID


def towards_origin(normals: Tensor, points: Tensor) -> Tensor:
    """normals (N, 3) turned so that each looks from its point (N, 3) towards the origin, where the camera is."""
    return torch.where((normals * points).sum(1, keepdim=True) > 0, -normals, normals)
