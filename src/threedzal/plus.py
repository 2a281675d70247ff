"""ThreeDZALPlus, beyond the paper: a normalcy classifier that sees what the memory bank sees.

The paper's C_w sees the points of a patch alone. This one sees frozen features of the picture, the relief at several
scales, and how alone a patch is in its scan; every number z-scored over the scan's own object. It is trained on whole
scans in which pseudo anomalies change geometry and appearance together, so that no scan of the tested product is
needed, labelled or not. See docs/beyond.md for what each part is worth.
"""

from __future__ import annotations

import math
import os
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MetricCollection
from torchmetrics.classification import BinaryAUROC

from threedzal.data.scan import Scan
from threedzal.errors import UserError
from threedzal.features.grid import as_patches
from threedzal.features.instance import SIMILARITY_WIDTH, instance_normalise, self_similarity
from threedzal.features.relief import RELIEF_WIDTH, relief_features, surface_normals
from threedzal.features.rgb import RGBFeatures
from threedzal.metrics import AUPRO
from threedzal.module import PatchModule
from threedzal.pooling import POOLINGS, Pooling, pool
from threedzal.scoring import realign

Input = Literal["rgb", "normals", "relief", "similarity", "fpfh"]
INPUTS = ("rgb", "normals", "relief", "similarity", "fpfh")
FPFH_WIDTH = 33
NORMALS_CONTRAST = 2.0  # normals span -1 to 1, an ImageNet-normalised picture about -2 to 2
OBJECT_SHARE = 0.25  # of a cell's pixels that must be object, measured or not: a hole has no measurement
OVERLAP = 1 / 14  # of the grid: patches this near see the same pixels


