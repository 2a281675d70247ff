"""Several methods on the same pairs of classes and seeds: one table, one page of pictures."""

from threedzal.comparison.plan import Comparison, MethodEntry, Pair, read_methods, read_pairs
from threedzal.comparison.summary import Group, Row, summarise

__all__ = ["Comparison", "Group", "MethodEntry", "Pair", "Row", "read_methods", "read_pairs", "summarise"]
