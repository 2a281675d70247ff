"""What `predict` writes: maps, overlays, and one table of scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning import Callback, Trainer

from threedzal.callbacks.memory_bank import MemoryBankCallback
from threedzal.data.readers import read_picture
from threedzal.data.record import ScanRecord
from threedzal.data.resize import restore_map
from threedzal.data.scan import Scan
from threedzal.data.writers import write_prediction, write_scored_cloud, write_scores_csv
from threedzal.detector import Prediction
from threedzal.distributed import gather_objects
from threedzal.module import Method

BATCH_LIMIT = 8.0  # a batch's map value of the last colour: spreads above the noise floor, both branches together


class PredictionCallback(Callback):
    """Writes a float32 map (TIFF) and an overlay (PNG) of each scan at its own size, a PLY with a score at each point
    where the scan came as a point cloud, and `scores.csv`.

    Args:
        output: Folder to write to; by default `predictions` in the run's folder.
    """

    def __init__(self, output: str | None = None) -> None:
        self.output = output
        self._rows: list[dict[str, Any]] = []

    def on_predict_start(self, trainer: Trainer, module: Method) -> None:
        self._folder = Path(self.output or Path(trainer.log_dir or ".") / "predictions")
        self._bank = next(c for c in trainer.callbacks if isinstance(c, MemoryBankCallback))
        self._rows = []

    def on_predict_batch_end(
        self, trainer: Trainer, module: Method, outputs, scan: Scan, batch_index: int, dataloader_idx: int = 0
    ) -> None:
        if self._bank.reference != "training":
            return  # judged when the batch is whole
        detector = self._bank.detector
        limit = detector.calibration.map_threshold
        for record, prediction in zip(scan.record, detector.judge(scan, outputs), strict=True):
            written = self._write(prediction, record, threshold=limit, limits=(0.0, 2 * limit) if limit else None)
            self._rows.append(
                {
                    "scan": str(record.xyz),
                    "score": prediction.score,
                    "threshold": prediction.threshold,
                    "label": prediction.label,
                    "verdict": prediction.verdict,
                    "percentile": prediction.percentile,
                    **written,
                }
            )

    def _write(self, prediction: Prediction, record: ScanRecord, **options) -> dict[str, str]:
        """Paths of what was written, by the names of their columns."""
        paths = write_prediction(self._folder, prediction, record, read_picture(record), **options)
        written = {"map": str(paths[0]), "overlay": str(paths[1])}
        cloud = write_scored_cloud(self._folder, prediction, record)
        return written if cloud is None else {**written, "cloud": str(cloud)}

    def on_predict_epoch_end(self, trainer: Trainer, module: Method) -> None:
        if self._bank.reference != "training":
            self._write_batch(trainer)
            return
        rows = sorted(gather_objects(self._rows), key=lambda row: row["scan"])
        if trainer.is_global_zero:
            path = write_scores_csv(self._folder, rows)
            flagged = sum(row["label"] for row in rows)
            scans = "1 scan" if len(rows) == 1 else f"{len(rows)} scans"
            print(f"{scans}, {flagged} judged defective. Scores: {path}; maps beside it.")

    def _write_batch(self, trainer: Trainer) -> None:
        """Maps and a ranking: a batch has no scan that is known to be good, hence no threshold and no verdict."""
        pad = trainer.datamodule.preparation.pad_to_square
        for scan in self._bank.judged_batch():
            name = next(iter(scan.scores))  # `both` where there is a bank, else `batch`
            restored = restore_map(scan.maps[name], size=scan.size, pad_to_square=pad)
            prediction = Prediction(restored, scan.scores[name], label=-1, threshold=float("nan"))
            written = self._write(prediction, scan.record, limits=(0.0, BATCH_LIMIT))
            self._rows.append(
                {
                    "scan": str(scan.record.xyz),
                    "class": scan.record.class_name,
                    "rank": 0,  # within its class, 1 the most suspicious; counted when all processes' scans are there
                    **{f"score_{other}": scan.scores[other] for other in ("both", "batch") if other in scan.scores},
                    **written,
                    "_score": scan.scores[name],
                }
            )
        rows = sorted(gather_objects(self._rows), key=lambda row: (row["class"], -row.pop("_score")))
        counts: dict[str, int] = {}
        for row in rows:
            row["rank"] = counts[row["class"]] = counts.get(row["class"], 0) + 1
        if trainer.is_global_zero:
            path = write_scores_csv(self._folder, rows)
            print(f"{len(rows)} scans ranked, the most suspicious first: {path}; maps beside it.")
