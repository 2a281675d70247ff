"""Scales, weights and threshold, from scans that may be seen (method: "choosing without defects").

The scales are means over normal validation scans of the training classes. Weights and threshold need defects, and
there are none that may be looked at: they are chosen on scans with pseudo anomalies, whose truth is known by pixel.
The scores of all normal scans are kept, for a threshold at a false-positive rate (`threedzal.threshold`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import compress
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from threedzal.calibration import Calibration, best_f1_threshold, choose_weights, map_criterion, score_criterion
from threedzal.data.record import ScanRecord
from threedzal.data.scan import Scan
from threedzal.detector import Detector
from threedzal.distributed import gather_dealt
from threedzal.scoring import Scores, ScoreScales, ScoreWeights


@dataclass
class ScoredScans:
    """Raw scores of several scans with their truth, on the CPU."""

    scores: Scores
    mask: Tensor  # (B,H,W) bool
    object: Tensor  # (B,H,W) bool
    records: list[ScanRecord]

    @property
    def label(self) -> Tensor:
        """(B,) bool: the scan has a defective pixel."""
        return self.mask.flatten(1).any(dim=1)

    def good(self) -> ScoredScans:
        """Those without a defective pixel."""
        good = ~self.label
        scores = Scores(**{name: value[good] for name, value in vars(self.scores).items()})
        return ScoredScans(scores, self.mask[good], self.object[good], list(compress(self.records, good.tolist())))


def calibrate(
    detector: Detector,
    *,
    normal: Iterable[Scan],
    pseudo: Iterable[Scan],
    weights: Literal["auto"] | list[float] = "auto",
    score_scale: Literal["validation", "spread", "none"] = "validation",
) -> Calibration:
    """Measure a detector on batches of normal and of pseudo-anomalous scans; every process of a run takes part.

    Args:
        detector: Its own calibration is not looked at. Without a bank it has one map, and the threshold is all there is
            to measure.
        normal: The training classes' `validation/good`.
        pseudo: Scans with pseudo anomalies and the same scans without. May be empty: then the threshold is the largest
            score of a normal scan, and `auto` weights are 1 and 1.
        weights: `auto` or [w_d, w_c] of eqs. (11) and (12).
        score_scale: `validation` divides by the mean over `normal`, `spread` by the standard deviation over the good
            scans among `pseudo` (over `normal` where there are none).
    """
    goods, pseudos = score_scans(detector, normal), score_scans(detector, pseudo)
    if detector.bank is None:
        weights, score_scale = [1.0, 1.0], "none"
    calibration = Calibration()
    if score_scale == "validation" and goods is not None:
        calibration = replace(calibration, scales=ScoreScales.measured(goods.scores))
    elif score_scale == "spread" and (pseudos or goods) is not None:
        seen = (pseudos or goods).good()
        calibration = replace(calibration, scales=ScoreScales.spread(seen.scores, seen.object))
    if weights != "auto":
        calibration = calibration.with_weights(weights)
    elif pseudos is not None:
        calibration = replace(calibration, weights=_chosen_weights(calibration.scales, pseudos))
    judged = pseudos or goods
    if judged is None:
        return calibration
    fused_map, fused = detector.fuse(judged.scores, judged.object, calibration)
    threshold = best_f1_threshold(fused, judged.label)[0] if judged.label.any() else float(fused.max())
    map_threshold = _map_threshold(fused_map[~judged.label], judged.object[~judged.label])
    normal = normal_scores(detector, calibration, goods, pseudos)
    return replace(calibration, threshold=threshold, map_threshold=map_threshold, normal_scores=normal)


def on_good_scans(detector: Detector, goods: ScoredScans) -> Calibration:
    """The detector's calibration with these scans in place of all that were seen before; its threshold stays."""
    calibration = detector.calibration
    fused_map, _ = detector.fuse(goods.scores, goods.object)
    scores = normal_scores(detector, calibration, goods)
    return replace(calibration, map_threshold=_map_threshold(fused_map, goods.object), normal_scores=scores)


def _map_threshold(good_maps: Tensor, object: Tensor) -> float | None:
    """What 99 % of the object's pixels of good scans lie below; None where there are none."""
    pixels = good_maps[object]
    return float(np.quantile(pixels.numpy(), 0.99)) if len(pixels) else None


def score_scans(detector: Detector, batches: Iterable[Scan]) -> ScoredScans | None:
    """Score batches of scans on all processes; None where there is no scan."""
    parts = []
    for scan in batches:
        raw = detector.score(scan).raw
        scores = Scores(**{name: value.cpu() for name, value in vars(raw).items()})
        parts.append(ScoredScans(scores, scan.mask[:, 0].cpu(), scan.object.cpu(), list(scan.record)))
    parts = gather_dealt(parts)
    if not parts:
        return None
    scores = {name: torch.cat([getattr(part.scores, name) for part in parts]) for name in vars(parts[0].scores)}
    mask, object = (torch.cat([getattr(part, name) for part in parts]) for name in ("mask", "object"))
    return ScoredScans(Scores(**scores), mask, object, [record for part in parts for record in part.records])


def normal_scores(detector: Detector, calibration: Calibration, *scans: ScoredScans | None) -> dict[str, tuple]:
    """Fused scores of the good ones among the scans, by class, lowest first; a scan that comes twice counts once."""
    found: dict[str, dict[str, float]] = {}
    for good in (several.good() for several in scans if several is not None):
        fused = detector.fuse(good.scores, good.object, calibration)[1].tolist()
        for record, score in zip(good.records, fused, strict=True):
            found.setdefault(record.class_name, {})[record.key] = score
    return {name: tuple(sorted(scores.values())) for name, scores in sorted(found.items())}


def _chosen_weights(scales: ScoreScales, scans: ScoredScans) -> ScoreWeights:
    """Maps by object-only AUPRO, object scores by image AUROC: what helps the one need not help the other."""
    if not scans.scores.classification_map.any():  # there is no classifier: nothing to weigh the distance against
        return ScoreWeights()
    scaled = scales.apply(scans.scores)
    return ScoreWeights(
        map=choose_weights(scaled.distance_map, scaled.classification_map, map_criterion(scans.mask, scans.object)),
        score=choose_weights(scaled.distance, scaled.classification, score_criterion(scans.label)),
    )
