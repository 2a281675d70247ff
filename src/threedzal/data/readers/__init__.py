"""Scans from files of many formats: one record in, points, picture and ground truth out."""

from threedzal.data.readers.arrays import read_xyz
from threedzal.data.readers.pictures import read_mask, read_rgb
from threedzal.data.readers.scan_file import (
    POINT_SUFFIXES,
    TIFF_SUFFIXES,
    ScanFile,
    embedded,
    read_object,
    read_picture,
    read_points,
    read_scan_file,
    read_truth,
)

__all__ = [
    "POINT_SUFFIXES",
    "TIFF_SUFFIXES",
    "ScanFile",
    "embedded",
    "read_mask",
    "read_object",
    "read_picture",
    "read_points",
    "read_rgb",
    "read_scan_file",
    "read_truth",
    "read_xyz",
]
