"""What the paper compares with, under the same data, scores, metrics and fitted files."""

from threedzal.baselines.btf import BTF
from threedzal.baselines.dsr3d import DADA, DSR3D

__all__ = ["BTF", "DADA", "DSR3D"]
