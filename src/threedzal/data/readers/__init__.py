"""Scans from files."""

from threedzal.data.readers.arrays import read_xyz
from threedzal.data.readers.pictures import read_mask, read_rgb

__all__ = ["read_mask", "read_rgb", "read_xyz"]
