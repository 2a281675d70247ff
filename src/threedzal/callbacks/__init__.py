"""What happens around training: the memory bank and the test scores, the report, the pictures."""

from threedzal.callbacks.memory_bank import MemoryBankCallback
from threedzal.callbacks.predictions import PredictionCallback
from threedzal.callbacks.report import ReportCallback

__all__ = ["MemoryBankCallback", "PredictionCallback", "ReportCallback"]
