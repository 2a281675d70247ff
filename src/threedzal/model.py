"""3DzAL (WACV 2025): the three branches of f(x), and E_theta and C_w trained jointly."""

from __future__ import annotations

import math
import os
import time
from typing import Literal

import torch
from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.classification import BinaryAUROC

from threedzal.data.pseudo_anomalies import ADDING, NORMAL, REMOVING, PatchBatch
from threedzal.data.scan import Scan
from threedzal.features.grid import as_patches
from threedzal.features.pointnet2 import PointNet2
from threedzal.features.rgb import RGBFeatures
from threedzal.losses import contrastive_loss, disentanglement_loss, normalcy_loss
from threedzal.maps import realign
from threedzal.metrics import AUPRO
from threedzal.module import PatchModule
from threedzal.scoring import cell_probabilities

KINDS = {"normal": NORMAL, "adding": ADDING, "removing": REMOVING}
PATCHES_AT_ONCE = 1024  # bounds the memory of a pass through a PointNet++ at test time

Branch = Literal["rgb", "fpfh", "point_cloud"]


class ThreeDZAL(PatchModule):
    """E_theta and C_w of the paper, and the frozen branches beside them (figure 2).

    Args:
        branches: Which of the three make up f(x), always in the paper's order.
        classifier: Train and use C_w (Table 3).
        backbone: Any timm model with `features_only`.
        layers: Its feature levels, concatenated.
        rgb_weights: `pretrained` (timm's hub), `random`, or a local file.
        width: Scales the channels of both PointNet++ networks; 1 is the paper's size, 1.7 M parameters each.
        embedding: Length of E_theta(x).
        w_con: Weight of L_con, eq. (1). 0 leaves it out.
        w_rd: Weight of L_rd, eq. (2). 0 leaves it out.
        temperature: T of eq. (1).
        contrastive_denominator: Sum over the `negatives`, as printed, or over `all` other patches.
        contrastive_reduction: `mean` over the positives, or the printed `sum`, whose weight grows with the batch.
        class_balance: Weight the classes of eq. (3) so that 16:1 does not decide.
        grid: No longer looked at: the scans have it. Fitted files of earlier versions name it.
        lr: Peak learning rate of Adam; falls by a cosine to 0 over the run.
    """

    title = "3DzAL"

    def __init__(
        self,
        branches: tuple[Branch, ...] = ("rgb", "fpfh", "point_cloud"),
        classifier: bool = True,
        backbone: str = "wide_resnet50_2",
        layers: tuple[int, ...] = (2, 3),
        rgb_weights: str = "pretrained",
        width: float = 1.0,
        embedding: int = 32,
        w_con: float = 1.0,
        w_rd: float = 100.0,
        temperature: float = 0.07,
        contrastive_denominator: Literal["negatives", "all"] = "negatives",
        contrastive_reduction: Literal["mean", "sum"] = "mean",
        class_balance: bool = True,
        lr: float = 1e-3,
        grid: int | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.uses_rgb, self.uses_fpfh = "rgb" in branches, "fpfh" in branches or w_rd > 0
        self.rgb = RGBFeatures(backbone=backbone, layers=layers, weights="checkpoint") if self.uses_rgb else None
        self.encoder = PointNet2(outputs=embedding, width=width) if "point_cloud" in branches else None
        self.classifier = PointNet2(outputs=2, width=width) if classifier else None
        self.patch_auroc = MetricCollection(
            {kind: BinaryAUROC() for kind in ("adding", "removing")}, prefix="val/auroc/"
        )
        self.pseudo_scan_aupro = AUPRO(max_fpr=0.3)
        self.pseudo_scan_auroc = BinaryAUROC()
        self._epoch_start, self._epoch_patches = 0.0, 0

    # what the memory bank and the scores ask for --------------------------------------------------------------------

    def features(self, scan: Scan) -> Tensor:
        """f(x) = RGB, FPFH, E_theta of each patch: (B,P,1601) in the paper's setting."""
        parts = []
        if self.rgb is not None:
            grid = math.isqrt(scan.cells.shape[1])
            parts.append(as_patches(self.rgb(scan.rgb, grid=grid)))  # (B,P,1536)
        if "fpfh" in self.hparams.branches:
            parts.append(as_patches(scan.fpfh))  # (B,P,33)
        if self.encoder is not None:
            parts.append(self._on_cells(self.encoder, scan))  # (B,P,32)
        return torch.cat(parts, dim=2)

    @property
    def branch_widths(self) -> dict[str, int]:
        widths = {} if self.rgb is None else {"rgb": self.rgb.width}
        if "fpfh" in self.hparams.branches:
            widths["fpfh"] = 33
        if self.encoder is not None:
            widths["point_cloud"] = self.hparams.embedding
        return widths

    def abnormality(self, scan: Scan, *, eta: float) -> Tensor | None:
        """p(x~|w) of each patch, eqs. (8) to (10): (B,P); 0 on background cells. `eta` 0 leaves x as it is."""
        if self.classifier is None:
            return None
        return cell_probabilities(scan.patches, scan.cells, self.classifier, eta=eta)

    def _on_cells(self, network, scan: Scan) -> Tensor:
        """Apply `network` (N,K,3) -> (N,D) to the object cells only; the others are 0: (B,P,D)."""
        points = scan.patches[scan.cells]  # (N,K,3)
        values = [network(chunk) for chunk in points.split(PATCHES_AT_ONCE)] if len(points) else [network(points)]
        values = torch.cat(values).float()
        out = values.new_zeros(*scan.cells.shape, values.shape[1])
        out[scan.cells] = values
        return out

    def load_pretrained(self) -> None:
        if self.rgb is not None:
            self.rgb.fetch(self.hparams.rgb_weights)

    # joint training -------------------------------------------------------------------------------------------------

    def training_step(self, batch: PatchBatch, batch_index: int) -> Tensor:
        # dropout draws from each step's own stream, so that a resumed epoch is the one that was interrupted
        seed = int(os.environ.get("PL_GLOBAL_SEED", 0))
        torch.manual_seed(hash((seed, self.current_epoch, batch_index, self.global_rank)) % 2**63)
        loss, _ = self._losses(batch, "train")
        self._epoch_patches += len(batch.kind)
        return loss

    def _losses(self, batch: PatchBatch, stage: str) -> tuple[Tensor, Tensor | None]:
        """w_con L_con + w_rd L_rd + L_bce of a batch of patches; also p(x|w) of each, or None without C_w."""
        abnormal, terms, probability = batch.kind != NORMAL, {}, None
        if self.encoder is not None:
            embeddings = self.encoder(batch.points)
            terms["l_con"] = contrastive_loss(
                embeddings,
                abnormal,
                temperature=self.hparams.temperature,
                denominator=self.hparams.contrastive_denominator,
                reduction=self.hparams.contrastive_reduction,
            )
            if self.hparams.w_rd:
                terms["l_rd"] = disentanglement_loss(embeddings[~abnormal], batch.fpfh[~abnormal])
        if self.classifier is not None:
            logits = self.classifier(batch.points)
            terms["l_bce"] = normalcy_loss(logits, abnormal, class_balance=self.hparams.class_balance)
            probability = logits.detach().float().softmax(dim=1)[:, 1]
            for kind, code in KINDS.items():
                if (batch.kind == code).any():
                    correct = (probability > 0.5) == abnormal
                    self._log(f"{stage}/accuracy/{kind}", correct[batch.kind == code].float().mean(), batch)
        weights = {"l_con": self.hparams.w_con, "l_rd": self.hparams.w_rd, "l_bce": 1.0}
        loss = sum(weights[name] * value for name, value in terms.items())
        for name, value in {**terms, "loss": loss}.items():
            self._log(f"{stage}/{name}", value, batch)
        return loss, probability

    def _log(self, name: str, value: Tensor, batch: PatchBatch) -> None:
        training = name.startswith("train/")
        self.log(
            name,
            value.detach(),
            on_step=training,
            on_epoch=not training,
            prog_bar=name == "train/loss",
            batch_size=len(batch.kind),
            sync_dist=not training,
            add_dataloader_idx=False,
        )

    def on_train_epoch_start(self) -> None:
        self._epoch_start, self._epoch_patches = time.perf_counter(), 0

    def on_train_epoch_end(self) -> None:
        seconds = time.perf_counter() - self._epoch_start
        speed = self._epoch_patches * self.trainer.world_size / seconds
        self.log("train/patches_per_second", speed, sync_dist=True)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        norms = [p.grad.norm() for p in self.parameters() if p.grad is not None]
        self.log("train/gradient_norm", torch.stack(norms).norm())

    def configure_optimizers(self):
        trained = [
            p for network in (self.encoder, self.classifier) if network is not None for p in network.parameters()
        ]
        if not trained:
            return None
        optimizer = torch.optim.Adam(trained, lr=self.hparams.lr)
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    # validation without defects -------------------------------------------------------------------------------------

    def validation_step(self, batch: PatchBatch | Scan, batch_index: int, dataloader_idx: int = 0) -> None:
        """Loader 0: fresh patches of `validation/good`. Loader 1: whole pseudo-anomalous scans."""
        if isinstance(batch, PatchBatch):
            _, probability = self._losses(batch, "val")
            if probability is not None:
                for kind, metric in self.patch_auroc.items(keep_base=True):
                    chosen = (batch.kind == NORMAL) | (batch.kind == KINDS[kind])
                    metric.update(probability[chosen], (batch.kind[chosen] != NORMAL).long())
        elif self.classifier is not None:
            probability = self.abnormality(batch, eta=0.0)
            self.pseudo_scan_aupro.update(
                realign(probability, size=batch.mask.shape[-2:]), batch.mask[:, 0], roi=batch.object
            )
            self.pseudo_scan_auroc.update(probability.amax(dim=1), batch.label)

    def on_validation_epoch_end(self) -> None:
        if self.classifier is None:
            return
        metrics = {
            **self.patch_auroc.compute(),
            "val/pseudo_scans/object_aupro_0.3": self.pseudo_scan_aupro.compute(),
            "val/pseudo_scans/image_auroc": self.pseudo_scan_auroc.compute(),
        }
        self.log_dict(metrics, sync_dist=True)  # each the same on all processes already
        for metric in (self.patch_auroc, self.pseudo_scan_aupro, self.pseudo_scan_auroc):
            metric.reset()
