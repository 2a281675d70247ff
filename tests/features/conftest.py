"""A machine with numba, and one without."""

import sys

import pytest

from threedzal.features.compiled import has_numba


@pytest.fixture
def without_numba(monkeypatch):
    """As on a machine where it is not installed."""
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
