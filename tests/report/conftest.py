"""A small report with everything in it, from numbers made up here."""

import numpy as np
import pytest

from threedzal.report import ReportData, ScanPanel

SIZE = (24, 32)
CLASSES = ("tube", "disc")
METRICS = {
    row: {name: {"aupro_0.3": 0.1 * i + 0.05 * j, "image_auroc": 0.5 + 0.01 * i} for j, name in enumerate(CLASSES)}
    for i, row in enumerate(("fused", "distance", "classification", "foreground"))
}
LINE = np.linspace(0, 1, 5000)


def make_panel(
    key: str, *, score: float, verdict: int | None, hit: bool = True, parts: bool = False, size=SIZE
) -> ScanPanel:
    """A scan whose map has the defect on top (`hit`) or at the bottom."""
    gt, values = np.zeros(size, bool), np.random.default_rng(0).random(size).astype(np.float32)
    kind = key.split("/")[2]
    if kind != "good":
        gt[4:8, 4:9] = True
        values[gt] = 2.0 if hit else 0.0
    depth = np.full(size, 0.6)
    depth[:3] = np.nan
    y, x = np.mgrid[: size[0], : size[1]]
    points = np.stack([x / 1000, y / 1000, 0.6 + 0.002 * np.sin(x / 4)], axis=2).astype(np.float32)
    points[:3] = 0
    extra = {"distance_map": values, "classifier_map": values} if parts else {}
    return ScanPanel(
        key=key,
        label=int(kind != "good"),
        defect=kind,
        score=score,
        verdict=verdict,
        rgb=np.full((*size, 3), 120, np.uint8),
        depth=depth,
        gt=gt,
        map=values,
        points=points,
        **extra,
    )


def make_panels(**options) -> list[ScanPanel]:
    """Two good scans and three defective ones; of each, one is misjudged."""
    return [
        make_panel("tube/test/good/000", score=0.2, verdict=0, **options),
        make_panel("tube/test/good/001", score=0.6, verdict=1, **options),
        make_panel("tube/test/cut/000", score=0.1, verdict=0, **options),
        make_panel("tube/test/cut/001", score=0.9, verdict=1, **options),
        make_panel("tube/test/cut/002", score=0.8, verdict=1, hit=False, **options),
    ]


def make_report(**changes) -> ReportData:
    """A report with every part."""
    steps = np.arange(100)
    values = {
        "title": "Tubes & <discs>",
        "commands": {"Fit": "threedzal fit", "Test": "threedzal test --data.root 'a<b'"},
        "config": "w_con: 1",
        "train_classes": ["cone"],
        "facts": {"Trained on": "cone"},
        "costs": {"A scan": "12 ms"},
        "metrics": METRICS,
        "baselines": {"BTF": {"tube": {"aupro_0.3": 0.3125}}},
        "defects": {"tube": {"cut": {"aupro_0.3": 0.25}, "hole": {"aupro_0.3": float("nan")}}},
        "pro_curves": dict.fromkeys(CLASSES, (LINE * 0.3, LINE)),
        "floor_pro_curves": {"tube": (LINE * 0.3, LINE**2)},
        "roc_curves": {"tube": (LINE, LINE**0.5)},
        "training": {"train/loss": (steps, 1 / (1 + steps)), "val/loss": (steps[::50], [0.5, 0.4]), "lr": ([0], [1.0])},
        "panels": make_panels(),
        "threshold": 0.5,
    }
    return ReportData(**values | changes)


@pytest.fixture(scope="session")
def report():
    """`make_report`, for tests."""
    return make_report


@pytest.fixture(scope="session")
def panel():
    """`make_panel`, for tests."""
    return make_panel


@pytest.fixture(scope="session")
def panels():
    """`make_panels`, for tests."""
    return make_panels
