"""A batch of synthetic scans whose normal patches have twins in the other scans."""

import pytest
import torch

WIDTHS = {"rgb": 12, "fpfh": 5}


@pytest.fixture
def make_scans():
    """`make(scans, seed)` -> features (S,P,D), cells (S,P): every scan holds the same 30 kinds of patch, with noise."""

    def make(scans: int = 8, *, seed: int = 0, patches: int = 36, noise: float = 0.3) -> tuple:
        generator = torch.Generator().manual_seed(seed)
        kinds = 3 * torch.randn(patches, sum(WIDTHS.values()), generator=generator)
        features = kinds + noise * torch.randn(scans, *kinds.shape, generator=generator) + 50.0
        cells = torch.rand(scans, patches, generator=generator) < 0.7
        return features, cells

    return make
