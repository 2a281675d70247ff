"""Silence what libraries say that is none of the user's business. Exact messages only: every other warning stays."""

from __future__ import annotations

import logging
import re
import warnings

# Regular expressions, matched at the start of the message; each with what makes it noise here.
WARNINGS = (
    r"`isinstance\(treespec, LeafSpec\)",  # Lightning's use of torch
    r"Found \d+ module\(s\) in eval mode at the start of training",  # the RGB branch, frozen as the paper has it
    r"The dirpath has changed from",  # a test or a resumed run writes to a folder of its own
    r"The '\w+_dataloader' does not have many workers",  # data.num_workers is the user's choice
    r"Consider setting `persistent_workers=True`",  # the workers of short loaders are meant to end
    r"`LightningModule.configure_optimizers` returned `None`",  # the project says itself that nothing is trained
    r"It is recommended to use `self.log\('(test|bank)/",  # the first process logs what all have computed together
    r"The `srun` command is available on your system but is not used",
)
LOG_LINES = (
    r"💡 Tip:",  # an advertisement
    r"`weights_only` was not set",  # Lightning's own call, on a file that was written a moment ago
    r"TPU available: False",
    r"Loading `train_dataloader` to estimate number of stepping batches",
    r"\s*Detected KeyboardInterrupt",  # the command says it itself, with how to go on
)


def quieten() -> None:
    """Install the filters; calling it again changes nothing."""
    for pattern in WARNINGS:
        warnings.filterwarnings("ignore", message=pattern)
    for name in ("lightning.pytorch", "lightning.fabric"):
        for handler in logging.getLogger(name).handlers:
            handler.addFilter(_is_for_the_user)


def _is_for_the_user(record: logging.LogRecord) -> bool:
    return not _NOISE.match(record.getMessage())


_NOISE = re.compile("|".join(LOG_LINES))
