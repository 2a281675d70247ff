"""Fixtures shared by all tests."""

import os
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
