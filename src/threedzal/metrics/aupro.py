"""Area under the per-region overlap curve, as the MVTec 3D-AD evaluation defines it, without its sampled thresholds."""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from threedzal.metrics.ranking import Ranking, area, curve, rank, select, sorted_scores

NO_CURVE = "AUPRO is not defined without both a defective and a defect-free pixel; it is NaN."


def aupro(preds: Tensor, target: Tensor, max_fpr: float = 0.3, *, roi: Tensor | None = None) -> Tensor:
    """Area under the PRO curve up to a false-positive rate of `max_fpr`, divided by `max_fpr`.

    The overlap is averaged over the connected regions (8 neighbours) of all maps, each counting the same; the
    false-positive rate is over the defect-free pixels of all maps. Exact: every distinct score is a threshold, equal
    scores pass together, and the curve is straight between thresholds.

    Args:
        preds: (B, H, W) anomaly maps, any range, no NaN.
        target: (B, H, W) bool or integers, non-zero where defective.
        max_fpr: integration limit, above 0, at most 1.
        roi: (B, H, W) bool: object-only AUPRO. Only defect-free pixels in it count for the false-positive rate;
            regions stay whole, in it or not.

    Returns:
        0-d float32 tensor in [0, 1]; NaN, with a warning, where there is no defective or no defect-free pixel.

    Raises:
        ValueError: shapes that differ, NaN in the maps, a limit out of range.
    """
    _validate_limit(max_fpr)
    fpr, pro = pro_curve(preds, target, roi=roi)
    return _with_warning(area(fpr, pro, limit=max_fpr).float())


def pro_curve(preds: Tensor, target: Tensor, *, roi: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The PRO curve at its corners, from (0, 0) to (1, 1): arguments as in `aupro`.

    Returns:
        fpr, pro: (V,) float64, both ascending. One NaN pair where there is no curve.
    """
    normal, defective, sizes = split_pixels(preds, target, roi=roi)
    return curve(rank_regions(sorted_scores(normal, overwrite=True), defective, sizes))


class AUPRO(Metric):
    """`aupro` over batches and processes; exact, and any process may be without a scan.

    Example:
        >>> metric = AUPRO(max_fpr=0.3)
        >>> metric.update(torch.rand(2, 32, 32), torch.rand(2, 32, 32) > 0.9)
        >>> metric.compute().shape
        torch.Size([])
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    normal: list[Tensor]
    defective: list[Tensor]
    sizes: list[Tensor]

    def __init__(self, max_fpr: float = 0.3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        _validate_limit(max_fpr)
        self.max_fpr = max_fpr
        # Flat float32 lists only: torchmetrics makes up for a process without any by an empty 1-D float32 tensor.
        for name in ("normal", "defective", "sizes"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, preds: Tensor, target: Tensor, roi: Tensor | None = None) -> None:
        """Add maps; arguments as in the function `aupro`. The sizes of maps may differ between updates."""
        normal, defective, sizes = split_pixels(preds.float(), target, roi=roi)
        self.normal.append(normal)
        self.defective.append(defective)
        self.sizes.append(sizes)

    def compute(self) -> Tensor:
        """0-d float32 tensor, as the function `aupro`."""
        normal, defective, sizes = (
            dim_zero_cat(state) if len(state) else torch.zeros(0, device=self.device)
            for state in (self.normal, self.defective, self.sizes)
        )
        corners = curve(rank_regions(sorted_scores(normal), defective, sizes))
        return _with_warning(area(*corners, limit=self.max_fpr).float())


def split_pixels(preds: Tensor, target: Tensor, *, roi: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Maps (B, H, W) to what the curve needs: arguments as in `aupro`.

    Returns:
        normal (n,): scores of the defect-free pixels that count; defective (m,): scores of the defective pixels;
        sizes (m,) float32: how many pixels the region of each of them has.
    """
    _validate_maps(preds, target, roi)
    defective = target.bool()  # no copy where it is bool
    normal = ~defective if roi is None else ~defective & roi.bool()
    sizes = _sizes_of_defective(defective)[1]
    return select(preds, normal), select(preds, defective), sizes.to(preds.device)


def region_sizes(target: Tensor) -> Tensor:
    """(B, H, W) bool or integers -> (B, H, W) float32: the pixels of the 8-connected region here, 0 where none is."""
    defective = target.bool()  # no copy where it is bool
    sizes = torch.zeros(target.numel(), dtype=torch.float32)
    pixels, values = _sizes_of_defective(defective)
    sizes[pixels] = values
    return sizes.view(target.shape).to(target.device)


def _sizes_of_defective(mask: Tensor) -> tuple[Tensor, Tensor]:
    """(B, H, W) bool -> the flat index (m,) of each defective pixel, and the size (m,) float32 of its region.

    Connected components of runs, the stretches of defective pixels in a row: defects are few pixels among many, and the
    rest of the picture is only looked at once.
    """
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pixels = np.flatnonzero(mask.cpu().numpy())
    if len(pixels) == 0:
        return torch.zeros(0, dtype=torch.int64), torch.zeros(0)
    height, width = mask.shape[1:]
    row, column = np.divmod(pixels, width)
    stride = width + 2  # an empty column on either side and an empty row between maps: nothing touches across them
    place = (row + row // height) * stride + column + 1
    breaks = np.diff(place) != 1
    first, last = place[np.append(True, breaks)], place[np.append(breaks, True)]
    # the runs of the next row that touch run i, diagonally too, are those from low[i] on, before high[i]
    low = np.searchsorted(last, first + stride - 1)
    high = np.searchsorted(first, last + stride + 1, side="right")
    touching = high - low
    upper = np.repeat(np.arange(len(first)), touching)
    lower = np.arange(touching.sum()) + np.repeat(low - np.cumsum(touching) + touching, touching)
    graph = coo_array((np.ones(len(upper), bool), (upper, lower)), shape=(len(first), len(first)))
    region = connected_components(graph, directed=False)[1]
    length = last - first + 1
    size = np.bincount(region, weights=length).astype(np.float32)
    return torch.from_numpy(pixels), torch.from_numpy(np.repeat(size[region], length))


def rank_regions(normal: Tensor | Sequence[Tensor], defective: Tensor, sizes: Tensor) -> Ranking:
    """Ranking whose gain is the overlap summed over regions: every pixel counts 1 / (size of its region).

    Args:
        normal: (n,) ascending, or several such; defective, sizes: (m,) as `split_pixels` gives them.
    """
    return rank(normal, defective, 1.0 / sizes.double())


def _with_warning(value: Tensor) -> Tensor:
    if value.isnan():
        warnings.warn(NO_CURVE, stacklevel=3)
    return value


def _validate_limit(max_fpr: float) -> None:
    if not 0.0 < max_fpr <= 1.0:
        raise ValueError(f"aupro: got max_fpr {max_fpr}; wanted a number above 0 and at most 1.")


def _validate_maps(preds: Tensor, target: Tensor, roi: Tensor | None) -> None:
    shapes = [tuple(t.shape) for t in (preds, target, roi) if t is not None]
    if preds.ndim != 3 or len(set(shapes)) != 1:
        raise ValueError(f"aupro: got shapes {shapes}; wanted maps, truth and roi of one shape (B, H, W).")
    if not preds.is_floating_point():
        raise ValueError(f"aupro: got maps of {preds.dtype}; wanted floating-point scores.")
    if preds.numel() and preds.amax().isnan():  # a maximum keeps NaN
        raise ValueError("aupro: the anomaly maps hold NaN; scores must be numbers.")
