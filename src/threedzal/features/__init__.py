"""Tensors to descriptors: the three branches of section 3.1. Importing it loads neither Open3D nor timm."""

from threedzal.features.cache import ArrayCache, digest
from threedzal.features.fpfh import fpfh, fpfh_grid  # the function, in place of the module of the same name
from threedzal.features.pointnet2 import PointNet2
from threedzal.features.rgb import RGBFeatures

__all__ = ["ArrayCache", "PointNet2", "RGBFeatures", "digest", "fpfh", "fpfh_grid"]
