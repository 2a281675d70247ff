"""Anomaly scores, eqs. (4) to (12): pure functions from features, patches and a bank to maps and object scores.

Shapes: B scans, P = G * G grid cells in row-major order, D numbers a feature, K points a patch, H x W pixels a map.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from threedzal.maps import realign
from threedzal.memory.bank import MemoryBank

Classifier = Callable[[Tensor], Tensor]  # (N, K, 3) points -> (N, 2) logits, column 1 abnormal


@dataclass(frozen=True)
class Scores:
    """The two raw scores of B scans: maps (B, H, W) and object scores (B,), float32."""

    distance_map: Tensor
    distance: Tensor
    classification_map: Tensor
    classification: Tensor


@dataclass(frozen=True)
class ScoreScales:
    """What each raw score is divided by before eqs. (11) and (12): its mean on the training class's good scans."""

    distance_map: float = 1.0
    distance: float = 1.0
    classification_map: float = 1.0
    classification: float = 1.0

    @classmethod
    def measured(cls, scores: Scores) -> "ScoreScales":
        """Means over all pixels, or scans, of good validation scans; 1 where a mean is not above 0."""
        means = {name: getattr(scores, name).double().mean().item() for name in cls.__dataclass_fields__}
        return cls(**{name: mean if mean > 0.0 and math.isfinite(mean) else 1.0 for name, mean in means.items()})

    @classmethod
    def spread(cls, scores: Scores, object: Tensor) -> "ScoreScales":
        """Standard deviations over the pixels on the object (B, H, W), or over scans; 1 where there is none.

        A mean says little of a probability that is near 0 on what the classifier knows; the spread does.
        """
        values = {
            name: getattr(scores, name)[object] if name.endswith("_map") else getattr(scores, name)
            for name in cls.__dataclass_fields__
        }
        spreads = {name: v.double().std(correction=0).item() if len(v) else 0.0 for name, v in values.items()}
        return cls(**{name: value if value > 0.0 else 1.0 for name, value in spreads.items()})

    def apply(self, scores: Scores) -> Scores:
        """The scores, each divided by its scale."""
        return Scores(**{name: getattr(scores, name) / getattr(self, name) for name in self.__dataclass_fields__})


@dataclass(frozen=True)
class ScoreWeights:
    """`(w_d, w_c)` of eq. (11), for maps, and of eq. (12), for object scores; the paper has one pair for both."""

    map: tuple[float, float] = (1.0, 1.0)
    score: tuple[float, float] = (1.0, 1.0)


def fuse(scores: Scores, *, weights: ScoreWeights, scales: ScoreScales) -> tuple[Tensor, Tensor]:
    """Eqs. (11) and (12): `w_d * S_dist + w_c * S_cls`, each score divided by its scale: (B, H, W) and (B,)."""
    scaled = scales.apply(scores)
    (map_d, map_c), (score_d, score_c) = weights.map, weights.score
    fused_map = map_d * scaled.distance_map + map_c * scaled.classification_map
    return fused_map, score_d * scaled.distance + score_c * scaled.classification


