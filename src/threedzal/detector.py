"""What is taken to the site: a method, its memory bank if it has one, and its calibration, as one callable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from threedzal.calibration import Calibration
from threedzal.checkpoint import BANK, build_method, read_checkpoint
from threedzal.data.resize import restore_map
from threedzal.data.scan import Scan, ScanPreparation, ScanRecord, collate_scans, prepare_scan
from threedzal.errors import UserError
from threedzal.maps import foreground_map, realign, rim_weight
from threedzal.memory import MemoryBank
from threedzal.module import Method
from threedzal.scoring import Scores, distance_scores, fuse
from threedzal.threshold import percentile_of


@dataclass(frozen=True)
class ScoringOptions:
    """The knobs of section 3.4 that may be turned at test time; the defaults are the paper's."""

    neighbours: int = 3  # b of eq. (6)
    reweight_temperature: Literal["sqrt_dim", "one"] = "sqrt_dim"
    reweight_nearest: Literal["included", "left_out"] = "included"
    eta: float = 0.1  # of eq. (8)
    blur: float = 4.0  # sigma in pixels, eqs. (7) and (10)
    map_precision: Literal["float", "8bit"] = "float"  # of the distance map
    rim: float = 0.0  # sigma in pixels of `rim_weight` on the fused map; 0, the paper, leaves the rim as it is
    object_score: Literal["sum", "map"] = "sum"  # eq. (12), or the maximum of the fused map


@dataclass(frozen=True)
class ScanScores:
    """Maps (B,H,W) and object scores (B,), float32, by name: `fused`, `distance`, `classification` (absent for a method
    without C_w) and `foreground`, the floor: a constant on the object. All but `fused` are raw. A `MapModule` has
    `fused` and `foreground` alone."""

    maps: dict[str, Tensor]
    scores: dict[str, Tensor]
    raw: Scores


@dataclass(frozen=True)
class Prediction:
    """The judgement of one scan.

    `map` (h,w) float32 at the scan's own size, `score` of the whole scan, `label` 1 where `score >= threshold`,
    `percentile` the percent of normal validation scans that score lower (None where the fitted file holds none).
    """

    map: Tensor
    score: float
    label: int
    threshold: float
    percentile: float | None = None

    @property
    def verdict(self) -> str:
        """`good` or `defective`; empty where there is no threshold."""
        return {0: "good", 1: "defective"}.get(self.label, "")


