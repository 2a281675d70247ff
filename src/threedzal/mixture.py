"""How the log-odds of several experts become one: an expert that is loud all over a scan has less to say on it.

An expert that was learned on some products and sees another may find unusual what is only new to it: its log-odds then
spread over most of the scan, and drown what the others say of a few patches. How far they usually spread on normal
patches is known from training. So each counts on a scan as much as the scan's bulk is as calm as usual.
"""

from __future__ import annotations

import torch
from torch import Tensor

_BULK = (0.5, 0.8)  # between these quantiles: the half below tells nothing of defects, and these may be a fifth
_CALMEST = 0.1  # of the usual spread: a scan that is calmer does not make one expert the only one


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


def mix(log_odds: Tensor, cells: Tensor, usual: Tensor | None = None) -> Tensor:
    """The mean of all experts' log-odds, each weighed by its usual spread over its spread on this scan.

    Args:
        log_odds: (B,E,P). cells: (B,P) bool, the object's.
        usual: (E,), the `bulk_spread` of each expert on normal patches of its training; None: all weigh the same.

    Returns:
        (B,P) float32.
    """
    log_odds = log_odds.float()
    if usual is None:
        return log_odds.mean(dim=1)
    usual = usual.float().clamp(min=torch.finfo(torch.float32).tiny)
    weights = usual / torch.maximum(bulk_spread(log_odds, cells), _CALMEST * usual)
    return (weights[..., None] * log_odds).sum(dim=1) / weights.sum(dim=1, keepdim=True)
