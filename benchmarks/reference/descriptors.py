"""A scan from its files, cleaning by RANSAC and DBSCAN on points, FPFH by Open3D, pooling by torch's layers."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def read_scan(xyz_path, rgb_path) -> tuple[np.ndarray, np.ndarray]:
    """(h, w, 3) float32 metres and (h, w, 3) uint8."""
    import tifffile
    from PIL import Image

    return tifffile.imread(xyz_path), np.asarray(Image.open(rgb_path).convert("RGB"))


def resize(xyz: np.ndarray, rgb: np.ndarray, *, size: int) -> tuple[Tensor, Tensor]:
    """Points (1, 3, size, size), the nearest ones, and the picture, bicubic and normalised as for ImageNet."""
    from PIL import Image

    points = F.interpolate(torch.from_numpy(xyz).permute(2, 0, 1)[None], size=(size, size), mode="nearest")
    picture = torch.from_numpy(np.array(Image.fromarray(rgb).resize((size, size), Image.Resampling.BICUBIC)))
    mean, std = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))
    return points, ((picture / 255 - mean) / std).permute(2, 0, 1)[None]


def remove_background(xyz: np.ndarray) -> np.ndarray:
    """(h, w, 3) metres -> the same, zero where the table is: BTF's recipe with Open3D, on every point."""
    import open3d

    measured = (xyz != 0).any(2)
    border = np.ones(measured.shape, dtype=bool)
    border[10:-10, 10:-10] = False
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(xyz[measured & border]))
    plane, _ = cloud.segment_plane(distance_threshold=0.004, ransac_n=3, num_iterations=1000)
    points = xyz[measured]
    off_plane = np.abs(points @ plane[:3] + plane[3]) > 0.005
    kept = measured.copy()
    kept[measured] = off_plane
    kept[kept] = largest_dbscan_cluster(xyz[kept], radius=0.006, min_points=30)
    return xyz * kept[..., None]


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
    """(B, C, H, W) -> (B, C, grid, grid): torch's own layers; BTF's FPFH comes in double precision."""
    smooth = F.avg_pool2d(maps, 3, stride=1, padding=1, count_include_pad=False)
    return torch.nn.AdaptiveAvgPool2d(grid)(smooth)
