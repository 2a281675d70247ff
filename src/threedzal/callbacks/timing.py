"""How long the fitted detector takes for a scan, as it would at a site: one at a time, nothing kept from before."""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path

import torch
from lightning import Callback, LightningModule, Trainer

from threedzal.callbacks.memory_bank import MemoryBankCallback
from threedzal.data.readers import read_picture, read_points
from threedzal.files import write_text


class TimingCallback(Callback):
    """After a test, writes `timing.json` to the run's folder: `milliseconds_a_scan`, from arrays in memory to the map
    at the scan's own size (background, FPFH, networks, bank), the median over a few test scans; no cache is used.

    A method without a detector, such as a batch that judges itself, leaves no file.

    Args:
        scans: How many scans, spread over the test set; one before them is not counted.
    """

    def __init__(self, scans: int = 5) -> None:
        self.scans = scans

    def on_test_end(self, trainer: Trainer, module: LightningModule) -> None:
        bank = next((c for c in trainer.callbacks if isinstance(c, MemoryBankCallback)), None)
        records, folder = trainer.datamodule.test_records, trainer.log_dir  # a broadcast: all processes must ask
        if bank is None or bank.detector is None or folder is None or not trainer.is_global_zero:
            return
        step = max(1, len(records) // self.scans)
        chosen = records[::step][: self.scans]
        seconds = []
        for record in [chosen[0], *chosen]:
            xyz, rgb = read_points(record), read_picture(record)
            start = time.perf_counter()
            bank.detector(rgb, xyz)
            if module.device.type == "cuda":
                torch.cuda.synchronize(module.device)
            seconds.append(time.perf_counter() - start)
        found = {
            "milliseconds_a_scan": 1000 * statistics.median(seconds[1:]),
            "scans": len(chosen),
            "device": str(module.device),
            "threads": torch.get_num_threads(),
        }
        write_text(Path(folder) / "timing.json", json.dumps(found))
