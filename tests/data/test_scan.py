"""Reading, resizing and restoring scans, against PIL, definitions and hand-made arrays."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from threedzal.data.readers import read_mask, read_xyz
from threedzal.data.resize import restore_map
from threedzal.data.scan import (
    ScanPreparation,
    ScanRecord,
    collate_scans,
    prepare_scan,
)
from threedzal.errors import UserError

RECORD = ScanRecord("ring", "test", "cut", "003", Path("003.tiff"), Path("003.png"))


def scene(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A plane at half a metre, 1 mm a pixel, every measurement different from the others; and a picture."""
    row, column = np.mgrid[:height, :width].astype(np.float32)
    xyz = np.stack([column / 1000, row / 1000, 0.5 + row * 1e-5 + column * 1e-6], axis=2)
    rgb = np.random.default_rng(0).integers(60, 190, (height, width, 3), dtype=np.uint8)
    return xyz, rgb


def keep(**options) -> ScanPreparation:
    return ScanPreparation(background="keep", fpfh=False, **options)


def test_resizing_never_invents_a_point():
    xyz, rgb = scene(100, 80)
    xyz[20:30, 10:20] = 0
    scan = prepare_scan(xyz, rgb, None, preparation=keep(image_size=56), record=RECORD)
    measured = {tuple(point) for point in xyz.reshape(-1, 3).tolist()}
    assert {tuple(point) for point in scan.xyz.permute(1, 2, 0).reshape(-1, 3).tolist()} <= measured
    assert torch.equal(scan.valid, scan.xyz.any(dim=0))


def test_a_picture_is_resized_as_pil_does_and_normalised():
    xyz, rgb = scene(100, 100)
    scan = prepare_scan(xyz, rgb, None, preparation=keep(image_size=56), record=RECORD)
    expected = np.asarray(Image.fromarray(rgb).resize((56, 56), Image.Resampling.BICUBIC), dtype=np.float32) / 255
    expected = (expected - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    assert np.abs(scan.rgb.permute(1, 2, 0).numpy() - expected).max() < 0.02  # PIL rounds to 8 bit on the way


def test_a_non_square_scan_keeps_its_proportions_and_its_map_comes_back_at_its_own_size():
    xyz, rgb = scene(120, 60)
    mask = np.zeros((120, 60), dtype=bool)
    mask[40:80, 20:50] = True
    scan = prepare_scan(xyz, rgb, mask, preparation=keep(image_size=120, patch_size=8), record=RECORD)
    assert scan.valid[:, :30].sum() == 0 and scan.valid[:, 90:].sum() == 0  # padded about the centre
    assert torch.equal(scan.xyz[:, :, 30:90], torch.from_numpy(xyz).permute(2, 0, 1))
    restored = restore_map(scan.mask[0].float(), size=(120, 60), pad_to_square=True)
    assert torch.equal(restored > 0.5, torch.from_numpy(mask))


@pytest.mark.parametrize("size", [(400, 400), (90, 40), (30, 70)])
@pytest.mark.parametrize("pad", [True, False])
def test_a_restored_map_has_the_scan_s_size_and_range(size, pad):
    restored = restore_map(torch.rand(56, 56), size=size, pad_to_square=pad)
    assert restored.shape == size and restored.min() >= 0 and restored.max() <= 1


def test_nan_is_no_measurement():
    xyz, rgb = scene(56, 56)
    xyz[3, 4] = np.nan
    scan = prepare_scan(xyz, rgb, None, preparation=keep(image_size=56), record=RECORD)
    assert not scan.valid[3, 4] and scan.xyz.isfinite().all() and scan.valid.sum() == 56 * 56 - 1


def test_ground_truth_values_name_defects_and_all_count(tmp_path):
    values = np.array([[0, 252], [254, 255]], dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "gt.png")
    assert read_mask(tmp_path / "gt.png").tolist() == [[False, True], [True, True]]


@pytest.mark.parametrize("shape", [(5, 5), (5, 5, 4)])
def test_a_tiff_of_another_shape_is_named(tmp_path, shape):
    tifffile.imwrite(tmp_path / "odd.tiff", np.zeros(shape, dtype=np.float32), photometric="minisblack")
    with pytest.raises(UserError, match="odd.tiff"):
        read_xyz(tmp_path / "odd.tiff")


def test_sizes_that_do_not_divide_are_refused():
    with pytest.raises(UserError, match="multiple"):
        ScanPreparation(image_size=225)


def test_a_batch_has_a_leading_dimension_and_moves_whole():
    xyz, rgb = scene(56, 56)
    scan = prepare_scan(xyz, rgb, None, preparation=keep(image_size=56), record=RECORD)
    batch = collate_scans([scan, scan]).to("cpu")
    assert batch.rgb.shape == (2, 3, 56, 56) and batch.patches.shape == (2, 49, 64, 3) and batch.fpfh is None
    assert [record.key for record in batch.record] == ["ring/test/cut/003"] * 2 and batch.label.tolist() == [1, 1]
