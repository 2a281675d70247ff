"""The picture and FPFH may be finer than the scan that the network sees."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from threedzal.data.scan import IMAGENET_MEAN, IMAGENET_STD, ScanPreparation, ScanRecord, prepare_scan
from threedzal.features import fpfh, fpfh_grid

RECORD = ScanRecord("box", "test", "good", "000", Path("000.tiff"))
COARSE = ScanPreparation(image_size=32, patch_size=4, background="keep", fpfh_neighbours=20)


@pytest.fixture(scope="module")
def scan():
    """A bumpy sheet of 48 x 64 pixels with a hole, and its picture."""
    y, x = np.mgrid[:48, :64].astype(np.float32) * 0.001
    z = 0.6 + 0.002 * np.sin(700 * x) * np.cos(500 * y)
    xyz = np.stack([x - 0.03, y - 0.02, z], axis=-1).astype(np.float32)
    xyz[10:14, 20:24] = 0
    return xyz, np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)


def test_the_picture_comes_at_its_own_size(scan):
    xyz, rgb = scan
    prepared = prepare_scan(xyz, rgb, None, preparation=replace(COARSE, rgb_size=64), record=RECORD)
    assert prepared.rgb.shape == (3, 64, 64) and prepared.xyz.shape == (3, 32, 32)
    expected = torch.from_numpy(rgb).permute(2, 0, 1).float() / 255  # 64 wide: the picture as it is, between bars
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    torch.testing.assert_close(prepared.rgb[:, 8:-8] * std + mean, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("limit", [64, 1000])
def test_fpfh_is_that_of_the_points_as_they_were_measured(scan, limit):
    xyz, rgb = scan
    prepared = prepare_scan(xyz, rgb, None, preparation=replace(COARSE, fpfh_size=limit), record=RECORD)
    square = torch.zeros(3, 64, 64)
    square[:, 8:-8] = torch.from_numpy(xyz).permute(2, 0, 1)
    whole = fpfh(square[None], square.any(0)[None], backend="torch", neighbours=20)
    torch.testing.assert_close(prepared.fpfh, fpfh_grid(whole, grid=8)[0])
    coarse = prepare_scan(xyz, rgb, None, preparation=COARSE, record=RECORD)
    assert not torch.allclose(prepared.fpfh, coarse.fpfh, atol=1.0)


def test_fpfh_of_a_larger_scan_is_made_at_the_limit(scan):
    xyz, rgb = scan
    at_limit, as_ever = (
        prepare_scan(xyz, rgb, None, preparation=replace(COARSE, fpfh_size=size), record=RECORD) for size in (32, None)
    )
    torch.testing.assert_close(at_limit.fpfh, as_ever.fpfh)
