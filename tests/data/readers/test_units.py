"""Units: stated ones are used, and a guess is never silent."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from threedzal.data.readers import read_points
from threedzal.data.readers.settle import settle
from threedzal.data.readers.units import parse_units
from threedzal.data.record import ScanRecord
from threedzal.errors import UserError


@pytest.fixture
def xyz() -> np.ndarray:
    row, column = np.mgrid[:20, :30].astype(np.float32)
    return np.stack([column / 1000, row / 1000, 0.6 + 0 * row], axis=2)


def save(path: Path, xyz: np.ndarray) -> ScanRecord:
    np.savez(path, xyz=xyz) if path.suffix == ".npz" else tifffile.imwrite(path, xyz)
    return ScanRecord("part", "", "", path.stem, xyz=path)


@pytest.mark.parametrize(("scale", "suffix"), [(1, ".npz"), (1000, ".npz"), (1000, ".tiff")])
def test_a_guess_is_right_and_told(scale, suffix, xyz, tmp_path):
    told = []
    record = save(tmp_path / f"a{suffix}", xyz * scale)
    (settled,) = settle([record], units="auto", camera=None, guesses={}, warn=told.append)
    np.testing.assert_allclose(read_points(settled), xyz, rtol=1e-6)
    (text,) = told
    assert f"taken as {'m' if scale == 1 else 'mm'}" in text and "602 mm away" in text or "60" in text
    assert "--data.units" in text


def test_metres_in_a_tiff_of_points_are_the_convention_not_a_guess(xyz, tmp_path):
    told = []
    (record,) = settle([save(tmp_path / "a.tiff", xyz)], units="auto", camera=None, guesses={}, warn=told.append)
    assert told == [] and record.unit == 1.0


@pytest.mark.parametrize(("units", "factor"), [("mm", 0.001), ("m", 1.0), (0.0001, 0.0001), ("0.5", 0.5)])
def test_stated_units_are_used_without_a_word(units, factor, xyz, tmp_path):
    told = []
    (record,) = settle([save(tmp_path / "a.npz", xyz)], units=units, camera=None, guesses={}, warn=told.append)
    np.testing.assert_allclose(read_points(record), xyz * factor, rtol=1e-6)
    assert told == []


def test_scans_of_one_class_and_format_share_one_guess(xyz, tmp_path):
    records = [save(tmp_path / "a.npz", xyz * 1000), save(tmp_path / "b.npz", xyz)]
    told = []
    settled = settle(records, units="auto", camera=None, guesses={}, warn=told.append)
    assert [record.unit for record in settled] == [0.001, 0.001] and len(told) == 1


def test_a_single_scan_read_without_settling_warns(xyz, tmp_path):
    record = save(tmp_path / "a.npz", xyz)
    with pytest.warns(UserWarning, match="does not say its unit"):
        read_points(record)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_points(replace(record, unit=1.0))


@pytest.mark.parametrize("units", ["inch", -1, 0])
def test_other_units_are_refused(units):
    with pytest.raises(UserError, match="data.units is"):
        parse_units(units)
