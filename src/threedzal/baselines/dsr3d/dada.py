"""First stage of 3DSR: the autoencoder, pre-trained on simulated depth and pictures, once for all objects."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from threedzal.baselines.dsr3d.dada_network import DADANetwork
from threedzal.baselines.dsr3d.schedule import check_data, stepped_adam
from threedzal.baselines.dsr3d.vector_quantizer import perplexity
from threedzal.errors import UserError
from threedzal.module import Method

ARCHITECTURE = ("colour", "hidden", "layers", "residual", "codes", "width")


class DADA(Method):
    """Depth-Aware Discrete Autoencoder (3DSR, section 3.1). It marks no defects: `DSR3D` is fitted on its file.

    Args:
        colour: Depth and colour, or depth alone.
        hidden: Channels of encoders and decoder.
        layers: Residual layers of each.
        residual: Channels inside a residual layer.
        codes: Codes of each of the two codebooks.
        width: Numbers of a code.
        decay: Of the codebooks' moving averages.
        warmup: Steps before codes take the place of features; 0 in the paper. Of two modalities in one codebook the one
            that starts with the weaker features may never get into the codes; so it does within a short training.
        commitment: Weight of the loss that keeps features near their codes.
        reconstruction: `l1`, as the released code has it for depth and colour, or `l2`, as for depth alone.
        lr: Of Adam; a tenth from 80 % of the epochs on, a hundredth from 90 % on.
    """

    judges_scans = False
    uses_fpfh = False
    uses_pseudo_anomalies = False

    def __init__(
        self,
        colour: bool = True,
        hidden: int = 256,
        layers: int = 2,
        residual: int = 128,
        codes: int = 2048,
        width: int = 256,
        decay: float = 0.99,
        warmup: int = 0,
        commitment: float = 0.25,
        reconstruction: Literal["l1", "l2"] = "l1",
        lr: float = 2e-4,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.uses_rgb = colour
        self.network = DADANetwork(**self.architecture, decay=decay)

    @property
    def architecture(self) -> dict[str, Any]:
        """What a detector must know to build the same network."""
        return {name: self.hparams[name] for name in ARCHITECTURE}

    def setup(self, stage: str) -> None:
        super().setup(stage)
        check_data(self, training="simulated", sizes=(8, 8))

    def training_step(self, images: Tensor, batch_index: int) -> Tensor:
        return self._loss(images, "train")

    def validation_step(self, images: Tensor, batch_index: int) -> None:
        self._loss(images, "val")

    def _loss(self, images: Tensor, stage: str) -> Tensor:
        drawn, commitment, codes = self.network(images, quantise=self.global_step >= self.hparams.warmup)
        difference = F.l1_loss if self.hparams.reconstruction == "l1" else F.mse_loss
        values = {"reconstruction": difference(drawn, images), "commitment": self.hparams.commitment * commitment}
        loss = sum(values.values())
        with torch.no_grad():
            values["depth_error"] = F.l1_loss(drawn[:, :1], images[:, :1])
            if self.hparams.colour:
                values["colour_error"] = F.l1_loss(drawn[:, 1:], images[:, 1:])
            for level, used in zip(("lo", "hi"), codes, strict=True):
                values[f"codes_in_use_{level}"] = perplexity(used, self.hparams.codes)
        values["loss"] = loss.detach()
        self.log_dict(
            {f"{stage}/{name}": value for name, value in values.items()},
            on_step=stage == "train",
            on_epoch=stage == "val",
            batch_size=len(images),
            sync_dist=stage == "val",
        )
        return loss

    def configure_optimizers(self):
        steps = self.trainer.estimated_stepping_batches
        if self.hparams.warmup >= steps:
            raise UserError(f"model.warmup is {self.hparams.warmup} of {steps} steps, so that no code would be learned")
        return stepped_adam(self, lr=self.hparams.lr, at=(0.8, 0.9))
