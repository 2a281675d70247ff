"""What every method here is: a LightningModule that describes each grid patch of a scan."""

from __future__ import annotations

from lightning import LightningModule
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from threedzal.data.scan import Scan


class PatchModule(LightningModule):
    """Base of `ThreeDZAL` and of the baselines: the memory bank, the scores and the metrics ask for no more than this.

    Files, banks, thresholds and metrics are not its business: `MemoryBankCallback` and `Detector` hold them.
    """

    uses_rgb = True  # a scan without a picture is refused
    uses_fpfh = True  # scans must come with their FPFH

    @property
    def uses_pseudo_anomalies(self) -> bool:
        """Fitting needs auxiliary classes to make pseudo anomalies with; not so where there is nothing to train."""
        return any(p.requires_grad for p in self.parameters())

    def features(self, scan: Scan) -> Tensor:
        """(B,P,D) float32: f(x) of every grid patch of a batch of scans, the rows of the memory bank."""
        raise TypeError(f"{type(self).__name__} does not describe patches: it must define features()")

    @property
    def branch_widths(self) -> dict[str, int]:
        """{name: numbers} of the parts that stand side by side in `features`, in their order; empty: one part."""
        return {}

    def abnormality(self, scan: Scan, *, eta: float) -> Tensor | None:
        """(B,P) float32 in [0,1]: p(x~|w) of every grid patch (eqs. 8 to 10), or None for a method without C_w."""
        return None

    def scan_score(self, probability: Tensor, scan: Scan) -> Tensor:
        """(B,): the classifier's score of a scan from those of its patches (B,P); eq. (10)'s maximum."""
        return probability.amax(dim=1)

    def load_pretrained(self) -> None:
        """Fetch pre-trained weights. Called before work that does not start from a fitted file, which holds them."""

    def setup(self, stage: str) -> None:
        if stage == "fit" and not any(p.requires_grad for p in self.parameters()):
            rank_zero_info("There is nothing to train: the memory bank is all that is fitted")
            self.trainer.limit_train_batches = 0  # Lightning skips the loop and goes on to the end of `fit`
        if self.trainer.ckpt_path is None:
            self.load_pretrained()

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["method"] = type(self).__name__  # a fitted file says what to build; see `threedzal.checkpoint`

    def test_step(self, scan: Scan, batch_index: int) -> Tensor:
        return self.features(scan)

    def predict_step(self, scan: Scan, batch_index: int) -> Tensor:
        return self.features(scan)
