"""Products drawn at random: each is another one, the same with the same seed, and a class of one training scan."""

import json

import numpy as np
import pytest

from threedzal.data.generated import CLASS_NAMES, generate
from threedzal.data.generated.products import SHAPES, class_number, object_class, product_name
from threedzal.data.generated.scan import ScanSpec, make_scan
from threedzal.errors import UserError

MANY = 40


def pieces(name, seed, count):
    entry = object_class(name, seed=seed)
    return [entry.make(ScanSpec(name, "train", "good", index, seed).rng(0)) for index in range(count)]


def test_every_kind_of_shape_is_drawn_and_each_product_is_another():
    entries = [object_class(product_name(number), seed=0) for number in range(MANY)]
    assert {entry.make.shape.__module__ for entry in entries} == {draw.__module__ for draw in SHAPES}
    assert len({entry.view for entry in entries}) == len({entry.make.skin for entry in entries}) == MANY


def test_a_product_depends_on_its_number_and_the_seed_alone():
    points = np.random.default_rng(0).uniform(-40, 40, (3, 500)).astype(np.float32)
    one, same, other = (pieces("product_003", seed, 1)[0].field(*points) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1
    assert object_class("product_003", seed=0).view != object_class("product_004", seed=0).view


@pytest.mark.parametrize("number", range(0, MANY, 4))
def test_pieces_of_a_product_are_alike_and_not_the_same(number):
    points = np.random.default_rng(0).uniform(-30, 30, (3, 2000)).astype(np.float32)
    first, second = pieces(product_name(number), 0, 2)
    difference = np.abs(first.field(*points) - second.field(*points))
    assert 0 < np.median(difference) < 3  # mm
    assert all(np.linalg.norm(point) < first.radius for point in points.T[first.field(*points) < 0])


@pytest.mark.parametrize("number", range(0, MANY, 4))
def test_a_colour_is_a_reflectance(number):
    piece = pieces(product_name(number), 0, 1)[0]
    colour = piece.albedo(*np.random.default_rng(0).uniform(-30, 30, (3, 500)).astype(np.float32))
    assert colour.shape == (3, 500) and colour.min() >= 0 and np.median(colour) < 1


def test_a_product_has_defects_with_a_truth():
    scan = make_scan(ScanSpec("product_001", "test", "hole", 0), size=80)
    assert set(np.unique(scan.gt)) == {0, object_class("product_001", seed=0).value("hole")}


def test_no_product_shares_its_random_numbers_with_a_class():
    names = [*CLASS_NAMES, *map(product_name, range(MANY))]
    assert len({class_number(name) for name in names}) == len(names)


def test_products_are_classes_of_one_training_scan_and_change_nothing_else(tmp_path):
    options = {"classes": ["ring"], "size": 64, "train": 1, "validation": 0, "test_good": 0, "test_per_defect": 0}
    generate(tmp_path / "without", workers=0, **options)
    generate(tmp_path / "with", workers=0, products=2, **options)
    files = {p.relative_to(tmp_path / "with").as_posix(): p for p in (tmp_path / "with").rglob("*") if p.is_file()}
    expected = {"generated.json"}
    for name in ("ring", "product_000", "product_001"):
        expected |= {f"{name}/{file}" for file in ("train/good/rgb/000.png", "train/good/xyz/000.tiff")}
        expected.add(f"{name}/calibration/camera_parameters.json")
    assert set(files) == expected
    ring = "ring/train/good/xyz/000.tiff"
    assert files[ring].read_bytes() == (tmp_path / "without" / ring).read_bytes()
    assert json.loads(files["generated.json"].read_text())["products"] == 2
    with pytest.raises(UserError, match="other options"):
        generate(tmp_path / "with", workers=0, products=3, **options)
    with pytest.raises(UserError, match="products"):
        generate(tmp_path / "more", workers=0, products=-1, **options)
