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


def check_data(method: Method, *, training: str, multiple: int) -> None:
    """Refuse a data module whose options do not fit: `training` is its way, image_size a multiple of `multiple`."""
    options, name = method.trainer.datamodule.hparams, type(method).__name__
    if method.trainer.training and options.training != training:
        raise UserError(f"{name} learns from data.training: {training}, but it is {options.training}: set it so")
    if options.image_size % multiple:
        raise UserError(
            f"{name} needs a data.image_size that is a multiple of {multiple}, but it is {options.image_size}"
        )
