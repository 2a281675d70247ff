"""Exact nearest neighbours of the points of an organised scan: every measured pixel against all the others.

On a CPU most neighbours are found in a window of pixels. That they are the true ones is proved point by point: seen
from the camera, whatever lies outside the window lies beyond one of four planes through the camera, and the farthest
neighbour found is nearer than any of these. Points without proof (rims, holes, sparse measurements) get a larger
window, then a k-d tree. On a GPU see `neighbours_torch.py`.
"""

import numpy as np
import torch
from torch import Tensor

from threedzal.features.neighbours_torch import nearest_on_grid
from threedzal.features.window_proof import distance_beyond

WINDOWS = (7, 11)  # pixels each way; 100 neighbours on a smooth surface are a disc of radius 6
BLOCK = 256  # points at a time: their candidates stay in cache


def nearest_neighbours(xyz: Tensor, valid: Tensor, *, count: int) -> tuple[Tensor, Tensor]:
    """The `count` other points nearest to each valid point, in no order.

    xyz (3, H, W) float64, valid (H, W) bool with N valid pixels -> rows (N, count) int64, counted over the valid pixels
    row by row, and squared distances (N, count) float64, infinite (and the row 0) where there are fewer points.
    """
    if xyz.device.type != "cpu":
        return nearest_on_grid(xyz, valid, count=count)
    points = xyz[:, valid].T.contiguous()  # [N, 3]
    rows, squared = _on_grid(points.numpy(), valid.numpy(), count=count)
    return torch.from_numpy(rows), torch.from_numpy(squared)


def nearest_of(rows: Tensor, squared: Tensor, *, count: int) -> tuple[Tensor, Tensor]:
    """The nearest `count` of the neighbours (N, k): rows and squared distances (N, min(count, k))."""
    if count >= rows.shape[1]:
        return rows, squared
    if rows.device.type != "cpu":
        squared, columns = squared.topk(count, largest=False, sorted=False)
    else:
        columns = torch.from_numpy(_columns_of_smallest(squared.numpy(), count))
        squared = squared.gather(1, columns)
    return rows.gather(1, columns), squared


def _on_grid(points: np.ndarray, valid: np.ndarray, *, count: int) -> tuple[np.ndarray, np.ndarray]:
    rows = np.zeros((len(points), count), np.int64)
    squared = np.full((len(points), count), np.inf)
    pending = np.arange(len(points))
    if len(points) > count and (points[:, 2] > 0).all():
        for window in WINDOWS:
            if (2 * window + 1) ** 2 > count:
                pending = _search_windows(points, valid, pending, window=window, rows=rows, squared=squared)
    if len(pending) and count:
        rows[pending], squared[pending] = _search_tree(points, pending, count=count)
    return rows, squared


def _search_windows(
    points: np.ndarray, valid: np.ndarray, pending: np.ndarray, *, window: int, rows: np.ndarray, squared: np.ndarray
) -> np.ndarray:
    """Fill rows and squared of the pending points whose neighbours are proved; return the others."""
    count = rows.shape[1]
    pad = [(window, window)] * 2
    number = np.pad(np.where(valid, np.cumsum(valid).reshape(valid.shape) - 1, 0), pad).ravel()
    axes = np.full((3, *valid.shape), np.inf)
    axes[:, valid] = points.T
    axes = [np.pad(axis, pad, constant_values=np.inf).ravel() for axis in axes]
    stride = valid.shape[1] + 2 * window
    offsets = (np.arange(-window, window + 1)[:, None] * stride + np.arange(-window, window + 1)).ravel()
    pixel_row, pixel_column = np.nonzero(valid)
    home = (pixel_row + window) * stride + pixel_column + window
    bound = distance_beyond(
        *(torch.from_numpy(array) for array in (points, pixel_row, pixel_column)), size=valid.shape, window=window
    ).numpy()
    unproved = []
    for start in range(0, len(pending), BLOCK):
        block = pending[start : start + BLOCK]
        candidates = home[block, None] + offsets
        distances = np.zeros(candidates.shape)
        for axis, here in zip(axes, points[block].T, strict=True):
            difference = axis.take(candidates)
            difference -= here[:, None]
            difference *= difference
            distances += difference
        distances[:, len(offsets) // 2] = np.inf  # the point itself
        farthest = np.partition(distances, count - 1, axis=1)[:, count - 1]
        proved = farthest <= bound[block] ** 2  # false where the farthest is infinite: too few in the window
        unproved.append(block[~proved])
        block, distances = block[proved], distances[proved]
        columns = _columns_of_smallest(distances, count, farthest=farthest[proved])
        squared[block] = np.take_along_axis(distances, columns, 1)
        rows[block] = number.take(home[block, None] + offsets.take(columns))
    return np.concatenate(unproved) if unproved else pending


def _columns_of_smallest(values: np.ndarray, count: int, *, farthest: np.ndarray | None = None) -> np.ndarray:
    """Columns (N, count) of the smallest of each row, in no order; several times faster than `argpartition`."""
    if farthest is None:
        farthest = np.partition(values, count - 1, axis=1)[:, count - 1]
    chosen = values <= farthest[:, None]
    tied = np.flatnonzero(chosen.sum(1) > count)  # at the last place: the first columns win
    if len(tied):
        first = np.argsort(values[tied], axis=1, kind="stable")[:, :count]
        chosen[tied] = False
        chosen[tied[:, None], first] = True
    return np.nonzero(chosen)[1].reshape(len(values), count)


def _search_tree(points: np.ndarray, pending: np.ndarray, *, count: int) -> tuple[np.ndarray, np.ndarray]:
    from scipy.spatial import cKDTree

    distances, rows = cKDTree(points).query(points[pending], count + 1, workers=1)
    others = rows != pending[:, None]
    others[others.all(1), -1] = False  # hidden behind equal points: any of them may stand for it
    distances, rows = (values[others].reshape(len(pending), count) for values in (distances, rows))
    return np.where(np.isinf(distances), 0, rows), distances**2