class Detector:
    """Scores scans by eqs. (4) to (12).

    Args:
        method: Describes patches and judges them, or maps scans.
        bank: Features of normal patches; None for a `MapModule`.
        preparation: How the scans of the bank were prepared.
        options: Knobs of section 3.4.
        calibration: Scales, weights and threshold.
    """

    def __init__(
        self,
        method: Method,
        bank: MemoryBank | None,
        *,
        preparation: ScanPreparation,
        options: ScoringOptions | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        self.method, self.bank, self.preparation = method, bank, preparation
        self.options, self.calibration = options or ScoringOptions(), calibration or Calibration()

    @torch.no_grad()
    def score(self, scan: Scan, outputs: Tensor | tuple[Tensor, Tensor] | None = None) -> ScanScores:
        """Score a batch of prepared scans; the method's `outputs` for them save computing them again."""
        outputs = self.method.outputs(scan) if outputs is None else outputs
        raw, shown = self._mapped(outputs) if self.bank is None else self._compared(scan, outputs)
        fused_map, fused = self.fuse(raw, scan.object)
        maps, scores = {"fused": fused_map}, {"fused": fused}
        for name in shown:
            maps[name], scores[name] = getattr(raw, f"{name}_map"), getattr(raw, name)
        maps["foreground"] = foreground_map(scan.cells, size=scan.mask.shape[-2:], sigma=self.options.blur)
        scores["foreground"] = torch.zeros_like(fused)
        return ScanScores(maps, scores, raw)

    def _mapped(self, outputs: tuple[Tensor, Tensor]) -> tuple[Scores, tuple[str, ...]]:
        """A method's own map stands where a classifier's does, with no distance beside it: it is the fused one."""
        own_map, own = outputs
        return Scores(torch.zeros_like(own_map), torch.zeros_like(own), own_map, own), ()

    def _compared(self, scan: Scan, features: Tensor) -> tuple[Scores, tuple[str, ...]]:
        """Eqs. (4) to (10), and the names of the scores that the method has."""
        options, size = self.options, scan.mask.shape[-2:]
        distance_map, distance = distance_scores(
            features,
            self.bank,
            size=size,
            neighbours=options.neighbours,
            reweight_temperature=options.reweight_temperature,
            reweight_nearest=options.reweight_nearest,
            sigma=options.blur,
            precision=options.map_precision,
        )
        probability = self.method.abnormality(scan, eta=options.eta)
        judged = torch.zeros_like(scan.cells, dtype=torch.float32) if probability is None else probability
        classified = self.method.scan_score(judged, scan)
        cells = self.method.cell_scores(judged, scan)
        raw = Scores(distance_map, distance, realign(cells, size=size, sigma=options.blur), classified)
        return raw, ("distance",) if probability is None else ("distance", "classification")

    def fuse(self, raw: Scores, object: Tensor, calibration: Calibration | None = None) -> tuple[Tensor, Tensor]:
        """Eqs. (11) and (12) on raw scores with the object's pixels (B,H,W) bool: map (B,H,W) and score (B,)."""
        calibration, options = calibration or self.calibration, self.options
        fused_map, fused = fuse(raw, weights=calibration.weights, scales=calibration.scales)
        if options.rim:
            fused_map = fused_map * rim_weight(object, sigma=options.rim)
        return fused_map, fused_map.flatten(1).amax(dim=1) if options.object_score == "map" else fused

    def __call__(self, rgb: np.ndarray | None, xyz: np.ndarray) -> Prediction:
        """Judge one scan.

        Args:
            rgb: (h,w,3) uint8, aligned with `xyz` pixel by pixel; None only for a method without the RGB branch.
            xyz: (h,w,3) float32 metres, (0,0,0) where there is no measurement.

        Raises:
            UserError: a shape is not as above, or the method needs a picture and none came.
        """
        xyz = np.asarray(xyz, dtype=np.float32)
        if xyz.ndim != 3 or xyz.shape[2] != 3:
            raise UserError(f"xyz has shape {xyz.shape}, but a scan is (height, width, 3): x, y, z in metres")
        record = ScanRecord("scan", "predict", "", "scan", Path("scan.tiff"), None if rgb is None else Path("scan.png"))
        rgb = None if rgb is None else np.asarray(rgb)
        scan = prepare_scan(xyz, rgb, None, preparation=self.preparation, record=record)
        return self.judge(collate_scans([scan]).to(self.method.device))[0]

    def judge(self, scan: Scan, outputs: Tensor | tuple[Tensor, Tensor] | None = None) -> list[Prediction]:
        """Predictions of a batch of prepared scans; the method's `outputs` for them save computing them again."""
        require_pictures(self.method, scan.record)
        scores, predictions = self.score(scan, outputs), []
        for i, score in enumerate(scores.scores["fused"].tolist()):
            size = tuple(scan.size[i].tolist())
            restored = restore_map(scores.maps["fused"][i], size=size, pad_to_square=self.preparation.pad_to_square)
            threshold = self.calibration.threshold
            percentile = percentile_of(score, self.calibration.pooled_scores)
            predictions.append(Prediction(restored.cpu(), score, int(score >= threshold), threshold, percentile))
        return predictions

    @classmethod
    def load(cls, path: Path | str, *, device: str | torch.device = "cpu") -> Detector:
        """Read a fitted file; see `threedzal.load`."""
        checkpoint = read_checkpoint(path)
        state = checkpoint.get("callbacks", {}).get(BANK, {})
        method = build_method(checkpoint)
        method.require_judge()
        if "calibration" not in state:
            raise UserError(
                f"{path}: holds no memory bank and no threshold; take fitted.ckpt, which `fit` writes when it ends"
            )
        return cls(
            method.to(device),
            MemoryBank.from_state_dict(state["bank"]).to(device) if "bank" in state else None,
            preparation=ScanPreparation.of(checkpoint["datamodule_hyper_parameters"]),
            options=ScoringOptions(
                **{f.name: state["options"][f.name] for f in fields(ScoringOptions) if f.name in state["options"]}
            ),
            calibration=Calibration.from_dict(state["calibration"]),
        )


def require_pictures(method: Method, records: Sequence[ScanRecord]) -> None:
    """Refuse scans without a picture where the method looks at pictures."""
    for record in (r for r in records if method.uses_rgb and r.rgb is None):
        raise UserError(
            f"{record.xyz}: has no picture, but this method uses the RGB branch: give the picture, "
            "or fit a model without it (model.branches: [fpfh, point_cloud])"
        )


def load(path: Path | str, *, device: str | torch.device = "cpu", false_positive_rate: float | None = None) -> Detector:
    """Read a fitted file: networks, memory bank, scales, threshold. Needs no training data, no network, no config.

    `false_positive_rate` sets the threshold on the normal scores in the file instead of taking the file's own.

    >>> detector = threedzal.load("fitted.ckpt")
    >>> detector(rgb, xyz).map.shape
    torch.Size([400, 400])
    """
    detector = Detector.load(path, device=device)
    if false_positive_rate is not None:
        detector.calibration, _ = detector.calibration.at_rate(false_positive_rate)
    return detector
