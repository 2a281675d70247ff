"""Regular features that are no defects: where they are, what of the scan they leave, and who gets them."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

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


@pytest.mark.parametrize("form", FORMS)
def test_outlines_are_regular(form):
    """Each piece is as large as its convex hull. (One of pseudo anomalies, bent by noise, has holes and bays.)"""
    from scipy import ndimage
    from scipy.spatial import ConvexHull

    for seed in range(8):
        inside = outline((400, 400), (200, 200), form=form, scale=4.0, rng=np.random.default_rng(seed)) > 0
        pieces, count = ndimage.label(inside)
        assert (count > 1) == (form == "row")
        for piece in range(1, count + 1):
            pixels = np.argwhere(pieces == piece)
            corners = np.concatenate([pixels + shift for shift in [(0, 0), (0, 1), (1, 0), (1, 1)]])
            solid = len(pixels) / ConvexHull(corners).volume
            assert solid > 0.94 or len(pixels) < 150, (seed, len(pixels), solid)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("fittings")
    generate(root, classes=["ring", "cone", "rod"], size=64, train=4, validation=1, test_good=1, test_per_defect=0)
    return root


def module(root, fittings: int) -> ZeroShotDataModule:
    data = ZeroShotDataModule(
        root=str(root), train_classes=["ring"], test_classes=["cone"], training="scans", scan_anomalies="shaded",
        scan_fittings=fittings, image_size=64, pseudo_scan_classes="training", pseudo_scans=2, num_workers=0,
        fpfh=False,
    )  # fmt: skip
    data.setup("fit")
    return data


@pytest.mark.parametrize("fittings", [0, 5])
def test_training_scans_get_them_and_they_count_as_normal(root, fittings):
    """Without them nothing changes away from what is marked as anomalous; with them something does."""
    data = module(root, fittings)
    scans, elsewhere = data.train_dataloader().dataset.scans, []
    good = {record.key: scans[i] for i, record in enumerate(scans.records)}
    for batch in data.train_dataloader():
        near = F.max_pool2d(batch.mask.float(), 7, stride=1, padding=3)[:, 0] > 0
        for i, record in enumerate(batch.record):
            changed = (batch.rgb[i] != good[record.key.replace(record.defect, "good")].rgb).any(dim=0) & ~near[i]
            elsewhere.append(int((changed & batch.object[i]).sum()))
    assert (max(elsewhere) > 50) == (fittings > 0)


def test_validation_scans_have_none(root):
    pairs = zip(module(root, 0).pseudo_scan_dataloader(), module(root, 5).pseudo_scan_dataloader(), strict=True)
    assert all(torch.equal(a.rgb, b.rgb) and torch.equal(a.mask, b.mask) for a, b in pairs)


def test_fewer_than_none_are_refused():
    with pytest.raises(UserError, match="scan_fittings"):
        ZeroShotDataModule(root=".", train_classes=["ring"], test_classes=["cone"], scan_fittings=-1)
