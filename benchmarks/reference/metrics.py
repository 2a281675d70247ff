"""AUPRO by its definition as the MVTec evaluation code computes it, and pixel AUROC by scikit-learn."""

import numpy as np


def aupro(maps: np.ndarray, truth: np.ndarray, *, max_fpr: float) -> float:
    """Area under the PRO curve of maps (B, H, W) with truth (B, H, W) bool: all pixels sorted, changes summed up."""
    from scipy.ndimage import label

    structure = np.ones((3, 3), dtype=int)
    normal = ~truth
    false_change = normal / normal.sum()
    overlap_change = np.zeros(maps.shape)
    regions = 0
    for overlap, mask in zip(overlap_change, truth, strict=True):
        labelled, count = label(mask, structure=structure)
        for region in range(1, count + 1):
            inside = labelled == region
            overlap[inside] = 1 / inside.sum()
        regions += count
    order = np.argsort(maps.ravel())[::-1]
    scores = maps.ravel()[order]
    fpr = np.cumsum(false_change.ravel()[order])
    pro = np.cumsum(overlap_change.ravel()[order]) / regions
    keep = np.append(np.diff(scores) != 0, True)  # equal scores pass together
    fpr, pro = np.append(0, fpr[keep]), np.append(0, pro[keep])
    inside = fpr <= max_fpr
    area = np.trapezoid(pro[inside], fpr[inside])
    if not inside.all():  # from the last corner inside to the limit
        i = int(inside.sum())
        at_limit = pro[i - 1] + (pro[i] - pro[i - 1]) * (max_fpr - fpr[i - 1]) / (fpr[i] - fpr[i - 1])
        area += (pro[i - 1] + at_limit) / 2 * (max_fpr - fpr[i - 1])
    return float(area / max_fpr)


def pixel_auroc(maps: np.ndarray, truth: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(truth.ravel(), maps.ravel()))
