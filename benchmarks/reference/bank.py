"""Memory bank: projection by scikit-learn, greedy k-center one row at a time, all distances, reweighting, the map."""

import numpy as np
import torch
from torch import Tensor


def sparse_projection(features: Tensor, *, eps: float, seed: int) -> np.ndarray:
    """(N, D) -> (N, d) by scikit-learn, as PatchCore and BTF project before they choose."""
    from sklearn.random_projection import SparseRandomProjection

    return SparseRandomProjection(eps=eps, random_state=seed).fit_transform(features.numpy())


def project_with(features: Tensor, matrix: Tensor) -> np.ndarray:
    """(N, D) -> (N, d) with given signs, as scikit-learn does it: a sparse matrix times a dense one."""
    from scipy.sparse import csr_matrix

    return (csr_matrix(matrix.numpy().T) @ features.numpy().T).T


def greedy_one_at_a_time(points: Tensor, steps: int, *, start: int) -> list[int]:
    """Float32 greedy k-center of points (N, d): BTF's loop. A step measures all rows to the last choice."""
    last = points[start : start + 1]
    nearest = torch.linalg.norm(points - last, dim=1, keepdim=True)
    nearest[start] = 0
    chosen = [start]
    for _ in range(steps - 1):
        nearest = torch.minimum(torch.linalg.norm(points - last, dim=1, keepdim=True), nearest)
        row = int(torch.argmax(nearest))
        last = points[row : row + 1]
        nearest[row] = 0
        chosen.append(row)
    return chosen


def nearest_rows(queries: Tensor, bank: Tensor) -> tuple[Tensor, Tensor]:
    """Distance (Q,) to the nearest row of the bank, and its number: all distances at once, as BTF has them."""
    distances = torch.cdist(queries, bank)
    return distances.min(1)


def reweighted(features: Tensor, distances: Tensor, rows: Tensor, bank: Tensor, *, neighbours: int) -> Tensor:
    """BTF's object score of one scan (P, D): the largest distance, times one minus a softmax over bank rows nearby."""
    worst = int(distances.argmax())
    query, nearest = features[worst : worst + 1], bank[rows[worst]][None]
    around = torch.topk(torch.cdist(nearest, bank), neighbours, largest=False).indices[0]
    to_around = torch.linalg.norm(query - bank[around], dim=1) / features.shape[1] ** 0.5
    share = torch.exp(distances[worst] / features.shape[1] ** 0.5) / torch.exp(to_around).sum()
    return (1 - share) * distances[worst]


def anomaly_map(distances: Tensor, *, size: int, sigma: float) -> np.ndarray:
    """Distances (P,) of a square grid -> (size, size): bilinear, then a Gaussian blur by SciPy."""
    from scipy.ndimage import gaussian_filter

    grid = round(len(distances) ** 0.5)
    square = distances.view(1, 1, grid, grid)
    return gaussian_filter(torch.nn.functional.interpolate(square, size=size, mode="bilinear")[0, 0].numpy(), sigma)
