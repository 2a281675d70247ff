"""ThreeDZALPlus, beyond the paper: a normalcy classifier that sees what the memory bank sees.

The paper's C_w sees the points of a patch alone. This one is a mixture of small experts on frozen views of a patch
(picture, normals, how alone the patch is in its scan), each number z-scored over the scan's own object. It is
trained on whole scans in which pseudo anomalies change geometry and appearance together, so that no scan of the tested
product is needed, labelled or not. See docs/beyond.md for what each part is worth.
"""

from __future__ import annotations

import os
from typing import Literal

import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection
from torchmetrics.classification import BinaryAUROC

from threedzal.data.scan import Scan
from threedzal.errors import UserError
from threedzal.experts import (
    Input,
    balanced_loss,
    check_expert,
    chosen_patches,
    make_classifier,
    patch_labels,
    views_of,
)
from threedzal.features.grid import as_patches
from threedzal.features.instance import instance_normalise
from threedzal.features.pointnet2 import PointNet2
from threedzal.features.rgb import RGBFeatures
from threedzal.features.views import FPFH_WIDTH, FrozenViews, object_cells
from threedzal.losses import contrastive_loss
from threedzal.metrics import AUPRO
from threedzal.mixture import mix
from threedzal.module import PatchModule
from threedzal.pooling import POOLINGS, Pooling, excess, pool
from threedzal.scoring import realign

Branch = Literal["rgb", "fpfh", "point_cloud"]