class ThreeDZALPlus(PatchModule):
    """A small MLP on instance-normalised frozen features, beside the paper's memory bank on RGB features.

    Args:
        inputs: What the classifier sees: `rgb` (frozen features of the picture), `normals` (the same network on a
            picture of the normals), `relief` (bands of depth, bending, gaps), `similarity` (distances to the most
            similar other patches of the scan, by every layer of `rgb` and `normals`), `fpfh`.
        backbone: Any timm model with `features_only`.
        layers: Its feature levels.
        rgb_weights: `pretrained` (timm's hub), `random`, or a local file.
        bank_layers: Those of `layers` that the memory bank holds.
        hidden: Width of the MLP's one hidden layer.
        dropout: Of the hidden layer.
        input_dropout: Of the features.
        weight_decay: Of AdamW.
        lr: Peak learning rate; falls by a cosine to 0 over the run.
        normalise: `instance` z-scores each number over the scan's own object cells; `none`, for the ablation, not.
        positive_share: A patch is anomalous from this share of anomalous pixels on, normal at 0, undecided between.
        pooling: How patches make the score of a scan; see `threedzal.pooling.pool`.
    """

    title = "3DzAL plus"

    def __init__(
        self,
        inputs: tuple[Input, ...] = ("rgb", "relief", "similarity"),
        backbone: str = "wide_resnet50_2",
        layers: tuple[int, ...] = (1, 2, 3),
        rgb_weights: str = "pretrained",
        bank_layers: tuple[int, ...] = (2, 3),
        hidden: int = 128,
        dropout: float = 0.5,
        input_dropout: float = 0.2,
        weight_decay: float = 1e-2,
        lr: float = 1e-3,
        normalise: Literal["instance", "none"] = "instance",
        positive_share: float = 0.25,
        pooling: Pooling = "contrast",
    ) -> None:
        super().__init__()
        if not inputs or set(inputs) - set(INPUTS) or set(inputs) == {"similarity"}:
            raise UserError(
                f"model.inputs is {list(inputs)}, but wanted some of {', '.join(INPUTS)}, not similarity alone"
            )
        if not set(bank_layers) <= set(layers) or not bank_layers:
            raise UserError(f"model.bank_layers is {list(bank_layers)}, but wanted some of model.layers {list(layers)}")
        self.save_hyperparameters()
        self.uses_fpfh = "fpfh" in inputs
        self.rgb = RGBFeatures(backbone=backbone, layers=layers, weights="checkpoint")
        channels = self.rgb.network.feature_info.channels()
        self._widths = dict(zip(layers, channels, strict=True))
        images = [name for name in ("rgb", "normals") if name in inputs]
        widths = {name: sum(channels) for name in images} | {"relief": RELIEF_WIDTH, "fpfh": FPFH_WIDTH}
        widths["similarity"] = SIMILARITY_WIDTH * len(images) * len(layers)
        self.classifier = make_classifier(
            sum(widths[name] for name in inputs), hidden=hidden, dropout=dropout, input_dropout=input_dropout
        )
        self.pseudo_scan_aupro = AUPRO(max_fpr=0.3)
        self.pseudo_scan_auroc = MetricCollection(
            {how: BinaryAUROC() for how in POOLINGS}, prefix="val/pseudo_scans/image_auroc/"
        )
        self._seen: tuple[Tensor, Tensor] | None = None  # a picture and its features: the bank and C_w both ask

    # what the memory bank and the scores ask for --------------------------------------------------------------------

    def features(self, scan: Scan) -> Tensor:
        """The bank's rows: RGB features of `bank_layers`, as the paper's f(x) has them, (B,P,D)."""
        levels = self._levels(self._picture_features(scan))
        return torch.cat([levels[layer] for layer in self.hparams.bank_layers], dim=2)

    @property
    def branch_widths(self) -> dict[str, int]:
        return {"rgb": sum(self._widths[layer] for layer in self.hparams.bank_layers)}

    def abnormality(self, scan: Scan, *, eta: float) -> Tensor:
        """Probability that each patch is anomalous, (B,P); 0 outside the object.

        `eta` is not looked at: eq. (8) moves points, and the frozen features of a picture are not moved.
        """
        cells = object_cells(scan)
        return self.classifier(self.inputs(scan, cells))[..., 0].float().sigmoid() * cells

    def scan_score(self, probability: Tensor, scan: Scan) -> Tensor:
        return pool(probability, object_cells(scan), how=self.hparams.pooling)

    @torch.no_grad()
    def inputs(self, scan: Scan, cells: Tensor) -> Tensor:
        """What the classifier sees of each patch, (B,P,D): 0 outside `cells` (B,P) bool, the object's."""
        blocks = self.blocks(scan, cells)
        return torch.cat([blocks[name] for name in self.hparams.inputs], dim=2)

    @torch.no_grad()
    def blocks(self, scan: Scan, cells: Tensor) -> dict[str, Tensor]:
        """`inputs` by name, each (B,P,D). `similarity` has 6 numbers for every layer of rgb, then of the normals."""
        grid, wanted = math.isqrt(scan.cells.shape[1]), self.hparams.inputs
        blocks, images = {}, []
        if "rgb" in wanted:
            blocks["rgb"] = self._normalised(self._picture_features(scan), cells)
            images.append(blocks["rgb"])
        if "normals" in wanted:
            picture = NORMALS_CONTRAST * surface_normals(scan.xyz, scan.valid, scan.object)
            blocks["normals"] = self._normalised(as_patches(self.rgb(picture, grid=grid)), cells)
            images.append(blocks["normals"])
        if "relief" in wanted:
            relief = relief_features(scan.xyz, scan.valid, scan.object, grid=grid)
            blocks["relief"] = self._normalised(as_patches(relief), cells)
        if "fpfh" in wanted:
            blocks["fpfh"] = self._normalised(as_patches(scan.fpfh), cells)
        if "similarity" in wanted:
            levels = [level for image in images for level in self._levels(image).values()]
            reach = max(1, round(OVERLAP * grid))
            blocks["similarity"] = torch.cat([self_similarity(level, cells, reach=reach) for level in levels], 2)
        return blocks

    def _normalised(self, features: Tensor, cells: Tensor) -> Tensor:
        if self.hparams.normalise == "instance":
            return instance_normalise(features, cells)
        return features.float() * cells[..., None]

    def _picture_features(self, scan: Scan) -> Tensor:
        """(B,P,sum of the layers' channels); the last picture's are kept."""
        if self._seen is None or self._seen[0] is not scan.rgb:
            grid = math.isqrt(scan.cells.shape[1])
            self._seen = (scan.rgb, as_patches(self.rgb(scan.rgb, grid=grid)))
        return self._seen[1]

    def _levels(self, features: Tensor) -> dict[int, Tensor]:
        """{layer: (B,P,channels)} of features that stand side by side."""
        return dict(zip(self._widths, features.split(list(self._widths.values()), dim=2), strict=True))

    def load_pretrained(self) -> None:
        self.rgb.fetch(self.hparams.rgb_weights)

    # training -------------------------------------------------------------------------------------------------------

    def training_step(self, scan: Scan, batch_index: int) -> Tensor:
        # dropout draws from each step's own stream, so that a resumed epoch is the one that was interrupted
        seed = int(os.environ.get("PL_GLOBAL_SEED", 0))
        torch.manual_seed(hash((seed, self.current_epoch, batch_index, self.global_rank)) % 2**63)
        if not isinstance(scan, Scan):
            raise UserError("ThreeDZALPlus learns from whole scans: set data.training: scans")
        cells = object_cells(scan)
        abnormal, decided = patch_labels(scan.mask, cells, positive_share=self.hparams.positive_share)
        logits = self.classifier(self.inputs(scan, cells)[decided])[:, 0]
        loss = balanced_loss(logits, abnormal[decided])
        correct = (logits > 0) == abnormal[decided]
        self._log("train/loss", loss, prog_bar=True)
        for name, chosen in (("normal", ~abnormal[decided]), ("abnormal", abnormal[decided])):
            if chosen.any():
                self._log(f"train/accuracy/{name}", correct[chosen].float().mean())
        return loss

    def _log(self, name: str, value: Tensor, **options) -> None:
        self.log(name, value.detach(), on_step=True, on_epoch=False, batch_size=1, **options)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        norms = [p.grad.norm() for p in self.parameters() if p.grad is not None]
        self._log("train/gradient_norm", torch.stack(norms).norm())

    def configure_optimizers(self):
        options = {"lr": self.hparams.lr, "weight_decay": self.hparams.weight_decay}
        optimizer = torch.optim.AdamW(self.classifier.parameters(), **options)
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    # validation without defects -------------------------------------------------------------------------------------

    def validation_step(self, scan: Scan, batch_index: int) -> None:
        probability, cells = self.abnormality(scan, eta=0.0), object_cells(scan)
        maps = realign(probability, size=scan.mask.shape[-2:])
        self.pseudo_scan_aupro.update(maps, scan.mask[:, 0], roi=scan.object)
        for how, metric in self.pseudo_scan_auroc.items(keep_base=True):
            score = pool(probability, cells, how=how)
            metric.update(score.sigmoid() if how in ("top", "contrast", "outlier") else score, scan.label)

    def on_validation_epoch_end(self) -> None:
        self.log("val/pseudo_scans/object_aupro_0.3", self.pseudo_scan_aupro.compute())
        self.log_dict(self.pseudo_scan_auroc.compute())
        self.pseudo_scan_aupro.reset()
        self.pseudo_scan_auroc.reset()


