"""More rows than memory holds: in memory while they are few, in a temporary file when they are many."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from threedzal.errors import UserError

IN_MEMORY = 2 * 2**30  # bytes; beyond, rows go to disk
ADVICE = "free space there, name another folder (environment variable TMPDIR), or give fewer scans at a time"


class RowStore:
    """Rows (N,D), given in blocks (n,D) and read again in blocks or by number.

    The file is memory-mapped for as long as a block is read, so that what is read does not stay in memory. It has no
    name: however the process ends, it is gone.

    Args:
        limit: bytes kept in memory; all rows move to a temporary file when there are more.
        folder: of that file; None: the system's. Made where it is not there.
        dtype: float32, or float16, which halves the bytes and leaves 3 significant digits.
        advice: what the user can do when the file does not fit, to end an error's sentence.
    """

    def __init__(
        self,
        *,
        limit: int = IN_MEMORY,
        folder: str | Path | None = None,
        dtype: torch.dtype = torch.float32,
        advice: str = ADVICE,
    ) -> None:
        self.limit, self.folder, self.dtype, self.advice = limit, folder, dtype, advice
        self.starts = [0]
        self._parts: list[Tensor] = []
        self._file = None
        self._width: int | None = None

    def __len__(self) -> int:
        return self.starts[-1]

    @property
    def blocks(self) -> int:
        """How many blocks there are."""
        return len(self.starts) - 1

    @property
    def on_disk(self) -> bool:
        return self._file is not None

    @property
    def width(self) -> int:
        """D; 0 before the first block."""
        return self._width or 0

    def append(self, rows: Tensor) -> None:
        """Add a block (n,D); n may be 0.

        Raises:
            UserError: a value that float16 cannot hold, or no room for the file.
        """
        if self._width not in (None, rows.shape[1]):
            raise ValueError(f"RowStore: got rows of {rows.shape[1]} numbers after rows of {self._width}.")
        kept = rows.detach().to("cpu", self.dtype).contiguous()
        if self.dtype == torch.float16 and (kept.isinf() & rows.detach().cpu().isfinite()).any():
            raise UserError("features beyond 65504 do not fit into float16: use memory_bank.precision float32")
        self._width = rows.shape[1]
        self.starts.append(len(self) + len(kept))
        if self._file is None and self.bytes(len(self)) <= self.limit:
            self._parts.append(kept)
            return
        if self._file is None:
            self._open()
            for part in self._parts:
                self._write(part)
            self._parts = []
        self._write(kept)

    def bytes(self, rows: int) -> int:
        """What that many rows take."""
        return rows * self.width * self.dtype.itemsize

    def block(self, number: int) -> Tensor:
        """(n,D) float32, a block as it was given; not to be written to."""
        first, last = self.starts[number : number + 2]
        if self._file is not None:
            return torch.from_numpy(np.array(self._mapped(first, last))).float()
        if len(self._parts) == self.blocks:
            return self._parts[number].float()
        return self._parts[0][first:last].float()  # `rows` has joined them

    def take(self, rows: Tensor) -> Tensor:
        """(n,D) float32, the rows with these numbers (n,) int64, in their order."""
        out = torch.empty(len(rows), self.width)
        for number, (first, last) in enumerate(pairwise(self.starts)):
            here = (rows >= first) & (rows < last)
            if here.any():
                out[here] = self.block(number)[rows[here] - first]
        return out

    def rows(self) -> Tensor:
        """All rows (N,D) as they are kept; a view of the file where they are on disk (not to be written to)."""
        if self._width is None:
            return torch.zeros(0, 0, dtype=self.dtype)
        if self._file is not None:
            return torch.from_numpy(self._mapped(0, len(self), mode="r+"))
        if len(self._parts) > 1:
            self._parts = [torch.cat(self._parts)]
        return self._parts[0]

    def close(self) -> None:
        """Give memory and disk back now."""
        self._parts = []
        if self._file is not None:
            self._file.close()

    def _mapped(self, first: int, last: int, mode: str = "r") -> np.ndarray:
        if last == first:
            return np.zeros((0, self.width), dtype=_NUMPY[self.dtype])
        self._file.flush()
        shape = (last - first, self.width)
        return np.memmap(self._file, dtype=_NUMPY[self.dtype], mode=mode, offset=self.bytes(first), shape=shape)

    def _folder(self) -> Path:
        return Path(self.folder or tempfile.gettempdir())

    def _open(self) -> None:
        try:
            self._folder().mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=self._folder(), prefix="3dzal-")  # noqa: SIM115 (lives as long as this)
        except OSError as error:
            raise UserError(f"cannot write to {self._folder()} ({error.strerror}): {self.advice}") from error

    def _write(self, rows: Tensor) -> None:
        try:
            self._file.write(rows.numpy().tobytes())
            self._file.flush()  # what does not fit must be found here
        except OSError as error:
            raise UserError(f"no room for the patches in {self._folder()} ({error.strerror}): {self.advice}") from error


_NUMPY = {torch.float32: np.float32, torch.float16: np.float16}
