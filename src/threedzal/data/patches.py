"""Grid cells and point patches: one sampler for training, bank and test (method of the paper's sections 3.1 and 3.2).

A patch is the `k` measured points nearest, in 3D, to an anchor. Normal patches, pseudo anomalies and the patches of a
test scan all come from `nearest_rows`: were normal patches cut from the pixel grid and pseudo anomalies by distance,
the networks would learn "square or disc" and nothing else.
"""

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from threedzal.data.scan import ScanPreparation

PatchScale = Literal["unit", "scan", "metric"]

# `patch_scale: metric` multiplies metres by this. A patch of 64 points of a 224-pixel cable gland has a radius of 2 to
# 4 mm (median 2.3), so the numbers that enter the networks stay near 1, as with the other scales.
METRIC_SCALE = 400.0
_NO_RADIUS = 1e-9  # metres; a patch smaller than this is one point repeated


def split_cells(image: Tensor, *, patch_size: int) -> Tensor:
    """`(C, H, W)` -> `(P, patch_size**2, C)`, cells row-major, pixels row-major within a cell.

    Raises:
        ValueError: the image is no whole number of cells.
    """
    channels, height, width = image.shape
    if height % patch_size or width % patch_size:
        raise ValueError(f"an image of {height}x{width} pixels is no whole number of {patch_size}x{patch_size} cells")
    cells = image.reshape(channels, height // patch_size, patch_size, width // patch_size, patch_size)
    return cells.permute(1, 3, 2, 4, 0).reshape(-1, patch_size * patch_size, channels)


def cell_anchors(xyz: Tensor, valid: Tensor, *, patch_size: int, min_valid_points: int) -> tuple[Tensor, Tensor]:
    """The anchor of every grid cell: its measured point closest to the centroid of its measured points.

    Args:
        xyz: `(3, H, W)` float32, metres.
        valid: `(H, W)` bool.

    Returns:
        anchors `(P, 3)` float32, zeros where `cells` is False; cells `(P,)` bool: `min_valid_points` valid pixels or
        more.
    """
    points = split_cells(xyz, patch_size=patch_size)  # [P, S, 3]
    inside = split_cells(valid[None], patch_size=patch_size)[..., 0]  # [P, S]
    count = inside.sum(dim=1)
    cells = count >= max(min_valid_points, 1)
    centroid = (points * inside[..., None]).sum(dim=1) / count.clamp(min=1)[:, None]
    distance = (points - centroid[:, None]).square().sum(dim=-1).masked_fill(~inside, torch.inf)
    anchors = points[torch.arange(len(points)), distance.argmin(dim=1)]
    return anchors * cells[:, None], cells


def nearest_rows(tree, anchors: np.ndarray, *, k: int) -> np.ndarray:
    """`(A, k)` int64: rows of a cKDTree's `k` points nearest to each of `anchors (A, 3)`, the nearest first.

    Where the tree has fewer than `k` points they are repeated from the nearest on.
    """
    available = min(k, tree.n)
    rows = tree.query(anchors, k=np.arange(1, available + 1))[1]  # a list of ranks keeps the last axis, also for one
    return rows[:, np.arange(k) % available].astype(np.int64)


def nearest_patches(points: Tensor, anchors: Tensor, *, k: int = 64) -> Tensor:
    """Rows of the `k` of `points (N, 3)` nearest to each of `anchors (A, 3)`: `(A, k)` int64, the nearest first.

    Where N < k the points are repeated, from the nearest on.

    Raises:
        ValueError: there are no points.
    """
    from scipy.spatial import cKDTree

    if len(points) == 0:
        raise ValueError("nearest_patches wants at least one point, got none")
    if len(anchors) == 0:
        return torch.zeros((0, k), dtype=torch.int64)
    tree = cKDTree(points.double().numpy())
    return torch.from_numpy(nearest_rows(tree, anchors.double().numpy(), k=k))


def patch_radii(patches: Tensor) -> Tensor:
    """`(A,)`: the largest distance from the centroid in each of `patches (A, K, 3)`."""
    return _centred(patches).norm(dim=-1).amax(dim=1)


def normalise_patches(patches: Tensor, *, scale: PatchScale = "unit", radius: float | None = None) -> Tensor:
    """Patches as the networks see them: centred on their centroid, and scaled.

    Args:
        patches: `(A, K, 3)`, metres.
        scale: `unit`: by each patch's own largest distance from its centroid (unit ball); `scan`: by `radius`;
            `metric`: metres times `METRIC_SCALE`, so that size and sensor density stay visible.
        radius: for `scan` only, metres: the median radius of the scan's normal patches; by default the median of these.

    Returns:
        `(A, K, 3)`, the dtype of `patches`. A patch that is one point repeated becomes zeros.
    """
    centred = _centred(patches)
    if scale == "metric":
        return centred * METRIC_SCALE
    radii = centred.norm(dim=-1).amax(dim=1)  # [A]
    if scale == "scan":
        common = float(radii.median()) if radius is None and len(radii) else (radius or 0.0)
        radii = torch.full_like(radii, common)
    elif scale != "unit":
        raise ValueError(f"patch_scale is 'unit', 'scan' or 'metric', got {scale!r}")
    scaled = centred / radii.clamp(min=_NO_RADIUS)[:, None, None]
    return torch.where((radii > _NO_RADIUS)[:, None, None], scaled, torch.zeros_like(scaled))


def cell_patches(xyz: Tensor, valid: Tensor, cells: Tensor, *, patch_size: int, k: int) -> Tensor:
    """The paper's letter (`patch_source: grid`): the pixels of each of `cells`, `(A, k, 3)` metres.

    `cells` is `(P,)` bool or `(A,)` int64. Pixels without a measurement are replaced by repeating the cell's measured
    points; with more than `k` measured points in a cell, `k` of them are taken at even steps.
    """
    points = split_cells(xyz, patch_size=patch_size)[cells]  # [A, S, 3]
    inside = split_cells(valid[None], patch_size=patch_size)[cells][..., 0]  # [A, S]
    measured_first = (~inside).int().argsort(dim=1, stable=True)
    count = inside.sum(dim=1, keepdim=True)  # [A, 1]
    step = torch.arange(k)[None]
    pick = torch.where(count > k, step * count // k, step % count.clamp(min=1))
    rows = measured_first.gather(1, pick)
    return points.gather(1, rows[..., None].expand(-1, -1, 3))


def metric_grid_patches(xyz: Tensor, valid: Tensor, *, preparation: "ScanPreparation") -> tuple[Tensor, Tensor]:
    """The patches of the object cells only, in metres: `(A, K, 3)` with A = cells.sum(), and cells `(P,)` bool."""
    k, size = preparation.points_per_patch, preparation.patch_size
    anchors, cells = cell_anchors(xyz, valid, patch_size=size, min_valid_points=preparation.min_valid_points)
    if preparation.patch_source == "grid":
        return cell_patches(xyz, valid, cells, patch_size=size, k=k), cells
    if preparation.patch_source != "neighbours":
        raise ValueError(f"patch_source is 'neighbours' or 'grid', got {preparation.patch_source!r}")
    if not cells.any():
        return xyz.new_zeros(0, k, 3), cells
    points = xyz[:, valid].T  # [N, 3]
    return points[nearest_patches(points, anchors[cells], k=k)], cells


def grid_patches(xyz: Tensor, valid: Tensor, *, preparation: "ScanPreparation") -> tuple[Tensor, Tensor]:
    """The normalised point patch of every grid cell of a scan.

    Args:
        xyz: `(3, H, W)` float32, metres. valid: `(H, W)` bool.

    Returns:
        patches `(P, K, 3)` float32, zeros where `cells` is False; cells `(P,)` bool, the object cells, row-major.
    """
    metric, cells = metric_grid_patches(xyz, valid, preparation=preparation)
    patches = xyz.new_zeros(len(cells), preparation.points_per_patch, 3)
    patches[cells] = normalise_patches(metric, scale=preparation.patch_scale)
    return patches, cells


def scan_radius(xyz: Tensor, valid: Tensor, *, preparation: "ScanPreparation") -> float:
    """Metres: the median radius of the scan's grid patches, the divisor of `patch_scale: scan`."""
    metric, _ = metric_grid_patches(xyz, valid, preparation=preparation)
    return float(patch_radii(metric).median()) if len(metric) else 0.0


def untile(values: Tensor, grid: int) -> Tensor:
    """One value a patch back on the grid: `(B, P)` -> `(B, 1, grid, grid)`, row-major.

    Raises:
        ValueError: P is not grid * grid.
    """
    if values.ndim != 2 or values.shape[1] != grid * grid:
        raise ValueError(f"untile wants (B, {grid * grid}) values for a {grid}x{grid} grid, got {tuple(values.shape)}")
    return values.reshape(len(values), 1, grid, grid)


def _centred(patches: Tensor) -> Tensor:
    # First to a point of the patch, which is exact: a mean taken 0.6 m from the camera is off by 1e-4 patch radii.
    near = patches - patches[:, :1]
    return near - near.mean(dim=1, keepdim=True)
