"""Exact nearest neighbours of the points of an organised scan: every measured pixel against all the others.

On a CPU most neighbours are found in a window of pixels. That they are the true ones is proved point by point: seen
from the camera, whatever lies outside the window lies beyond one of four planes through the camera, and the farthest
neighbour found is nearer than any of these. Points without proof (rims, holes, sparse measurements) get a larger
window, then a k-d tree. With numba the windows are searched by `neighbours_loops.py`; on a GPU see
`neighbours_torch.py`.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from threedzal.compiled import has_numba
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
        return rows.gather(1, columns), squared
    near, distances = rows.numpy(), squared.numpy()
    if has_numba():
        from threedzal.features.neighbours_loops import nearest_of as compiled

        near, distances = compiled(near, distances, count)
    else:
        columns = _columns_of_smallest(distances, count)
        near, distances = (np.take_along_axis(array, columns, 1) for array in (near, distances))
    return torch.from_numpy(near), torch.from_numpy(distances)


def _on_grid(points: np.ndarray, valid: np.ndarray, *, count: int) -> tuple[np.ndarray, np.ndarray]:
    rows, squared = np.empty((len(points), count), np.int64), np.empty((len(points), count))
    pending = np.arange(len(points))
    if len(points) > count and (points[:, 2] > 0).all():
        if has_numba():
            from threedzal.features.neighbours_loops import search_windows
        else:
            search_windows = _search_windows
        grid = _Grid.of(points, valid, padding=max(WINDOWS))
        for window in WINDOWS:
            if (2 * window + 1) ** 2 > count:
                reach = grid.reach(points, pending, window)
                found = search_windows(
                    grid.axes, points, grid.home, grid.stride, window, reach, pending, rows, squared, grid.number
                )
                pending = pending[~found]
    if len(pending) and count:
        rows[pending], squared[pending] = _search_tree(points, pending, count=count)
    return rows, squared


@dataclass(frozen=True)
class _Grid:
    """The scan with a rim that nothing is measured in, row by row, so that windows need no check for the rim."""

    axes: np.ndarray  # (3, n) float64 coordinates, infinite where nothing is measured
    number: np.ndarray  # (n,) int64 rows of the points
    home: np.ndarray  # (N,) int64 places of the points
    stride: int  # of a row
    pixels: tuple[np.ndarray, np.ndarray]  # row and column of the points in the scan
    size: tuple[int, int]

    @classmethod
    def of(cls, points: np.ndarray, valid: np.ndarray, *, padding: int) -> "_Grid":
        height, width = (length + 2 * padding for length in valid.shape)
        row, column = np.nonzero(valid)
        home = (row + padding) * width + column + padding
        axes, number = np.full((3, height * width), np.inf), np.zeros(height * width, np.int64)
        axes[:, home], number[home] = points.T, np.arange(len(points))
        return cls(axes, number, home, width, (row, column), valid.shape)

    def reach(self, points: np.ndarray, pending: np.ndarray, window: int) -> np.ndarray:
        """For each of the pending points the squared distance, finite, up to which its window holds all points."""
        tensors = (torch.from_numpy(array) for array in (points, *self.pixels))
        bound = distance_beyond(*tensors, size=self.size, window=window, of=torch.from_numpy(pending))
        return bound.square().clamp(max=torch.finfo(bound.dtype).max).numpy()


def _search_windows(axes, points, home, stride, window, reach, pending, rows, squared, number) -> np.ndarray:
    """Arguments and result of `neighbours_loops.search_windows`."""
    count = rows.shape[1]
    offsets = (np.arange(-window, window + 1)[:, None] * stride + np.arange(-window, window + 1)).ravel()
    proofs = []
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
        proved = farthest <= reach[start : start + BLOCK]  # false where too few are in the window
        proofs.append(proved)
        block, distances = block[proved], distances[proved]
        columns = _columns_of_smallest(distances, count, farthest=farthest[proved])
        squared[block] = np.take_along_axis(distances, columns, 1)
        rows[block] = number.take(home[block, None] + offsets.take(columns))
    return np.concatenate(proofs) if proofs else np.zeros(0, dtype=bool)


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
