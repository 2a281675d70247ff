"""The training losses of sections 3.2 and 3.3: contrastive (1), representation disentanglement (2), normalcy (3)."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def contrastive_loss(
    embeddings: Tensor,
    abnormal: Tensor,
    *,
    temperature: float = 0.07,
    denominator: Literal["negatives", "all"] = "negatives",
    reduction: Literal["mean", "sum"] = "mean",
) -> Tensor:
    """Eq. (1): draw normal patches together, push pseudo anomalies away.

    For a normal patch j, with s the cosine similarity, P(j) the other normal patches and N(j) the pseudo anomalies:
    `l_j = -1/|P(j)| sum_{p in P(j)} log( exp(s_jp / T) / sum_{n in N(j)} exp(s_jn / T) )`.

    The value may be negative: with `negatives` the numerator is no part of the denominator.

    Args:
        embeddings: (N, C) floating point, of both kinds of patches; computed in float32 or better.
        abnormal: (N,) bool, True for pseudo anomalies (the paper's negatives).
        temperature: T.
        denominator: `negatives`, as printed, or `all` patches but j itself (supervised contrastive learning).
        reduction: over j. `sum` is the paper's letter, but its weight against the other losses grows with the batch;
            `mean` does not.

    Returns:
        0-d tensor. 0, with a gradient of zeros, where the loss has no term: fewer than two normal patches, or no
        pseudo anomaly in a denominator of `negatives`.

    Raises:
        ValueError: shapes that do not belong together, an unknown option.
    """
    _check_rows("contrastive_loss", embeddings, abnormal)
    if denominator not in ("negatives", "all") or reduction not in ("mean", "sum"):
        raise ValueError(
            f"contrastive_loss: got denominator {denominator!r} and reduction {reduction!r}; "
            "wanted negatives or all, and mean or sum."
        )
    abnormal = abnormal.bool()
    positives = int((~abnormal).sum())
    if positives < 2 or (denominator == "negatives" and positives == len(abnormal)):
        return embeddings.sum() * 0.0
    with torch.autocast(embeddings.device.type, enabled=False):  # bfloat16 similarities divided by 0.07 are too coarse
        unit = F.normalize(_at_least_float32(embeddings), dim=1)
        normal, negative = unit[~abnormal], unit[abnormal]
        to_positives = normal @ normal.T / temperature  # [P, P]
        to_negatives = normal @ negative.T / temperature  # [P, N - P]
        itself = torch.eye(positives, dtype=torch.bool, device=unit.device)
        numerator = to_positives.masked_fill(itself, 0.0).sum(1) / (positives - 1)
        if denominator == "all":
            others = torch.cat([to_positives.masked_fill(itself, -torch.inf), to_negatives], dim=1)
        else:
            others = to_negatives
        terms = others.logsumexp(1) - numerator  # [P]
    return terms.mean() if reduction == "mean" else terms.sum()


def disentanglement_loss(embeddings: Tensor, fpfh: Tensor) -> Tensor:
    """Eq. (2): mean cosine between E_theta(x) and FPFH F(x), to be minimised: learn what FPFH does not say.

    The paper's sizes differ by one (32 and 33), so the shorter vector is padded with zeros. Rows whose FPFH is all
    zeros have no descriptor (pseudo anomalies, cells without points) and do not count.

    Args:
        embeddings: (N, 32) floating point.
        fpfh: (N, 33) floating point.

    Returns:
        0-d tensor in [-1, 1]; 0, with a gradient of zeros, where no row has a descriptor.

    Raises:
        ValueError: not two matrices with as many rows.
    """
    if embeddings.ndim != 2 or fpfh.ndim != 2 or len(embeddings) != len(fpfh):
        raise ValueError(
            f"disentanglement_loss: got shapes {tuple(embeddings.shape)} and {tuple(fpfh.shape)}; "
            "wanted two matrices with one row a patch."
        )
    described = fpfh.ne(0).any(1)
    if not described.any():
        return embeddings.sum() * 0.0
    learned, known = _at_least_float32(embeddings[described]), _at_least_float32(fpfh[described])
    width = max(learned.shape[1], known.shape[1])
    learned, known = (F.pad(x, (0, width - x.shape[1])) for x in (learned, known))
    return (F.normalize(learned, dim=1) * F.normalize(known, dim=1)).sum(1).mean()


def normalcy_loss(logits: Tensor, abnormal: Tensor, *, class_balance: bool = True) -> Tensor:
    """Eq. (3): binary cross-entropy of C_w on the softmax probability of class 1, abnormal.

    Args:
        logits: (N, 2) floating point; column 1 is abnormal.
        abnormal: (N,) bool, True for pseudo anomalies.
        class_balance: weight the classes so that each has half of the sum however many patches it has (each patch of
            class c weighs `N / (2 N_c)`; with one class alone all weigh 1). False: every patch weighs 1, as printed.

    Returns:
        0-d tensor; 0, with a gradient, for an empty batch.

    Raises:
        ValueError: shapes that do not belong together.
    """
    _check_rows("normalcy_loss", logits, abnormal)
    if logits.shape[1] != 2:
        raise ValueError(f"normalcy_loss: got logits of shape {tuple(logits.shape)}; wanted (patches, 2).")
    if len(logits) == 0:
        return logits.sum() * 0.0
    abnormal = abnormal.bool()
    entropy = F.cross_entropy(_at_least_float32(logits), abnormal.long(), reduction="none")  # [N]
    if not class_balance:
        return entropy.mean()
    classes = [entropy[kind] for kind in (~abnormal, abnormal) if kind.any()]
    return torch.stack([part.mean() for part in classes]).mean()


def _at_least_float32(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


def _check_rows(name: str, values: Tensor, abnormal: Tensor) -> None:
    if values.ndim != 2 or abnormal.shape != values.shape[:1]:
        raise ValueError(
            f"{name}: got shapes {tuple(values.shape)} and {tuple(abnormal.shape)}; "
            "wanted one row a patch and one flag a patch."
        )
