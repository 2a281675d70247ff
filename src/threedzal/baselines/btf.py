"""BTF ("Back to the Feature", Horwitz and Hoshen, CVPRW 2023) and its relatives: frozen features and a memory bank.

Nothing is trained. RGB + FPFH is BTF, RGB alone is PatchCore (Roth et al., CVPR 2022), FPFH alone is the 3D half of
BTF, and `depth` shows the image network the depth map instead of the picture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from threedzal.data.scan import Scan
from threedzal.errors import UserError
from threedzal.features.grid import as_patches
from threedzal.features.rgb import RGBFeatures
from threedzal.module import PatchModule

FPFH_WIDTH = 33
Branch = Literal["rgb", "depth", "fpfh"]

# The released code's choices (github.com/eliahuhorwitz/3D-ADS on the raw data set), as options of this project. The
# first that are not this project's defaults.
PARITY: dict[str, dict[str, Any]] = {
    "data": {
        "background": "keep",
        "pad_to_square": False,
        "nearest": "corner",
        "smoothing": "unpadded",
        "normals": "raw",
        "fpfh_backend": "open3d",
        "fpfh_radius": 0.25,
        "fpfh_neighbours": 100,
        "fpfh_size": None,
        "rgb_size": None,
        "image_size": 224,
        "patch_size": 8,
    },
    "memory_bank": {
        "coreset_mode": "released",
        "precision": "float32",
        "reweight_nearest": "left_out",
        "map_precision": "8bit",
        "reweight_temperature": "sqrt_dim",
        "neighbours": 3,
        "blur": 4.0,
        "coreset": 0.1,
        "bank_cells": "all",
        "index": "Flat",
        "rim": 0.0,
        "object_score": "sum",
    },
}


class BTF(PatchModule):
    """Distances to a memory bank of frozen features.

    Args:
        branches: What describes a patch, in this order: `rgb` and `depth` (the image network on the picture, and on
            the depth map in metres, repeated to three channels), `fpfh`.
        backbone: Any timm model with `features_only`.
        layers: Its feature levels, concatenated.
        rgb_weights: `pretrained` (timm's hub), `random`, or a local file.
        parity: Reproduce BTF's released code, on the scans as they are on disk, where it differs from the papers: see
            `PARITY`. One switch on the command line; from Python, hand its options to data module and callback too.
    """

    def __init__(
        self,
        branches: tuple[Branch, ...] = ("rgb", "fpfh"),
        backbone: str = "wide_resnet50_2",
        layers: tuple[int, ...] = (2, 3),
        rgb_weights: str = "pretrained",
        parity: bool = False,
    ) -> None:
        super().__init__()
        if not branches or len(set(branches)) < len(branches):
            raise UserError(f"model.branches is {list(branches)}, but wanted some of rgb, depth, fpfh, each once")
        self.save_hyperparameters()
        self.images = [name for name in branches if name != "fpfh"]
        self.uses_rgb, self.uses_fpfh = "rgb" in branches, "fpfh" in branches
        self.network = RGBFeatures(backbone=backbone, layers=layers, weights="checkpoint") if self.images else None

    @classmethod
    def brings(cls, options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        brought = {section: dict(values) for section, values in PARITY.items()} if options.get("parity") else {}
        if "fpfh" not in options.get("branches", ("fpfh",)):
            brought.setdefault("data", {})["fpfh"] = False
        return brought

    @property
    def title(self) -> str:
        known = {("rgb", "fpfh"): "BTF", ("rgb",): "PatchCore", ("fpfh",): "FPFH", ("depth",): "depth"}
        return known.get(tuple(self.hparams.branches), f"BTF ({' + '.join(self.hparams.branches)})")

    @property
    def branch_widths(self) -> dict[str, int]:
        return {name: FPFH_WIDTH if name == "fpfh" else self.network.width for name in self.hparams.branches}

    def features(self, scan: Scan) -> Tensor:
        """The branches' numbers of each patch side by side, as they are: (B,P,1569) for RGB and FPFH at full size."""
        grid, smoothing = math.isqrt(scan.cells.shape[1]), "unpadded" if self.hparams.parity else "padded"
        parts = []
        for name in self.hparams.branches:
            if name == "fpfh":
                maps = scan.fpfh
            else:
                picture = scan.rgb if name == "rgb" else scan.xyz[:, 2:].expand(-1, 3, -1, -1)
                maps = self.network(picture, grid=grid, smoothing=smoothing)
            parts.append(as_patches(maps))
        return torch.cat(parts, dim=2)

    def load_pretrained(self) -> None:
        if self.network is not None:
            self.network.fetch(self.hparams.rgb_weights)

    def training_step(self, batch: Any, batch_index: int) -> None:
        """Lightning wants one; with nothing to train it is not called."""

    def configure_optimizers(self) -> None:
        """None: nothing is trained."""

    def setup(self, stage: str) -> None:
        if self.hparams.parity:
            self._refuse_other_options()
        super().setup(stage)

    def _refuse_other_options(self) -> None:
        """Parity with some of its choices undone would be neither the released code nor the paper."""
        from threedzal.callbacks import MemoryBankCallback

        bank = next((c for c in self.trainer.callbacks if isinstance(c, MemoryBankCallback)), None)
        given = {
            "data": getattr(self.trainer.datamodule, "hparams", {}),
            "memory_bank": getattr(bank, "options", {}),
        }
        differing = [
            (f"{section}.{name}", wanted, given[section][name])
            for section, options in PARITY.items()
            for name, wanted in options.items()
            if name in given[section] and given[section][name] != wanted
        ]
        if differing:
            raise UserError(
                "model.parity is BTF's released code, which has "
                + ", ".join(f"{name} {wanted} (not {other})" for name, wanted, other in differing)
                + ": leave that out, or set model.parity: false (from Python, hand over what "
                "threedzal.baselines.btf.PARITY holds)"
            )
