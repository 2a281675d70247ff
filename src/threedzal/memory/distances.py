"""Squared L2 distances as matrix products, in full float32 whatever the caller has switched on."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Keep float32 products in float32: no autocast, no TF32 or bfloat16 shortcuts; the caller's setting comes back."""
    before = torch.get_float32_matmul_precision()
    if before != "highest":
        torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        if before != "highest":
            torch.set_float32_matmul_precision(before)


def partial_squared_distances(
    points: Tensor, centres: Tensor, centre_norms: Tensor, *, out: Tensor | None = None
) -> Tensor:
    """`||p - c||^2 - ||p||^2` for every pair: all that is needed to compare centres for one point.

    Args:
        points: (N, D) float32.
        centres: (M, D) float32.
        centre_norms: (M,) float32, squared norms of `centres`.
        out: (N, M) float32 to write to.

    Returns:
        (N, M) float32. The expansion loses the digits below `1e-7 * ||p||^2`: shift both sets near the origin first.
    """
    return torch.addmm(centre_norms, points, centres.T, alpha=-2.0, out=out)
