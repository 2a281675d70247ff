"""The patches of a batch, scan by scan, in memory or in a memory-mapped temporary file when there are many."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from threedzal.errors import UserError

IN_MEMORY = 2 * 2**30  # bytes; beyond, rows go to disk


class PatchStore:
    """Rows (n,D) float32 of one scan after another.

    Args:
        limit: bytes kept in memory; all rows move to a temporary file when there are more.
        folder: of that file; None: the system's.
    """

    def __init__(self, *, limit: int = IN_MEMORY, folder: str | Path | None = None) -> None:
        self.limit, self.folder = limit, folder
        self.starts = [0]
        self._parts: list[Tensor] = []
        self._file = None
        self._width: int | None = None

    def append(self, rows: Tensor) -> None:
        """Add the (n,D) rows of the next scan; n may be 0."""
        rows = rows.detach().float().cpu().contiguous()
        if self._width not in (None, rows.shape[1]):
            raise ValueError(f"PatchStore: got rows of {rows.shape[1]} numbers after rows of {self._width}.")
        self._width = rows.shape[1]
        self.starts.append(self.starts[-1] + len(rows))
        if self._file is not None:
            self._write(rows)
            return
        self._parts.append(rows)
        if self.starts[-1] * self._width * 4 > self.limit:
            self._file = tempfile.TemporaryFile(dir=self.folder, prefix="3dzal-batch-")  # noqa: SIM115 (lives as long as this)
            for part in self._parts:
                self._write(part)
            self._parts = []

    def rows(self) -> Tensor:
        """All rows (N,D) float32; a view of the file where they are on disk (not to be written to)."""
        if self._width is None:
            return torch.zeros(0, 0)
        if self._file is not None:
            self._file.flush()
            shape = (self.starts[-1], self._width)
            return torch.from_numpy(np.memmap(self._file, dtype=np.float32, mode="r+", shape=shape))
        if len(self._parts) > 1:
            self._parts = [torch.cat(self._parts)]
        return self._parts[0]

    @property
    def on_disk(self) -> bool:
        return self._file is not None

    def _write(self, rows: Tensor) -> None:
        try:
            self._file.write(rows.numpy().tobytes())
        except OSError as error:
            raise UserError(
                f"the batch's patches do not fit into the temporary folder ({error.strerror}): free space there, name "
                "another (environment variable TMPDIR), or give fewer scans at a time"
            ) from error
