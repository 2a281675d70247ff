"""3DSR (Zavrtanik, Kristan, Skocaj: Cheating Depth, WACV 2024): a depth-aware discrete autoencoder, pre-trained on
simulated depth (`DADA`), and a detector that learns to restore codes which were replaced (`DSR3D`)."""

from threedzal.baselines.dsr3d.dada import DADA
from threedzal.baselines.dsr3d.dsr3d import DSR3D

__all__ = ["DADA", "DSR3D"]