def make_classifier(width: int, *, hidden: int, dropout: float, input_dropout: float) -> nn.Sequential:
    """An MLP (N,width) -> (N,1) logits; few, strong regularisations, for it will judge what it never saw."""
    return nn.Sequential(
        nn.Dropout(input_dropout),
        nn.Linear(width, hidden),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, 1),
    )


def object_cells(scan: Scan) -> Tensor:
    """(B,P) bool: the cells of which at least a quarter is object. `Scan.cells` are those with measured points."""
    grid = math.isqrt(scan.cells.shape[1])
    return F.adaptive_avg_pool2d(scan.object[:, None].float(), grid).flatten(1) >= OBJECT_SHARE


def patch_labels(mask: Tensor, cells: Tensor, *, positive_share: float) -> tuple[Tensor, Tensor]:
    """Which patches are anomalous, and which are decided: both (B,P) bool.

    A patch with more than `positive_share` of its pixels in `mask` (B,1,H,W) bool is anomalous, one with none normal;
    between, and outside `cells` (B,P) bool, it is undecided.
    """
    share = F.adaptive_avg_pool2d(mask.float(), math.isqrt(cells.shape[1])).flatten(1)
    return share > positive_share, cells & ((share == 0) | (share > positive_share))


def balanced_loss(logits: Tensor, abnormal: Tensor) -> Tensor:
    """Binary cross-entropy of logits (N,) in which both classes weigh a half, however many there are of each."""
    weights = torch.where(abnormal, 0.5 / abnormal.sum().clamp(min=1), 0.5 / (~abnormal).sum().clamp(min=1))
    losses = F.binary_cross_entropy_with_logits(logits.float(), abnormal.float(), reduction="none")
    return (weights * losses).sum()
