"""`data check` and `data preview`: what a user is shown of a data set."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from threedzal.cli import main
from threedzal.data.index import index_dataset
from threedzal.data.preview import TILE, choose, contact_sheet
from threedzal.data.survey import survey


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("survey") / "set"
    counts = "--train 3 --validation 1 --test_good 1 --test_per_defect 1 --size 64 --workers 1"
    assert main(["data", "generate", str(root), "--classes", "cone,ring", *counts.split()]) == 0
    return root


def test_the_table_counts_what_is_on_disk(root, capsys):
    assert main(["data", "check", str(root)]) == 0
    said = capsys.readouterr().out
    for name in ("cone", "ring"):
        (line,) = [line for line in said.splitlines() if line.strip().startswith(name)]
        tests = len(list((root / name / "test").rglob("*.tiff")))
        assert line.split()[1:4] == ["3", "1", str(tests)]
        assert "good 1" in line and "tiff" in line and "all" in line
    scans = len(list(root.rglob("*.tiff")))
    assert f"{scans} scans of 2 classes, all readable" in said


def test_what_is_broken_is_counted_in_the_table_and_named_below(root, tmp_path, capsys):
    import shutil

    broken = shutil.copytree(root, tmp_path / "set")
    (broken / "cone/train/good/xyz/001.tiff").write_bytes(b"II*")
    (broken / "cone/train/good/rgb/002.png").unlink()
    classes, problems = survey(broken)
    assert [(one.name, one.broken) for one in classes] == [("cone", 2), ("ring", 0)]
    assert main(["data", "check", str(broken)]) == 2
    said = capsys.readouterr()
    assert "cone" in said.out and "ring" in said.out
    assert "001.tiff: cannot be read" in said.err and "002.png: missing" in said.err and len(problems) == 2


def test_a_sheet_a_class_shows_scans_and_their_truth(root, tmp_path, capsys):
    assert main(["data", "preview", str(root), "--out", str(tmp_path / "sheets"), "--scans", "1"]) == 0
    assert sorted(p.name for p in (tmp_path / "sheets").iterdir()) == ["cone.png", "ring.png"]
    assert "cone.png" in capsys.readouterr().out
    records = choose([r for r in index_dataset(root) if r.class_name == "ring"], 1)
    assert {r.split for r in records} == {"train", "test"} and len({r.defect for r in records}) == len(records) - 1
    with Image.open(tmp_path / "sheets" / "ring.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB")).astype(int)
    assert pixels.shape[0] > TILE and pixels.shape[1] > 3 * TILE
    assert ((pixels[..., 0] > 200) & (pixels[..., 1] < 90)).any()  # the truth's colour


def test_real_eyecandies_and_cable_glands_have_sheets(sample_root):
    for name in ("eyecandies", "mvtec_3d"):
        sheet = contact_sheet(choose(index_dataset(sample_root / name), 1))
        assert np.asarray(sheet).std() > 20
