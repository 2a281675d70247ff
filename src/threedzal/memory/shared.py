"""Rows that several processes hold between them, once on disk and in the memory of all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from threedzal.distributed import agree, gather_objects, process_rank, several_processes
from threedzal.errors import UserError
from threedzal.files import require_room


def assembled(rows: Tensor, places: Tensor, total: int, *, folder: str | Path) -> Tensor:
    """Each process's rows at their places, on every process; all must call it.

    In several processes they are written once, to one file that all map into memory. The file loses its name when all
    have opened it: however the processes end, it is gone with the last of them.

    Args:
        rows: (n,D) float32; a process may have none. places: (n,) int64, each of 0 to `total - 1` once over all.
        folder: where the file is made; all processes must see it.

    Returns:
        (total,D) float32 on the CPU.

    Raises:
        UserError: no room, or a process does not see the folder.
    """
    if not several_processes():
        out = torch.empty(total, rows.shape[1])
        out[places] = rows
        return out
    shape = (total, max(gather_objects([rows.shape[1]])))
    names: list[str] = []
    agree(lambda: names.append(_created(folder, 4 * shape[0] * shape[1])) if process_rank() == 0 else None)
    path = Path(gather_objects(names)[0])
    try:
        agree(lambda: _write(path, shape, rows, places))
        mapped = torch.from_numpy(np.memmap(path, dtype=np.float32, mode="c", shape=shape))
        dist.barrier()
    finally:
        if process_rank() == 0:
            path.unlink(missing_ok=True)
    return mapped


def _created(folder: str | Path, size: int) -> str:
    advice = "free space there, or name another folder (memory_bank.scratch)"
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        require_room(folder, size, "the bank's rows", advice=advice)
        handle, name = tempfile.mkstemp(dir=folder, prefix=".3dzal-bank-")
        os.truncate(handle, size)
        os.close(handle)
    except OSError as error:
        raise UserError(f"cannot write to {folder} ({error.strerror}): {advice}") from error
    return name


def _write(path: Path, shape: tuple[int, int], rows: Tensor, places: Tensor) -> None:
    if not path.is_file():
        raise UserError(
            f"{path.parent} is not the same folder on all machines of the run: "
            "name one that all of them see (memory_bank.scratch)"
        )
    if len(rows):
        file = np.memmap(path, dtype=np.float32, mode="r+", shape=shape)
        file[places.numpy()] = rows.numpy()
        file.flush()
