"""Second stage of 3DSR: the detector of one object, on a pre-trained autoencoder that stays as it is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.classification import BinaryAUROC

from threedzal.baselines.dsr3d.code_replacement import SHARES, SHUFFLED, disturb
from threedzal.baselines.dsr3d.dada import ARCHITECTURE
from threedzal.baselines.dsr3d.dada_network import DADANetwork
from threedzal.baselines.dsr3d.depth_image import scan_image
from threedzal.baselines.dsr3d.detection_networks import (
    ObjectDecoder,
    SegmentationUNet,
    SubspaceRestriction,
    focal_loss,
)
from threedzal.baselines.dsr3d.resampling import framed, object_frames, turned, unframed
from threedzal.baselines.dsr3d.schedule import check_data, stepped_adam
from threedzal.checkpoint import read_checkpoint
from threedzal.data.perlin import perlin_mask
from threedzal.data.scan import Scan
from threedzal.errors import UserError
from threedzal.metrics import AUPRO
from threedzal.module import MapModule


class DSR3D(MapModule):
    """3DSR: marks where a drawing of a scan from its codes and one from restored codes differ as anomalies do.

    Args:
        dada: The pre-trained autoencoder, a `fitted.ckpt` of `DADA`.
        architecture: Its options; taken from its file where none are given. (A fitted detector brings them along.)
        segmentation_width: Channels of the segmentation network at full size.
        bottleneck: Channels of the object decoder where it is narrowest.
        window: Side in pixels of the mean that smooths a map.
        rotation: Most degrees by which a training scan is turned.
        good: Share of the training scans that are left without anomalies.
        mask_thresholds: Range of the threshold above which Perlin noise is an anomaly.
        shares: Range of the share of the codes, the nearest ones, that a replaced code is drawn from.
        shuffled: How often codes of other places of a scan are put there instead; of a small object's scan most of them
            are of the background.
        visible: Least change of the drawing, of 1, that is an anomaly; 0, the paper: wherever a code was replaced.
            The codes of a small autoencoder hold much that hardly shows.
        closeup: Side in pixels, a multiple of 32, of a picture cut about the object, which fills it; None, the
            paper: the whole picture of `data.image_size`.
        levelled: Take out of each picture the object's tilt and mean colour, and bring its contrast to one value and
            its hue out (an autoencoder of `data.textures: levelled`); as released, pictures are as they are.
        on_object: Let nothing beside the object's silhouette be an anomaly; as released, the map is of all pixels.
        w_image: Weight of the object decoder's reconstruction loss.
        w_l1: Weight of the map's L1 loss, which the released code has beside the focal loss; 0 is the paper's.
        lr: Of Adam; a tenth from 80 % of the epochs on.
    """

    def __init__(
        self,
        dada: str | None = None,
        architecture: dict[str, Any] | None = None,
        segmentation_width: int = 32,
        bottleneck: int = 64,
        window: int = 11,
        rotation: float = 15.0,
        good: float = 0.5,
        mask_thresholds: tuple[float, float] = (0.4, 0.8),
        shares: tuple[float, float] = SHARES,
        shuffled: float = SHUFFLED,
        visible: float = 0.0,
        closeup: int | None = None,
        levelled: bool = False,
        on_object: bool = False,
        w_image: float = 10.0,
        w_l1: float = 1.0,
        lr: float = 2e-4,
    ) -> None:
        super().__init__()
        if window < 1 or window % 2 == 0:
            raise UserError(f"model.window is {window}, but the surroundings of a pixel have an odd side: 1, 3, 5, ...")
        if closeup is not None and (closeup < 64 or closeup % 32):
            raise UserError(f"model.closeup is {closeup}, but wanted 64 pixels or more, a multiple of 32, or null")
        architecture = architecture or _architecture_of(dada)
        self.save_hyperparameters()  # the architecture that was read among them
        self.uses_rgb = architecture["colour"]
        self.dada = DADANetwork(**architecture).requires_grad_(False).eval()  # its codebooks stay where they are
        width, channels = architecture["width"], self.dada.channels
        self.restrict_lo, self.restrict_hi = SubspaceRestriction(width), SubspaceRestriction(width)
        self.decoder = ObjectDecoder(
            2 * width,
            architecture["hidden"],
            channels,
            layers=architecture["layers"],
            residual=architecture["residual"],
            bottleneck=bottleneck,
        )
        self.segmentation = SegmentationUNet(2 * channels, segmentation_width)
        self.pseudo_scan_aupro, self.pseudo_scan_auroc = AUPRO(max_fpr=0.3), BinaryAUROC()

    def load_pretrained(self) -> None:
        weights = _read_dada(self.hparams.dada)["state_dict"]
        self.dada.load_state_dict({name.removeprefix("network."): value for name, value in weights.items()})

    def setup(self, stage: str) -> None:
        super().setup(stage)
        check_data(self, training="good_scans", sizes=(64, 32))

    def train(self, mode: bool = True) -> DSR3D:
        super().train(mode)
        self.dada.eval()
        return self

    # judging --------------------------------------------------------------------------------------------------------

    def anomaly(self, scan: Scan) -> tuple[Tensor, Tensor]:
        image, _, object, frames = self._seen(scan)
        quarter, features_lo = self.dada.features_lo(image)
        lo = self.dada.quantizer_lo(features_lo)[0]
        hi = self.dada.quantizer_hi(self.dada.features_hi(quarter, lo))[0]
        *_, logits = self._restored(lo, hi)
        probability = logits.float().softmax(1)[:, 1:]
        if self.hparams.on_object:
            probability = probability * object
        side = self.hparams.window
        smooth = F.avg_pool2d(probability, side, stride=1, padding=side // 2)[:, 0]
        maps = smooth if frames is None else unframed(smooth, frames, scan.object.shape[-1])
        return maps, smooth.flatten(1).amax(1)

    def _seen(self, scan: Scan) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """The picture (B,C,S,S), its measured and its object's pixels (B,1,S,S) float; where it was cut, or None."""
        image = scan_image(scan, with_colour=self.uses_rgb, levelled=self.hparams.levelled)
        pixels, frames = torch.stack([scan.valid, scan.object], dim=1).to(image), None
        if self.hparams.closeup is not None:
            frames = object_frames(scan.object)
            image, pixels = framed(image, pixels, frames, self.hparams.closeup)
        return image, pixels[:, :1], pixels[:, 1:], frames

    def _restored(self, lo: Tensor, hi: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Quantised codes -> restored vectors of both levels, the object decoder's picture, and logits (B,2,H,W)."""
        restored_lo, quantised_lo = self.restrict_lo(lo, self.dada.quantizer_lo)
        restored_hi, quantised_hi = self.restrict_hi(hi, self.dada.quantizer_hi)
        picture = self.decoder(torch.cat([self.dada.upsample(quantised_lo), quantised_hi], dim=1))
        logits = self.segmentation(torch.cat([picture, self.dada.decode(lo, hi)], dim=1))
        return restored_lo, restored_hi, picture, logits

    # training -------------------------------------------------------------------------------------------------------

    def training_step(self, scan: Scan, batch_index: int) -> Tensor:
        seed = int(os.environ.get("PL_GLOBAL_SEED", 0))
        generator = _generator(seed, self.current_epoch, batch_index, self.global_rank)
        return self._loss(scan, "train", generator)

    def _loss(self, scan: Scan, stage: str, generator: torch.Generator) -> Tensor:
        image, inside, *_ = self._seen(scan)
        if stage == "train":
            image, inside = turned(image, inside, most=self.hparams.rotation, generator=generator)
        made = {name: self.hparams[name] for name in ("shares", "shuffled", "visible")}
        codes = disturb(self.dada, image, self._mask(inside, generator), **made, generator=generator)
        restored_lo, restored_hi, picture, logits = self._restored(codes.lo, codes.hi)
        probability = logits.float().softmax(1)[:, 1:]
        values = {
            "l_lo": F.mse_loss(restored_lo, codes.normal_lo),
            "l_hi": F.mse_loss(restored_hi, codes.normal_hi),
            "l_image": self.hparams.w_image * F.mse_loss(picture, image),
            "l_focal": focal_loss(logits, codes.mask),
            "l_l1": self.hparams.w_l1 * (probability - codes.mask).abs().mean(),
        }
        loss = sum(values.values())
        self.log_dict(
            {f"{stage}/{name}": value.detach() for name, value in {**values, "loss": loss}.items()},
            on_step=stage == "train",
            on_epoch=stage == "val",
            batch_size=len(image),
            sync_dist=stage == "val",
            add_dataloader_idx=False,
        )
        return loss

    def _mask(self, inside: Tensor, generator: torch.Generator) -> Tensor:
        """(B,1,H,W): Perlin regions on the measured pixels of each scan, or none."""
        size, thresholds = inside.shape[-2:], self.hparams.mask_thresholds
        masks = torch.stack([perlin_mask(size, thresholds=thresholds, generator=generator) for _ in inside])
        kept = torch.rand(len(inside), 1, 1, generator=generator) >= self.hparams.good
        return (masks & kept)[:, None].to(inside) * inside

    def configure_optimizers(self):
        return stepped_adam(self, lr=self.hparams.lr, at=(0.8,))

    # validation without defects -------------------------------------------------------------------------------------

    def validation_step(self, scan: Scan, batch_index: int, dataloader_idx: int = 0) -> None:
        """Loader 0: good scans, the losses with anomalies of this method. Loader 1: whole pseudo-anomalous scans."""
        if dataloader_idx == 0:
            self._loss(scan, "val", _generator(batch_index))
        else:
            maps, scores = self.anomaly(scan)
            self.pseudo_scan_aupro.update(maps, scan.mask[:, 0], roi=scan.object)
            self.pseudo_scan_auroc.update(scores, scan.label)

    def on_validation_epoch_end(self) -> None:
        if self.pseudo_scan_auroc.update_called:
            metrics = {
                "val/pseudo_scans/object_aupro_0.3": self.pseudo_scan_aupro.compute(),
                "val/pseudo_scans/image_auroc": self.pseudo_scan_auroc.compute(),
            }
            self.log_dict(metrics, sync_dist=True)
        self.pseudo_scan_aupro.reset()
        self.pseudo_scan_auroc.reset()


def _generator(*numbers: int) -> torch.Generator:
    """Draws from a stream of its own: a resumed run, or any number of workers, draws the same."""
    return torch.Generator().manual_seed(hash(numbers) % 2**63)


def _architecture_of(path: str | None) -> dict[str, Any]:
    options = _read_dada(path)["hyper_parameters"]
    return {name: options[name] for name in ARCHITECTURE}


def _read_dada(path: str | None) -> dict[str, Any]:
    """The checkpoint of a pre-trained autoencoder."""
    if path is None:
        raise UserError(
            "3DSR is fitted on a pre-trained autoencoder: give --model.dada, the fitted.ckpt of "
            "`threedzal fit --config configs/dada.yaml`"
        )
    if not Path(path).is_file():
        raise UserError(
            f"{path}: there is no such file, but 3DSR is fitted on a pre-trained autoencoder: make it once by "
            "`threedzal fit --config configs/dada.yaml`, and give its fitted.ckpt as --model.dada"
        )
    checkpoint = read_checkpoint(path)
    if checkpoint["method"] != "DADA":
        raise UserError(f"{path}: holds {checkpoint['method']}, but model.dada is the fitted.ckpt of a DADA")
    return checkpoint
