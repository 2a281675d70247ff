"""What the paper compares with, under the same data, bank, scores, metrics and fitted files."""

from threedzal.baselines.btf import BTF

__all__ = ["BTF"]
