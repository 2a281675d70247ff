"""Descriptors to a memory bank: coreset selection and nearest-row search (method sections 3.3 and 3.4)."""

from threedzal.memory.bank import MemoryBank
from threedzal.memory.coreset import greedy_coreset
from threedzal.memory.rows import BankRows, RowOptions

__all__ = ["BankRows", "MemoryBank", "RowOptions", "greedy_coreset"]
