"""How the log-odds of several experts make the score of a scan: one that is loud all over a scan has less to say on it.

An expert that was learned on some products and sees another may find unusual what is only new to it: its log-odds then
spread over most of the scan, and drown what the others say of a few patches.
"""

from __future__ import annotations

import torch
from torch import Tensor

_BULK = (0.5, 0.8)  # between these quantiles: the half below tells nothing of defects, and these may be a fifth
_CALMEST = 0.02  # log-odds: a scan that is calmer does not make one expert the only one


def bulk_spread(log_odds: Tensor, cells: Tensor) -> Tensor:
    """From the median of a scan's patches to their 80 % quantile, by each expert.

    Args:
        log_odds: (B,E,P) of E experts. cells: (B,P) bool, which patches count.

    Returns:
        (B,E) float32, at least 0; 0 where no patch of a scan counts.
    """
    spread = log_odds.new_zeros(log_odds.shape[:2], dtype=torch.float32)
    quantiles = spread.new_tensor(_BULK)
    for row, values, inside in zip(spread, log_odds.float(), cells, strict=True):
        if inside.any():
            median, high = values[:, inside].quantile(quantiles, dim=1)
            row.copy_(high - median)
    return spread


def mix(log_odds: Tensor, cells: Tensor) -> Tensor:
    """The mean of the experts' log-odds (B,E,P), each weighed by the inverse root of its `bulk_spread`: (B,P) float32.

    The root, since a spread is of both: with the inverse itself, what an expert says in whole log-odds would not count
    at all, but only which of its patches it finds the more unusual; with equal weights the loudest decides.

    Args:
        cells: (B,P) bool, the object's.
    """
    weights = bulk_spread(log_odds, cells).clamp(min=_CALMEST).rsqrt()
    return (weights[..., None] * log_odds.float()).sum(dim=1) / weights.sum(dim=1, keepdim=True)
