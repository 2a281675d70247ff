"""What every method here is: a LightningModule that describes the patches of a scan, or maps a scan at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning import LightningModule
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from threedzal.data.scan import Scan
from threedzal.errors import UserError


class Method(LightningModule):
    """Base of all methods: a `PatchModule` is judged by a memory bank, a `MapModule` judges by itself.

    Files, banks, thresholds and metrics are not its business: `MemoryBankCallback` and `Detector` hold them.
    """

    title = ""  # what papers call it, for reports; its class's name where there is none
    judges_scans = True  # False: a stage of a method, pre-trained alone; there is no map to test or to predict
    uses_rgb = True  # a scan without a picture is refused
    uses_fpfh = True  # scans must come with their FPFH
    learns_fpfh = True  # so must those that it is trained on
    uses_pseudo_anomalies = True  # it learns from them: without classes to make them out of it cannot be fitted

    @classmethod
    def brings(cls, options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Options of `data` and `memory_bank` that follow from the method's own `options`, where none are given.

        The command line takes them up; they give way to what the user says.
        """
        return {}

    def outputs(self, scan: Scan) -> Tensor | tuple[Tensor, Tensor]:
        """What a `Detector` makes its scores of: features, or a map and a score."""
        raise TypeError(f"{type(self).__name__} must be a PatchModule or a MapModule")

    def load_pretrained(self) -> None:
        """Fetch pre-trained weights. Called before work that does not start from a fitted file, which holds them."""

    def setup(self, stage: str) -> None:
        if stage in ("test", "predict"):
            self.require_judge()
        if stage == "fit" and not any(p.requires_grad for p in self.parameters()):
            rank_zero_info("There is nothing to train: the memory bank is all that is fitted")
            self.trainer.limit_train_batches = 0  # Lightning skips the loop and goes on to the end of `fit`
            self.trainer.strategy.configure_ddp = lambda: None  # torch refuses to wrap what has no gradient
        if self.trainer.ckpt_path is None:
            self.load_pretrained()

    def require_judge(self) -> None:
        """Refuse to look for defects with what is only a stage of a method."""
        if not self.judges_scans:
            name = type(self).__name__
            raise UserError(
                f"{name} is one stage of a method and marks no defects: fit a detector on it, and take that"
            )

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["method"] = type(self).__name__  # a fitted file says what to build; see `threedzal.checkpoint`

    def test_step(self, scan: Scan, batch_index: int) -> Tensor | tuple[Tensor, Tensor]:
        return self.outputs(scan)

    def predict_step(self, scan: Scan, batch_index: int) -> Tensor | tuple[Tensor, Tensor]:
        return self.outputs(scan)


class PatchModule(Method):
    """Base of `ThreeDZAL` and of all that compare patches: the bank, the scores and the metrics ask for no more."""

    @property
    def uses_pseudo_anomalies(self) -> bool:
        """Fitting needs auxiliary classes to make pseudo anomalies with; not so where there is nothing to train."""
        return any(p.requires_grad for p in self.parameters())

    def features(self, scan: Scan) -> Tensor:
        """(B,P,D) float32: f(x) of every grid patch of a batch of scans, the rows of the memory bank."""
        raise TypeError(f"{type(self).__name__} does not describe patches: it must define features()")

    def outputs(self, scan: Scan) -> Tensor:
        return self.features(scan)

    @property
    def branch_widths(self) -> dict[str, int]:
        """{name: numbers} of the parts that stand side by side in `features`, in their order; empty: one part."""
        return {}

    def abnormality(self, scan: Scan, *, eta: float) -> Tensor | None:
        """(B,P) float32 in [0,1]: p(x~|w) of every grid patch (eqs. 8 to 10), or None for a method without C_w."""
        return None

    def cell_scores(self, probability: Tensor, scan: Scan) -> Tensor:
        """(B,P): what the classifier's map is made of; eq. (10) takes the probabilities as they are."""
        return probability

    def scan_score(self, probability: Tensor, scan: Scan) -> Tensor:
        """(B,): the classifier's score of a scan from those of its patches (B,P); eq. (10)'s maximum."""
        return probability.amax(dim=1)


class MapModule(Method):
    """Base of the methods without a memory bank: they map a scan to its anomaly map, and learn to from good scans."""

    uses_fpfh = False
    uses_pseudo_anomalies = False

    def anomaly(self, scan: Scan) -> tuple[Tensor, Tensor]:
        """Map (B,H,W) and score (B,), float32, of a batch of scans, higher for a defect: the fused ones as they are."""
        raise TypeError(f"{type(self).__name__} does not map scans: it must define anomaly()")

    def outputs(self, scan: Scan) -> tuple[Tensor, Tensor]:
        return self.anomaly(scan)
