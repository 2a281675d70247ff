"""Object cleaning by DBSCAN on points, FPFH by Open3D, pooling and resizing by torch's layers."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def largest_dbscan_cluster(points: np.ndarray, *, radius: float, min_points: int) -> np.ndarray:
    """(N, 3) -> (N,) bool: Open3D's DBSCAN on every point, as BTF's preprocessing has it."""
    import open3d

    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points))
    labels = np.asarray(cloud.cluster_dbscan(eps=radius, min_points=min_points))
    return labels == np.bincount(labels[labels >= 0]).argmax()


def fpfh_of_cloud(points: np.ndarray, normals: np.ndarray | None = None) -> np.ndarray:
    """(N, 3) -> (N, 33): Open3D, with its own normals turned towards the camera, or with given ones."""
    import open3d

    search = open3d.geometry.KDTreeSearchParamHybrid
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points))
    if normals is None:
        cloud.estimate_normals(search(radius=0.1, max_nn=30))
        cloud.orient_normals_towards_camera_location(np.zeros(3))
    else:
        cloud.normals = open3d.utility.Vector3dVector(normals)
    return np.array(open3d.pipelines.registration.compute_fpfh_feature(cloud, search(radius=0.25, max_nn=100)).data).T


def normals_of_cloud(points: np.ndarray) -> np.ndarray:
    """(N, 3) -> (N, 3): Open3D's normals, turned towards the camera."""
    import open3d

    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points))
    cloud.estimate_normals(open3d.geometry.KDTreeSearchParamHybrid(radius=0.1, max_nn=30))
    cloud.orient_normals_towards_camera_location(np.zeros(3))
    return np.asarray(cloud.normals)


def pool_and_resize(maps: Tensor, *, grid: int) -> Tensor:
    """(B, C, H, W) -> (B, C, grid, grid): torch's own layers, in BTF's double precision."""
    smooth = F.avg_pool2d(maps.double(), 3, stride=1, padding=1, count_include_pad=False)
    return torch.nn.AdaptiveAvgPool2d(grid)(smooth)
