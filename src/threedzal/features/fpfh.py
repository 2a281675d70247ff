"""The FPFH branch (section 3.1): handcrafted features of the shape around each measured point."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from threedzal.errors import UserError
from threedzal.features.grid import Smoothing, to_grid

CHANNELS = 4  # of the maps in double precision at a time: they stay in the processor's cache


def fpfh(
    xyz: Tensor,
    valid: Tensor,
    *,
    backend: Literal["open3d", "torch"] = "open3d",
    normals: Literal["oriented", "raw"] = "oriented",
    radius: float = 0.25,
    neighbours: int = 100,
    normal_radius: float = 0.1,
    normal_neighbours: int = 30,
) -> Tensor:
    """Fast point feature histograms: xyz (B, 3, H, W) metres, valid (B, H, W) bool -> (B, 33, H, W) float32.

    Three histograms of 11 bins, each summing to 200 (the point's own and its neighbours' mean), zeros where not valid
    and in scans with fewer than 3 valid points. Neighbours are the nearest within `radius` metres, at most
    `neighbours` with the point itself; likewise for the normals (method.md's BTF setting: 0.25, 100, 0.1, 30).

    `backend`: Open3D, on the CPU, or torch, on any device, which with numba runs compiled loops on a CPU and gives the
    same numbers: given equal normals, those of Open3D 0.20 to a relative error of 1e-14. Which of several equally far
    points is a neighbour is open in both. Where two points have the same normal (same neighbours, or a plane), its last
    digits decide on which of them their frame stands; here normals have 10 digits, so that they are equal.
    `normals`: turned towards the camera, which is the origin of the scan's frame, or "raw", each with the sign that
    its eigenvector happens to have. FPFH depends on it: raw features of the two backends cannot be compared.

    Raises `UserError` on shapes that do not fit, and where Open3D is asked for and cannot be imported.
    """
    if xyz.ndim != 4 or xyz.shape[1] != 3 or valid.shape != (len(xyz), *xyz.shape[2:]):
        raise UserError(
            f"fpfh got xyz of shape {tuple(xyz.shape)} and valid of shape {tuple(valid.shape)}; "
            "give (B, 3, H, W) and (B, H, W)."
        )
    compute = {"open3d": _with_open3d, "torch": _with_torch}.get(backend)
    if compute is None or normals not in ("oriented", "raw"):
        raise UserError(
            f"fpfh got backend {backend!r} and normals {normals!r}; "
            'give "open3d" or "torch" (option `fpfh_backend`), and "oriented" or "raw" (option `normals`).'
        )
    features = xyz.new_zeros(len(xyz), 33, *xyz.shape[2:], dtype=torch.float32)
    for scan, mask, out in zip(xyz, valid.bool(), features, strict=True):
        if mask.sum() >= 3:
            rows = compute(scan.double(), mask, normals, radius, neighbours, normal_radius, normal_neighbours)
            out[:, mask] = rows.T.to(out)
    return features


def fpfh_grid(features: Tensor, *, grid: int = 28, smoothing: Smoothing = "padded") -> Tensor:
    """FPFH maps (B, 33, H, W) -> (B, 33, grid, grid): 3x3 average, then the adaptive average of BTF's resize.

    Pixels without a measurement count as zeros, as in BTF, so that a cell on the rim of the object has smaller numbers.
    """
    parts = (to_grid(part.double(), grid=grid, smoothing=smoothing).float() for part in features.split(CHANNELS, dim=1))
    return torch.cat(list(parts), 1)


@torch.no_grad()
def _with_torch(xyz, valid, orientation, radius, neighbours, normal_radius, normal_neighbours) -> Tensor:
    from threedzal.features.fpfh_torch import point_features
    from threedzal.features.neighbours import nearest_neighbours, nearest_of
    from threedzal.features.normals import estimate_normals, oriented_normals

    points = xyz[:, valid].T.contiguous()  # [N, 3]
    others = max(neighbours, normal_neighbours) - 1  # Open3D counts the point itself
    rows, squared = nearest_neighbours(xyz, valid, count=others)

    def within(count: int, limit: float) -> tuple[Tensor, Tensor]:
        near, distances = nearest_of(rows, squared, count=count - 1)
        beyond = distances >= limit**2
        return near, distances.masked_fill(beyond, torch.inf) if beyond.any() else distances

    find_normals = oriented_normals if orientation == "oriented" else estimate_normals
    normals = find_normals(points, *within(normal_neighbours, normal_radius))
    return point_features(points, normals, *within(neighbours, radius))


def _with_open3d(xyz, valid, orientation, radius, neighbours, normal_radius, normal_neighbours) -> Tensor:
    try:
        import open3d
    except (ImportError, OSError) as error:
        raise UserError(
            f"Open3D cannot be imported ({str(error).splitlines()[0]}); install the package open3d and the system "
            "library libusb-1.0-0, or choose `fpfh_backend: torch`, which gives the same numbers."
        ) from error
    search = open3d.geometry.KDTreeSearchParamHybrid
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(xyz[:, valid].T.cpu().numpy()))
    cloud.estimate_normals(search(radius=normal_radius, max_nn=normal_neighbours))
    if orientation == "oriented":
        cloud.orient_normals_towards_camera_location(np.zeros(3))
    features = open3d.pipelines.registration.compute_fpfh_feature(cloud, search(radius=radius, max_nn=neighbours))
    return torch.from_numpy(np.array(features.data).T)
