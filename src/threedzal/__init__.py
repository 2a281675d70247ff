"""3DzAL: find defects on products of which no good scan was ever seen (WACV 2025)."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threedzal.baselines import BTF
    from threedzal.callbacks import MemoryBankCallback
    from threedzal.data.datamodule import ZeroShotDataModule
    from threedzal.data.index import read_scan
    from threedzal.detector import Detector, Prediction, load
    from threedzal.model import ThreeDZAL
    from threedzal.plus import ThreeDZALPlus

__all__ = [
    "BTF",
    "Detector",
    "MemoryBankCallback",
    "Prediction",
    "ThreeDZAL",
    "ThreeDZALPlus",
    "ZeroShotDataModule",
    "load",
    "read_scan",
]

_HOME = {
    "BTF": "threedzal.baselines",
    "Detector": "threedzal.detector",
    "MemoryBankCallback": "threedzal.callbacks",
    "Prediction": "threedzal.detector",
    "ThreeDZAL": "threedzal.model",
    "ThreeDZALPlus": "threedzal.plus",
    "ZeroShotDataModule": "threedzal.data.datamodule",
    "load": "threedzal.detector",
    "read_scan": "threedzal.data.index",
}


def __getattr__(name: str):
    """Import on first use: `threedzal data generate` must not wait for Lightning."""
    if name not in _HOME:
        raise AttributeError(f"module 'threedzal' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)