class ThreeDZALPlus(PatchModule):
    """Small MLPs on instance-normalised views of the patches, beside the paper's memory bank.

    Args:
        experts: What each of the classifiers sees; their log-odds are averaged. `rgb`: frozen features of the picture;
            `raw_rgb`: the same, not normalised; `normals`: the same network on a picture of the normals; `relief`:
            bands of depth, bending, gaps; `similarity`: distances to the most similar other patches of the scan, by
            every layer of the expert's `rgb` and `normals`; `symmetry`: the same to patches in any turn and mirroring
            of the scan; `rgb_similarity` and so on: these of an image that the expert does not see itself; `fpfh`;
            `point_cloud`: E_theta, a PointNet++ on the patch's points that learns with the classifiers.
            `[[point_cloud]]` is the paper's C_w.
        score_experts: More classifiers, which have a say in the score of a scan alone, beside the others. What is
            z-scored tells the patches of a scan from one another, and what is not tells scans apart, too.
        mixture: How much each expert counts in the score: `calm`, the less the louder it is on the bulk of the scan's
            patches (`threedzal.mixture`); `equal`, all the same, as in the maps.
        backbone: Any timm model with `features_only`.
        layers: Its feature levels.
        rgb_weights: `pretrained` (timm's hub), `random`, or a local file.
        bank_branches: What the memory bank holds of a patch.
        bank_layers: Those of `layers` that its `rgb` is.
        hidden: Width of an expert's one hidden layer.
        dropout: Of the hidden layer.
        input_dropout: Of the views.
        weight_decay: Of AdamW.
        lr: Peak learning rate; falls by a cosine to 0 over the run.
        normalise: `instance` z-scores each number over the scan's own object cells; `none`, for the ablation, not.
        positive_share: A patch is anomalous from this share of anomalous pixels on, normal at 0, undecided between.
        normals_per_scan: Most normal patches of a scan that a step learns from; all anomalous ones.
        hard_normals: The share of the normal patches, those judged worst, that make half of their part of the loss.
        point_width: Scales E_theta's channels; 1 is the paper's size.
        embedding: Length of E_theta(x).
        w_con: Weight of L_con, eq. (1), on E_theta; 0: E_theta learns from the classifiers alone.
        cells: What the map shows of a patch: the `excess` of its log-odds over the scan's median, or its `probability`.
        pooling: How patches make the score of a scan; see `threedzal.pooling.pool`.
    """

    title = "3DzAL plus"

    def __init__(
        self,
        experts: tuple[tuple[Input, ...], ...] = (
            ("rgb", "similarity", "symmetry"),
            ("normals", "similarity", "symmetry"),
        ),
        score_experts: tuple[tuple[Input, ...], ...] = (),
        mixture: Literal["calm", "equal"] = "calm",
        backbone: str = "wide_resnet50_2",
        layers: tuple[int, ...] = (1, 2, 3),
        rgb_weights: str = "pretrained",
        bank_branches: tuple[Branch, ...] = ("rgb",),
        bank_layers: tuple[int, ...] = (2, 3),
        hidden: int = 128,
        dropout: float = 0.5,
        input_dropout: float = 0.5,
        weight_decay: float = 1e-2,
        lr: float = 1e-3,
        normalise: Literal["instance", "none"] = "instance",
        positive_share: float = 0.25,
        normals_per_scan: int = 2000,
        hard_normals: float = 0.25,
        point_width: float = 0.25,
        embedding: int = 32,
        w_con: float = 0.0,
        cells: Literal["excess", "probability"] = "excess",
        pooling: Pooling = "peak",
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self._check_options()
        self._views_of, self._voters = [views_of(e) for e in (*experts, *score_experts)], len(experts)
        seen = dict.fromkeys(name for views in self._views_of for name in views)
        self.uses_fpfh, self.learns_fpfh = "fpfh" in (*bank_branches, *seen), "fpfh" in seen
        self.views = FrozenViews(backbone=backbone, layers=layers, normalise=normalise)
        learned = "point_cloud" in (*bank_branches, *seen)
        self.encoder = PointNet2(outputs=embedding, width=point_width) if learned else None
        self.classifiers = nn.ModuleList(
            make_classifier(
                sum(embedding if name == "point_cloud" else self.views.width(name) for name in names),
                hidden=hidden,
                dropout=dropout,
                input_dropout=input_dropout,
            )
            for names in self._views_of
        )
        self.pseudo_scan_aupro = AUPRO(max_fpr=0.3)
        self.pseudo_scan_auroc = MetricCollection(
            {how: BinaryAUROC() for how in POOLINGS}, prefix="val/pseudo_scans/image_auroc/"
        )

    def _check_options(self) -> None:
        given = self.hparams
        for name in ("experts", "score_experts"):
            for expert in given[name]:
                check_expert(name, expert)
        if not given.experts:
            raise UserError("model.experts is empty: give what at least one classifier sees, such as [[rgb]]")
        if not set(given.bank_layers) <= set(given.layers) or not given.bank_layers:
            raise UserError(
                f"model.bank_layers is {list(given.bank_layers)}, but wanted some of model.layers {list(given.layers)}"
            )
        if not 0 < given.hard_normals <= 1:
            raise UserError(f"model.hard_normals is {given.hard_normals}, but wanted a share above 0, at most 1")
        if not given.bank_branches:
            raise UserError("model.bank_branches is empty: give what the memory bank holds, such as [rgb]")

    # what the memory bank and the scores ask for --------------------------------------------------------------------

    def features(self, scan: Scan) -> Tensor:
        """The bank's rows, (B,P,D): `bank_branches` in the paper's order, RGB of `bank_layers`."""
        parts = []
        if "rgb" in self.hparams.bank_branches:
            levels = self.views.levels(self.views.picture(scan))
            parts += [levels[layer] for layer in self.hparams.bank_layers]
        if "fpfh" in self.hparams.bank_branches:
            parts.append(as_patches(scan.fpfh))
        if "point_cloud" in self.hparams.bank_branches:
            parts.append(self._embedded(scan, scan.cells))
        return torch.cat(parts, dim=2)

    @property
    def branch_widths(self) -> dict[str, int]:
        rgb = sum(self.views.level_widths[layer] for layer in self.hparams.bank_layers)
        widths = {"rgb": rgb, "fpfh": FPFH_WIDTH, "point_cloud": self.hparams.embedding}
        return {name: width for name, width in widths.items() if name in self.hparams.bank_branches}

    def abnormality(self, scan: Scan, *, eta: float) -> Tensor:
        """Probability that each patch is anomalous, (B,P); 0 outside the object.

        `eta` is not looked at: eq. (8) moves points, and the frozen views are not moved.
        """
        cells = object_cells(scan)
        return self._log_odds(scan, cells, slice(self._voters)).mean(dim=1).sigmoid() * cells

    def cell_scores(self, probability: Tensor, scan: Scan) -> Tensor:
        return excess(probability, object_cells(scan)) if self.hparams.cells == "excess" else probability

    def scan_score(self, probability: Tensor, scan: Scan) -> Tensor:
        return pool(self._judged_by_all(probability, scan), object_cells(scan), how=self.hparams.pooling)

    def _judged_by_all(self, probability: Tensor, scan: Scan) -> Tensor:
        """(B,P): what all experts say, mixed; where the others have no more to say, `probability` is."""
        if not self.hparams.score_experts and (self.hparams.mixture == "equal" or self._voters == 1):
            return probability
        cells = object_cells(scan)
        odds = self._log_odds(scan, cells)
        mixed = mix(odds, cells) if self.hparams.mixture == "calm" else odds.mean(dim=1)
        return mixed.sigmoid() * cells

    def _log_odds(self, scan: Scan, cells: Tensor, which: slice = slice(None)) -> Tensor:
        """(B,E,P) float32 of the classifiers `which`."""
        inputs = self.inputs(scan, cells, which)
        odds = [expert(seen)[..., 0].float() for expert, seen in zip(self.classifiers[which], inputs, strict=True)]
        return torch.stack(odds, dim=1)

    def inputs(self, scan: Scan, cells: Tensor, which: slice = slice(None)) -> list[Tensor]:
        """What each classifier sees of the patches, (B,P,D): 0 outside `cells` (B,P) bool, the object's."""
        views = self._frozen(scan, cells, which)
        if any("point_cloud" in names for names in self._views_of[which]):
            measured = cells & scan.cells
            views["point_cloud"] = self._normalised(self._embedded(scan, measured), measured)
        return [torch.cat([views[name] for name in names], dim=2) for names in self._views_of[which]]

    def _frozen(self, scan: Scan, cells: Tensor, which: slice = slice(None)) -> dict[str, Tensor]:
        return self.views(scan, cells, {name for names in self._views_of[which] for name in names} - {"point_cloud"})

    def _embedded(self, scan: Scan, cells: Tensor) -> Tensor:
        """E_theta of the patches `cells` (B,P) bool: (B,P,embedding), 0 elsewhere."""
        values = self.encoder(scan.patches[cells]).float()
        return values.new_zeros(*cells.shape, values.shape[1]).index_put((cells,), values)

    def _normalised(self, values: Tensor, cells: Tensor) -> Tensor:
        return instance_normalise(values, cells) if self.hparams.normalise == "instance" else values

    def load_pretrained(self) -> None:
        options = {"backbone": self.hparams.backbone, "layers": self.hparams.layers}
        self.views.network.load_state_dict(RGBFeatures(weights=self.hparams.rgb_weights, **options).state_dict())

    # training -------------------------------------------------------------------------------------------------------

    def training_step(self, scan: Scan, batch_index: int) -> Tensor:
        # dropout draws from each step's own stream, so that a resumed epoch is the one that was interrupted
        seed = int(os.environ.get("PL_GLOBAL_SEED", 0))
        torch.manual_seed(hash((seed, self.current_epoch, batch_index, self.global_rank)) % 2**63)
        if not isinstance(scan, Scan):
            raise UserError("ThreeDZALPlus learns from whole scans: set data.training: scans")
        cells = object_cells(scan)
        abnormal, decided = patch_labels(scan.mask, cells, positive_share=self.hparams.positive_share)
        shown = chosen_patches(abnormal, decided, normals=self.hparams.normals_per_scan)
        truth, losses, odds = abnormal[shown], {}, []
        views = self._frozen(scan, cells)
        if self.encoder is not None:
            measured = shown & scan.cells
            embeddings = self._embedded(scan, measured)
            views["point_cloud"] = self._normalised(embeddings, measured)
            if self.hparams.w_con:
                con = contrastive_loss(embeddings[measured], abnormal[measured])
                losses["l_con"] = self.hparams.w_con * con
        for expert, names in zip(self.classifiers, self._views_of, strict=True):
            odds.append(expert(torch.cat([views[name][shown] for name in names], dim=1))[:, 0])
        losses["l_bce"] = sum(balanced_loss(values, truth, hard=self.hparams.hard_normals) for values in odds)
        loss = sum(losses.values())
        self._log("train/loss", loss, prog_bar=True)
        for name, value in losses.items():
            self._log(f"train/{name}", value)
        correct = (torch.stack(odds[: self._voters]).mean(dim=0) > 0) == truth
        for name, kind in (("normal", ~truth), ("abnormal", truth)):
            if kind.any():
                self._log(f"train/accuracy/{name}", correct[kind].float().mean())
        return loss

    def _log(self, name: str, value: Tensor, **options) -> None:
        self.log(name, value.detach(), on_step=True, on_epoch=False, batch_size=1, **options)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        norms = [p.grad.norm() for p in self.parameters() if p.grad is not None]
        self._log("train/gradient_norm", torch.stack(norms).norm())

    def configure_optimizers(self):
        options = {"lr": self.hparams.lr, "weight_decay": self.hparams.weight_decay}
        optimizer = torch.optim.AdamW([p for p in self.parameters() if p.requires_grad], **options)
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    # validation without defects -------------------------------------------------------------------------------------

    def validation_step(self, scan: Scan, batch_index: int) -> None:
        probability, cells = self.abnormality(scan, eta=0.0), object_cells(scan)
        maps = realign(self.cell_scores(probability, scan), size=scan.mask.shape[-2:])
        self.pseudo_scan_aupro.update(maps, scan.mask[:, 0], roi=scan.object)
        judged = self._judged_by_all(probability, scan)
        for how, metric in self.pseudo_scan_auroc.items(keep_base=True):
            score = pool(judged, cells, how=how)
            metric.update(0.5 + 0.5 * score / (1 + score.abs()), scan.label)  # the same order, in [0,1]

    def on_validation_epoch_end(self) -> None:
        self.log("val/pseudo_scans/object_aupro_0.3", self.pseudo_scan_aupro)  # gathered, computed, reset by Lightning
        self.log_dict(self.pseudo_scan_auroc)
