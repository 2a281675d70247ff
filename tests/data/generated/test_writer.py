"""The files of the built-in data set."""

import hashlib
import json

import numpy as np
import pytest
import tifffile
from PIL import Image

from threedzal.data.generated import CLASS_NAMES, DEFECTS, generate
from threedzal.errors import UserError

SMALL = {"size": 64, "train": 1, "validation": 1, "test_good": 1, "test_per_defect": 1, "progress": False}


def digests(root):
    return {
        str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(root.rglob("*"))
        if p.is_file()
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("generated") / "set"
    generate(out, classes=["ring", "twisted_strand"], workers=0, **SMALL)
    return out


def test_layout_is_mvtec_3d_ad(made):
    for name in ("ring", "twisted_strand"):
        scans = [("train", "good"), ("validation", "good"), ("test", "good")]
        scans += [("test", defect) for defect in DEFECTS[name]]
        expected = {f"{name}/calibration/camera_parameters.json"}
        for split, defect in scans:
            parts = (("rgb", "png"), ("xyz", "tiff"), ("gt", "png"))[: 3 if split == "test" else 2]
            expected |= {f"{name}/{split}/{defect}/{kind}/000.{suffix}" for kind, suffix in parts}
        assert {str(p.relative_to(made)) for p in (made / name).rglob("*") if p.is_file()} == expected
    assert sorted(p.name for p in made.iterdir()) == ["generated.json", "ring", "twisted_strand"]


def test_files_open_with_the_official_shapes_and_types(made):
    xyz = tifffile.imread(made / "ring/test/hole/xyz/000.tiff")
    rgb, gt = (Image.open(made / f"ring/test/hole/{kind}/000.png") for kind in ("rgb", "gt"))
    assert xyz.shape == (64, 64, 3) and xyz.dtype == np.float32 and np.isfinite(xyz).all()
    assert (rgb.mode, rgb.size, gt.mode, gt.size) == ("RGB", (64, 64), "L", (64, 64))
    assert set(np.unique(gt)) == {0, 255 - DEFECTS["ring"].index("hole")}
    assert not np.any(Image.open(made / "ring/test/good/gt/000.png"))
    assert tifffile.imread(made / "twisted_strand/train/good/xyz/000.tiff").shape == (28, 64, 3)


def test_written_calibration_reprojects_the_scan(made):
    camera = json.loads((made / "twisted_strand/calibration/camera_parameters.json").read_text())
    xyz = tifffile.imread(made / "twisted_strand/train/good/xyz/000.tiff").astype(np.float64)
    assert (camera["image_height"], camera["image_width"]) == xyz.shape[:2] and camera["kappa"] == 0
    v, u = np.nonzero(xyz[..., 2])
    x, y, z = xyz[v, u].T
    np.testing.assert_allclose(camera["focus"] / camera["sx"] * x / z + camera["cx"], u, atol=1e-3)
    np.testing.assert_allclose(camera["focus"] / camera["sy"] * y / z + camera["cy"], v, atol=1e-3)


def test_calibration_file_has_the_real_ones_entries(made, sample_root):
    real = json.loads((sample_root / "mvtec_3d/cable_gland/calibration/camera_parameters.json").read_text())
    assert real.keys() == json.loads((made / "ring/calibration/camera_parameters.json").read_text()).keys()


def test_bytes_depend_on_neither_workers_nor_other_classes(made, tmp_path):
    generate(tmp_path / "set", classes=["ring"], workers=2, **SMALL)
    again, before = digests(tmp_path / "set"), digests(made)
    rings = {path for path in before if path.startswith("ring/")}
    assert rings == set(again) - {"generated.json"}
    assert all(again[path] == before[path] for path in rings)


def test_a_finished_data_set_is_left_alone(made, capsys):
    stamps = {p: p.stat().st_mtime_ns for p in made.rglob("*")}
    generate(made, classes=["twisted_strand", "ring"], workers=0, **SMALL)
    assert "already" in capsys.readouterr().out
    assert stamps == {p: p.stat().st_mtime_ns for p in made.rglob("*")}


def test_an_interrupted_run_is_finished_by_the_next(tmp_path, monkeypatch):
    from threedzal.data.generated import writer

    render = writer.make_scan

    def fail_in_test(spec, *, size):
        if spec.split == "test":
            raise KeyboardInterrupt
        return render(spec, size=size)

    out = tmp_path / "set"
    monkeypatch.setattr(writer, "make_scan", fail_in_test)
    with pytest.raises(KeyboardInterrupt):
        generate(out, classes=["rod"], workers=0, **SMALL)
    assert not (out / "generated.json").exists()
    monkeypatch.setattr(writer, "make_scan", render)
    with pytest.raises(UserError, match="other options"):
        generate(out, classes=["rod"], workers=0, **{**SMALL, "seed": 5})
    generate(out, classes=["rod"], workers=0, **SMALL)
    assert sorted(p.name for p in out.iterdir()) == ["generated.json", "rod"]
    assert not list(out.rglob(".*"))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"size": 63}, "size"),
        ({"train": -1}, "train"),
        ({"test_per_defect": 1.5}, "test_per_defect"),
        ({"workers": -1}, "workers"),
        ({"seed": -3}, "seed"),
        ({"classes": ["ring", "bagel"]}, "bagel"),
        ({"classes": []}, "classes"),
        ({"validation": 1001}, "validation"),
    ],
)
def test_an_option_out_of_range_is_named(tmp_path, options, word):
    with pytest.raises(UserError, match=word):
        generate(tmp_path / "set", **{**SMALL, **options})
    assert not (tmp_path / "set").exists()


def test_other_data_is_never_touched(made, tmp_path):
    (tmp_path / "ring").mkdir()
    (tmp_path / "ring" / "precious.txt").write_text("keep")
    with pytest.raises(UserError, match=str(tmp_path)):
        generate(tmp_path, classes=["ring"], **SMALL)
    assert [p.name for p in tmp_path.rglob("*")] == ["ring", "precious.txt"]
    with pytest.raises(UserError, match="other options"):
        generate(made, classes=["ring"], **SMALL)
    with pytest.raises(UserError, match="is a file"):
        generate(tmp_path / "ring" / "precious.txt", classes=["ring"], **SMALL)


def test_gt_values_count_down_from_255():
    for name in CLASS_NAMES:
        assert 3 <= len(DEFECTS[name]) <= 5 and list(DEFECTS[name]) == sorted(DEFECTS[name])
