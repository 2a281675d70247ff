"""Regular features that are no defects: where they are, what of the scan they leave, and who gets them."""

import numpy as np
import pytest
import torch

from threedzal import ZeroShotDataModule
from threedzal.data.fittings import FORMS, insert_fittings, outline
from threedzal.data.generated import generate
from threedzal.errors import UserError


@pytest.fixture
def scan():
    """A curved grey part before a camera at the origin, a disc of 112 x 112 pixels, some of it not measured."""
    rng, side, focal = np.random.default_rng(0), 112, 600.0
    rows, columns = np.indices((side, side))
    z = 0.5 + 0.004 * np.sin(rows / 20) + 0.003 * np.cos(columns / 15)
    xyz = np.stack([(columns - 55.5) / focal * z, (rows - 55.5) / focal * z, z], axis=-1).astype(np.float32)
    xyz[rng.random((side, side)) < 0.02] = 0
    foreground = (np.hypot(rows - 55, columns - 55) < 45) & (xyz[..., 2] > 0)
    return xyz, rng.integers(90, 150, (side, side, 3)).astype(np.uint8), foreground


def test_only_the_object_changes_and_each_point_stays_on_its_viewing_ray(scan):
    xyz, rgb, foreground = scan
    changed = 0
    for seed in range(12):
        points, picture = insert_fittings(*scan, np.random.default_rng(seed), most=3)
        assert points.dtype == np.float32 and picture.dtype == np.uint8
        assert (points[~foreground] == xyz[~foreground]).all() and (picture[~foreground] == rgb[~foreground]).all()
        kept = points[..., 2] > 0
        assert not (kept & (xyz[..., 2] == 0)).any()
        before, after = xyz[kept].astype(float), points[kept].astype(float)
        away = np.linalg.norm(np.cross(before, after), axis=-1) / np.linalg.norm(before, axis=-1)
        assert away.max() < 1e-7
        changed += (points != xyz).any() or (picture != rgb).any()
    assert 6 <= changed <= 11  # a quarter of the draws has none


def test_the_same_numbers_make_the_same_scan_and_none_are_none(scan):
    once, again = (insert_fittings(*scan, np.random.default_rng(3), most=3) for _ in range(2))
    assert (once[0] == again[0]).all() and (once[1] == again[1]).all()
    none = insert_fittings(*scan, np.random.default_rng(3), most=0)
    assert none[0] is scan[0] and none[1] is scan[1]
    empty = np.zeros_like(scan[2])
    assert insert_fittings(scan[0], scan[1], empty, np.random.default_rng(3), most=3)[0] is scan[0]


@pytest.mark.parametrize("form", ["round", "polygon", "band", "side"])
def test_outlines_are_regular(form):
    """Each is as large as its convex hull; pseudo anomalies' outlines are bent by noise."""
    from scipy.spatial import ConvexHull

    solid = []
    for seed in range(10):
        inside = outline((96, 96), (48, 48), form=form, scale=1.0, rng=np.random.default_rng(seed)) > 0
        pixels = np.argwhere(inside)
        corners = np.concatenate([pixels + shift for shift in [(0, 0), (0, 1), (1, 0), (1, 1)]])
        solid.append(inside.sum() / ConvexHull(corners).volume)
    assert min(solid) > 0.85
    assert set(FORMS) >= {form}


def test_training_scans_get_them_and_validation_scans_do_not(tmp_path):
    generate(tmp_path, classes=["ring", "cone", "rod"], size=64, train=2, validation=1, test_good=1, test_per_defect=0)

    def module(fittings: int) -> ZeroShotDataModule:
        data = ZeroShotDataModule(
            root=str(tmp_path), train_classes=["ring"], test_classes=["cone"], training="scans",
            scan_anomalies="shaded", scan_fittings=fittings, image_size=64, pseudo_scan_classes="training",
            pseudo_scans=2, num_workers=0, fpfh=False, batch_size=1,
        )  # fmt: skip
        data.setup("fit")
        return data

    plain, fitted = module(0), module(5)
    differs = [
        not torch.equal(a.rgb, b.rgb)
        for a, b in zip(plain.train_dataloader(), fitted.train_dataloader(), strict=True)
    ]
    assert any(differs)
    pairs = zip(plain.pseudo_scan_dataloader(), fitted.pseudo_scan_dataloader(), strict=True)
    assert all(torch.equal(a.rgb, b.rgb) and torch.equal(a.mask, b.mask) for a, b in pairs)


def test_fewer_than_none_are_refused():
    with pytest.raises(UserError, match="scan_fittings"):
        ZeroShotDataModule(root=".", train_classes=["ring"], test_classes=["cone"], scan_fittings=-1)
