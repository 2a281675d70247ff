"""What both stages of 3DSR ask of a run: Adam whose rate falls in steps, and the data that they learn from."""

from __future__ import annotations

import torch

from threedzal.errors import UserError
from threedzal.module import Method


def stepped_adam(method: Method, *, lr: float, at: tuple[float, ...]):
    """Adam on what is to be trained; its rate is a tenth of before from each of the shares `at` of the epochs on."""
    optimizer = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], lr=lr)
    epochs = method.trainer.max_epochs or 1
    milestones = [int(share * epochs) for share in at]
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, gamma=0.1)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "epoch"}}


def check_data(method: Method, *, training: str, sizes: tuple[int, int]) -> None:
    """Refuse a data module whose options do not fit: its `training` is another, or its image_size none of the `sizes`.

    Args:
        sizes: The smallest image_size, and what all are a multiple of.
    """
    options, name, (least, multiple) = method.trainer.datamodule.hparams, type(method).__name__, sizes
    if method.trainer.training and options.training != training:
        raise UserError(f"{name} learns from data.training: {training}, but it is {options.training}: set it so")
    if options.image_size < least or options.image_size % multiple:
        wanted = f"a multiple of {multiple}, {least} or more"
        raise UserError(f"data.image_size is {options.image_size}, but {name} needs {wanted}")
