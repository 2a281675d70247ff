"""What `predict` writes: maps, overlays, and one table of scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning import Callback, Trainer

from threedzal.callbacks.memory_bank import MemoryBankCallback
from threedzal.data.scan import Scan, read_rgb
from threedzal.data.writers import write_prediction, write_scores_csv
from threedzal.distributed import gather_objects
from threedzal.module import PatchModule


class PredictionCallback(Callback):
    """Writes a float32 map (TIFF) and an overlay (PNG) of each scan at its own size, and `scores.csv`.

    Args:
        output: Folder to write to; by default `predictions` in the run's folder.
    """

    def __init__(self, output: str | None = None) -> None:
        self.output = output
        self._rows: list[dict[str, Any]] = []

    def on_predict_start(self, trainer: Trainer, module: PatchModule) -> None:
        self._folder = Path(self.output or Path(trainer.log_dir or ".") / "predictions")
        self._detector = next(c for c in trainer.callbacks if isinstance(c, MemoryBankCallback)).detector
        self._rows = []

    def on_predict_batch_end(
        self, trainer: Trainer, module: PatchModule, outputs, scan: Scan, batch_index: int, dataloader_idx: int = 0
    ) -> None:
        limit = self._detector.calibration.map_threshold
        for record, prediction in zip(scan.record, self._detector.judge(scan, features=outputs), strict=True):
            rgb = read_rgb(record.rgb) if record.rgb else None
            written = write_prediction(
                self._folder, prediction, record, rgb, threshold=limit, limits=(0.0, 2 * limit) if limit else None
            )
            self._rows.append(
                {
                    "scan": str(record.xyz),
                    "score": prediction.score,
                    "threshold": prediction.threshold,
                    "label": prediction.label,
                    "map": str(written[0]),
                    "overlay": str(written[1]),
                }
            )

    def on_predict_epoch_end(self, trainer: Trainer, module: PatchModule) -> None:
        rows = sorted(gather_objects(self._rows), key=lambda row: row["scan"])
        if trainer.is_global_zero:
            path = write_scores_csv(self._folder, rows)
            flagged = sum(row["label"] for row in rows)
            print(f"{len(rows)} scans, {flagged} judged defective. Scores: {path}; maps beside it.")
