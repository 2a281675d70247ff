"""Fixtures shared by all tests."""

import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small operations: a second thread costs more than it gives


@pytest.fixture(scope="session")
def sample_root() -> Path:
    """Folder of real scans and weights (`SAMPLE_ROOT`, or `shared/sample` beside the checkout); skips without one."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "sample"
    root = Path(os.environ.get("SAMPLE_ROOT", beside))
    if not root.is_dir():
        pytest.skip("no real scans here: set SAMPLE_ROOT to the folder that holds mvtec_3d/")
    return root


@pytest.fixture
def without_numba(monkeypatch):
    """As on a machine where it is not installed."""
    from threedzal.compiled import has_numba

    monkeypatch.setitem(sys.modules, "numba", None)
    has_numba.cache_clear()
    yield
    has_numba.cache_clear()


@pytest.fixture(params=["compiled loops", "torch"])
def either_way(request):
    if request.param == "torch":
        request.getfixturevalue("without_numba")
    else:
        pytest.importorskip("numba")
