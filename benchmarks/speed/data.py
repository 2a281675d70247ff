"""Data of the paper's size that needs no data set: features of patches, patches, scans, anomaly maps."""

from functools import cache

import numpy as np
import torch
from torch import Tensor

CELLS = 784  # 28 x 28 patches a scan
WIDTH = 1569  # numbers of BTF's features of a patch: RGB 1536, FPFH 33
PROJECTED = 300  # what the projection leaves of them for 191 296 rows


def patch_features(scans: int, width: int, *, seed: int = 0) -> Tensor:
    """(scans * 784, width) float32, shaped like those of real scans.

    Each cell of the grid has a mean of its own in a few hidden dimensions; scans differ as a whole and patch by patch,
    on the object (40 % of the cells) ten times as much as beside it.
    """
    hidden = 24
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
    inside = ((rows - 13.5) ** 2 + (columns - 13.5) ** 2 < 100).flatten()
    spread = torch.where(inside, 1.0, 0.1)[:, None]
    means, mix = torch.randn(CELLS, hidden, generator=generator), torch.randn(hidden, width, generator=generator)
    features = torch.empty(scans * CELLS, width)
    for scan in features.split(CELLS):
        own = 0.5 * torch.randn(CELLS, hidden, generator=generator) + 0.7 * torch.randn(1, hidden, generator=generator)
        noise = 0.05 * torch.randn(CELLS, width, generator=generator)
        torch.add(torch.tanh((spread * (means + own)) @ mix / hidden**0.5), spread * noise, out=scan)
    return features


def surface_patches(count: int, *, seed: int = 0) -> Tensor:
    """(count, 64, 3) float32: curved discs in the unit ball, as the patches of a surface are."""
    generator = torch.Generator().manual_seed(seed)
    disc = torch.randn(count, 64, 3, generator=generator) * torch.tensor([1.0, 1.0, 0.1])
    disc[..., 2] += 0.2 * torch.randn(count, 1, generator=generator) * disc[..., 0] ** 2
    disc = disc - disc.mean(1, keepdim=True)
    return disc / disc.norm(dim=-1).amax(1)[:, None, None]


@cache
def raw_scan(size: int) -> tuple[np.ndarray, np.ndarray]:
    """A generated scan on its table: rgb (size, size, 3) uint8, xyz (size, size, 3) float32 metres."""
    from threedzal.data.generated.scan import ScanSpec, make_scan

    scan = make_scan(ScanSpec("bumpy_disc", "train", "good", 0), size=size)
    return scan.rgb, scan.xyz


def points_above_table(size: int) -> np.ndarray:
    """(N, 3) float32 of a raw scan once its table is taken away, 167 000 for 800 pixels: what is to be clustered."""
    from threedzal.data.background import fit_plane

    xyz = raw_scan(size)[1]
    measured, frame = xyz.any(axis=2), np.ones(xyz.shape[:2], dtype=bool)
    frame[10:-10, 10:-10] = False
    normal, offset = fit_plane(xyz[measured & frame].astype(np.float64))
    points = xyz[measured]
    return points[points @ normal + offset > 0.005]


def object_points(size: int) -> tuple[Tensor, Tensor]:
    """xyz (1, 3, size, size) float32 metres and valid (1, size, size) bool of a scan without its table."""
    from threedzal.data.scan import ScanPreparation, ScanRecord, prepare_scan

    rgb, xyz = raw_scan(400)
    record = ScanRecord("bumpy_disc", "train", "good", "000", "")
    patch = 8 if size % 8 == 0 else 1
    preparation = ScanPreparation(image_size=size, patch_size=patch, fpfh=False)
    scan = prepare_scan(xyz, rgb, None, preparation=preparation, record=record)
    return scan.xyz[None], scan.valid[None]


def anomaly_maps(count: int, size: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Maps (count, size, size) float32 with three defects each, and their truth, bool: a defect scores higher."""
    rng = np.random.default_rng(seed)
    maps, truth = rng.random((count, size, size), dtype=np.float32), np.zeros((count, size, size), bool)
    for mask in truth:
        for _ in range(3):
            (top, left), (height, width) = rng.integers(0, size - size // 8, 2), rng.integers(size // 40, size // 8, 2)
            mask[top : top + height, left : left + width] = True
    maps += 0.5 * truth
    return torch.from_numpy(maps), torch.from_numpy(truth)
