"""How fitted files are read and written by a trainer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO


class MappedCheckpointIO(TorchCheckpointIO):
    """Reads a checkpoint memory-mapped: a bank's rows lie once in the memory of a machine, for all its processes.

    Not for training, which writes checkpoints over the one that it began from.
    """

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = None
    ) -> dict[str, Any]:
        if not Path(path).is_file():  # an address
            return super().load_checkpoint(path, map_location, weights_only)
        return torch.load(path, map_location="cpu", weights_only=weights_only is not False, mmap=True)

    @classmethod
    def use(cls, trainer: Trainer) -> None:
        """Have a trainer read by it, unless it was given another way of reading."""
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = cls()


def save_whole(trainer: Trainer, path: Path) -> None:
    """`Trainer.save_checkpoint`, whole or not at all: a file that others have mapped is replaced, never written to."""
    part = path.with_name(f".{path.name}.part")
    try:
        trainer.save_checkpoint(part)
        if trainer.is_global_zero:
            os.replace(part, path)
    finally:
        if trainer.is_global_zero:
            part.unlink(missing_ok=True)
