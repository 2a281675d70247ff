"""The experts of `ThreeDZALPlus`: what a classifier is and sees, which patches it learns from, what it learns by."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from threedzal.errors import UserError
from threedzal.features.views import IMAGES

Likeness = Literal["rgb_similarity", "rgb_symmetry", "normals_similarity", "normals_symmetry"]
Input = Literal["rgb", "raw_rgb", "normals", "relief", "similarity", "symmetry", "fpfh", "point_cloud", Likeness]
INPUTS: tuple[str, ...] = get_args(Input)  # Literals in a Literal are flattened
OF_IMAGES = ("similarity", "symmetry")  # an expert's own: of each image that it sees


def check_expert(option: str, expert: tuple[str, ...]) -> None:
    """Raises UserError: `model.OPTION` has an expert that sees nothing, or what there is not."""
    of_none = set(OF_IMAGES) & set(expert) and not set(IMAGES) & set(expert)
    if not expert or set(expert) - set(INPUTS) or of_none:
        raise UserError(
            f"model.{option} has {list(expert)}, but an expert sees some of {', '.join(INPUTS)}, and similarity and "
            "symmetry only of rgb or normals beside them"
        )


def views_of(expert: tuple[str, ...]) -> list[str]:
    """The views that an expert's inputs are: `similarity` and `symmetry` are those of each image beside them."""
    images = [image for image in IMAGES if image in expert]
    return [v for name in expert for v in ([f"{i}_{name}" for i in images] if name in OF_IMAGES else [name])]


def make_classifier(width: int, *, hidden: int, dropout: float, input_dropout: float) -> nn.Sequential:
    """An MLP (N,width) -> (N,1) logits; few, strong regularisations, for it will judge what it never saw."""
    return nn.Sequential(
        nn.Dropout(input_dropout),
        nn.Linear(width, hidden),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, 1),
    )


def patch_labels(mask: Tensor, cells: Tensor, *, positive_share: float) -> tuple[Tensor, Tensor]:
    """Which patches are anomalous, and which are decided: both (B,P) bool.

    A patch with more than `positive_share` of its pixels in `mask` (B,1,H,W) bool is anomalous, one with none normal;
    between, and outside `cells` (B,P) bool, it is undecided.
    """
    share = F.adaptive_avg_pool2d(mask.float(), math.isqrt(cells.shape[1])).flatten(1)
    return share > positive_share, cells & ((share == 0) | (share > positive_share))


def chosen_patches(abnormal: Tensor, decided: Tensor, *, normals: int) -> Tensor:
    """(B,P) bool: of the decided patches of each scan all that are anomalous, and at most `normals` others, drawn."""
    order = torch.rand(decided.shape, device=decided.device).masked_fill(abnormal | ~decided, 2.0)
    rank = order.argsort(dim=1).argsort(dim=1)
    return decided & (abnormal | (rank < normals))


def balanced_loss(logits: Tensor, abnormal: Tensor, *, hard: float = 1.0) -> Tensor:
    """Binary cross-entropy of logits (N,) in which both classes weigh a half, however many there are of each.

    Half of what the normal patches weigh goes to the share `hard` of them that are judged worst: what is taken for a
    defect on a good part is rare among all its patches, and decides the low false-positive rates.
    """
    losses = F.binary_cross_entropy_with_logits(logits.float(), abnormal.float(), reduction="none")
    positive, negative = losses[abnormal], losses[~abnormal]
    if not len(negative):
        return 0.5 * positive.mean()
    worst = negative.topk(max(1, math.ceil(hard * len(negative)))).values
    of_normals = 0.5 * (negative.mean() + worst.mean())
    return 0.5 * (positive.mean() + of_normals) if len(positive) else 0.5 * of_normals