def distance_scores(
    features: Tensor,
    bank: MemoryBank,
    *,
    size: tuple[int, int],
    neighbours: int = 3,
    reweight_temperature: Literal["sqrt_dim", "one"] = "sqrt_dim",
    reweight_nearest: Literal["included", "left_out"] = "included",
    sigma: float = 4.0,
    precision: Literal["float", "8bit"] = "float",
    cells: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Eqs. (4) to (7): the distance map (B, H, W) and object score (B,).

    Args:
        features: (B, P, D), f(x) of every grid cell.
        bank: the memory bank M.
        size: (H, W) of the map.
        neighbours: b of eq. (6); 1 switches the reweighting off (as printed it would make every score 0).
        reweight_temperature: distances in eq. (6)'s exponents are divided by sqrt(D), or by one as printed.
        reweight_nearest: whether `f*` is among its own b neighbours in eq. (6)'s sum; BTF's code has it left out.
        sigma: of the blur, in map pixels.
        precision: of the map that is blurred; see `realign`.
        cells: (B, P) bool, the cells that compete for the object score; None: all. The map is of all.
    """
    batch, patches, width = features.shape
    distances, rows = bank.search(features.reshape(-1, width), 1)  # [B * P, 1]
    distances, rows = distances.view(batch, patches), rows.view(batch, patches)
    score = reweighted_score(
        features,
        distances,
        rows,
        bank,
        neighbours=neighbours,
        reweight_temperature=reweight_temperature,
        reweight_nearest=reweight_nearest,
        cells=cells,
    )
    return realign(distances, size=size, sigma=sigma, precision=precision), score


def reweighted_score(
    features: Tensor,
    distances: Tensor,
    rows: Tensor,
    bank: MemoryBank,
    *,
    neighbours: int = 3,
    reweight_temperature: Literal["sqrt_dim", "one"] = "sqrt_dim",
    reweight_nearest: Literal["included", "left_out"] = "included",
    cells: Tensor | None = None,
) -> Tensor:
    """Eqs. (4) to (6): `(1 - exp(|f(x*) - f*| / t) / sum_{f in N_b(f*)} exp(|f(x*) - f| / t)) * S*`, (B,) float32.

    `x*` is the cell farthest from the bank, `f*` its nearest row, `N_b(f*)` the b rows nearest to `f*`, itself among
    them. The fraction is the exponential of a difference of logarithms: it cannot overflow.

    Args:
        features: (B, P, D); distances, rows: (B, P), the nearest row of each cell; the rest as `distance_scores`.

    Returns:
        (B,) float32; 0 for a scan in which no cell competes.
    """
    if reweight_temperature not in ("sqrt_dim", "one"):
        raise ValueError(f"reweight_temperature: got {reweight_temperature!r}; wanted sqrt_dim or one.")
    competing = distances if cells is None else distances.masked_fill(~cells, -1.0)
    farthest, worst = competing.max(1)  # S*, [B]
    score = farthest.clamp(min=0.0)
    if neighbours == 1:
        return score
    scans = torch.arange(len(features), device=features.device)
    query = features[scans, worst].float()  # f(x*), [B, D]
    nearest = bank.features[rows[scans, worst].to(bank.features.device)]  # f*, [B, D]
    around = bank.search(nearest, neighbours)[1]  # N_b(f*), [B, b]
    if reweight_nearest == "left_out":
        around = around[:, 1:]
    temperature = math.sqrt(features.shape[-1]) if reweight_temperature == "sqrt_dim" else 1.0
    to_around = torch.linalg.vector_norm(bank.features[around].to(query.device) - query[:, None], dim=-1)  # [B, b]
    to_nearest = torch.linalg.vector_norm(nearest.to(query.device) - query, dim=-1)  # [B]
    share = to_nearest / temperature - (to_around / temperature).logsumexp(1)
    return -torch.expm1(share.clamp(max=0.0)) * score


def cell_probabilities(
    patches: Tensor, cells: Tensor, classifier: Classifier, *, eta: float = 0.1, chunk: int = 32
) -> Tensor:
    """`p(x~ | w)` of every grid cell, (B, P) float: eq. (8), then the softmax of C_w; 0 where there is no patch.

    Realigned it is the map of eq. (10), its largest the object score of eq. (9).

    Args:
        patches: (B, P, K, 3) normalised points; cells: (B, P) bool, where a cell has a patch.
        classifier: C_w, in eval mode.
        eta: perturbation size; 0 leaves the patches as they are.
        chunk: patches at a time; bounds the memory of the gradient.
    """
    probabilities = patches.new_zeros(cells.shape)  # [B, P]
    points = patches[cells]  # [N, K, 3]
    if len(points):
        if eta:
            points = perturb(points, classifier, eta=eta, chunk=chunk)
        probabilities[cells] = abnormal_probability(points, classifier, chunk=chunk).to(probabilities.dtype)
    return probabilities


def perturb(points: Tensor, classifier: Classifier, *, eta: float = 0.1, chunk: int = 32) -> Tensor:
    """Eq. (8): `x + eta * (-grad_x log p^(x))`, `p^ = max(p, 1 - p)`: each patch moves to where C_w is less sure.

    Works for callers in inference mode; parameters get no gradient.

    Args:
        points: (N, K, 3). classifier: as `cell_probabilities`.

    Returns:
        (N, K, 3), dtype of `points`.

    Raises:
        ValueError: the classifier is a module in training mode (its batch statistics would mix patches).
    """
    if isinstance(classifier, nn.Module) and classifier.training:
        raise ValueError("perturb: got a classifier in training mode; call its eval() first.")
    moved = torch.empty_like(points)
    done = 0
    for part in points.split(chunk):
        with torch.inference_mode(False), torch.enable_grad():
            x = part.detach().clone().requires_grad_()
            confidence = _log_probabilities(classifier(x)).amax(1)  # log p^, [n]
            (gradient,) = torch.autograd.grad(confidence.sum(), x)
        moved[done : done + len(part)] = part - eta * gradient
        done += len(part)
    return moved


@torch.no_grad()
def abnormal_probability(points: Tensor, classifier: Classifier, *, chunk: int = 32) -> Tensor:
    """`p(x | w)`: (N, K, 3) points -> (N,) softmax probability of class 1, abnormal."""
    parts = [_log_probabilities(classifier(part))[:, 1].exp() for part in points.split(chunk)]
    return torch.cat(parts) if parts else points.new_zeros(0)


def _log_probabilities(logits: Tensor) -> Tensor:
    return (logits if logits.dtype == torch.float64 else logits.float()).log_softmax(1)
