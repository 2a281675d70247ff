"""What a report is made of: plain data, and the order in which scans are shown."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from threedzal.figures import FLOOR

Curve = tuple[np.ndarray, np.ndarray]  # x and y, both (n,)
Table = dict[str, dict[str, dict[str, float]]]  # {row or class: {class or defect: {metric: value}}}

ROWS = {
    "fused": "{method}, fused",
    "distance": "distance only",
    "classification": "classifier only",
    "both": "batch and training bank",
    "batch": "batch alone",
    "foreground": "foreground (floor)",
}


@dataclass(kw_only=True)
class ScanOutcome:
    """How one test scan was judged."""

    key: str  # class/split/defect/name
    label: int  # 1: defective
    score: float
    defect: str = ""
    verdict: int | None = None  # 1: judged defective; None: no threshold, no verdict

    @property
    def class_name(self) -> str:
        return self.key.split("/")[0]

    @property
    def kind(self) -> str:
        """The defect kind; `good` for none."""
        return self.defect or ("defective" if self.label else "good")

    @property
    def misjudged(self) -> bool:
        return self.verdict is not None and self.verdict != self.label

    @property
    def word(self) -> str:
        """The verdict in a word: missed, false alarm, found, passed, or not judged."""
        if self.verdict is None:
            return "not judged"
        return (("passed", "false alarm"), ("missed", "found"))[self.label][self.verdict]


@dataclass(kw_only=True)
class ScanPanel(ScanOutcome):
    """A test scan with its pictures, all (h,w) of one size."""

    map: np.ndarray  # (h,w) float, the fused map
    rgb: np.ndarray | None = None  # (h,w,3) uint8
    depth: np.ndarray | None = None  # (h,w) float metres, NaN (or 0) without a measurement
    gt: np.ndarray | None = None  # (h,w) bool
    distance_map: np.ndarray | None = None  # (h,w) float
    classifier_map: np.ndarray | None = None  # (h,w) float
    points: np.ndarray | None = None  # (h,w,3) float32 metres, 0 where nothing is to be shown: the 3D view


@dataclass(kw_only=True)
class ReportData:
    """All that a report shows; every part but the title may be empty, and is then left out of the page."""

    title: str
    subtitle: str = ""
    method: str = "3DzAL"
    commands: dict[str, str] = field(default_factory=dict)  # {"fit": command line, "test": ...}, in their order
    config: str = ""  # the run's configuration, YAML
    train_classes: list[str] = field(default_factory=list)  # what the method learned from, for the sentence on top
    facts: dict[str, str] = field(default_factory=dict)  # {"Trained on": "bagel, cookie", ...}
    costs: dict[str, str] = field(default_factory=dict)  # {"Time of a scan": "0.31 s", ...}
    metrics: Table = field(default_factory=dict)  # {row: {class: {metric: value}}}, rows as in ROWS or others
    baselines: Table = field(default_factory=dict)  # as `metrics`, a row an other run, by its name
    defects: Table = field(default_factory=dict)  # {class: {defect kind: {metric: value}}}, of the fused map
    transductive: Table = field(default_factory=dict)  # as `metrics`, for methods that look at the whole test batch
    pro_curves: dict[str, Curve] = field(default_factory=dict)  # {class: (fpr, pro)}
    floor_pro_curves: dict[str, Curve] = field(default_factory=dict)  # {class: (fpr, pro)} of the foreground row
    roc_curves: dict[str, Curve] = field(default_factory=dict)  # {class: (fpr, tpr)} of the scans' scores
    training: dict[str, Curve] = field(default_factory=dict)  # {name: (steps, values)}; train/x and val/x share a chart
    panels: list[ScanPanel] = field(default_factory=list)
    outcomes: list[ScanOutcome] = field(default_factory=list)  # all test scans; the panels where empty
    threshold: float | None = None  # score from which a scan is judged defective
    threshold_note: str = ""  # where the threshold comes from, a sentence
    pro_limit: float = 0.3  # largest false-positive rate of the PRO curve

    @property
    def judged(self) -> Sequence[ScanOutcome]:
        """All test scans, with or without pictures."""
        return self.outcomes or self.panels

    @property
    def worst(self) -> list[ScanPanel]:
        """The panels in the order of `worst_first`."""
        return worst_first(self.panels, threshold=self.threshold)

    @property
    def classes(self) -> list[str]:
        """The tested classes, in the order of the tables."""
        tables = (*self.metrics.values(), *self.transductive.values())
        named = [name for classes in tables for name in classes if name != "mean"]
        return list(dict.fromkeys([*named, *(scan.class_name for scan in self.judged)]))

    @property
    def main_row(self) -> str | None:
        """The row that the method is judged by."""
        return next((row for row in ("fused", *self.metrics) if row in self.metrics and row != FLOOR), None)

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """{class: {defect kind: scans}} of the tested scans."""
        counts: dict[str, dict[str, int]] = {}
        for scan in self.judged:
            kinds = counts.setdefault(scan.class_name, {})
            kinds[scan.kind] = kinds.get(scan.kind, 0) + 1
        return counts


def pixel_overlap(panel: ScanPanel) -> float | None:
    """Share of the defect that the map's highest pixels cover: of its n highest, n the defect's size; no threshold
    is involved. None for a scan without a marked defect."""
    if panel.gt is None or not panel.gt.any():
        return None
    values = np.nan_to_num(np.asarray(panel.map, dtype=np.float32).ravel(), nan=-np.inf)
    size = int(panel.gt.sum())
    highest = np.argpartition(-values, size - 1)[:size]
    return float(panel.gt.ravel()[highest].mean())


def worst_first(panels: Sequence[ScanPanel], *, threshold: float | None = None) -> list[ScanPanel]:
    """Panels, the worst mistakes first: misjudged scans by how far their score is from the threshold, then defective
    scans by their pixel overlap, lowest first, then the others by score, highest first. Ties keep the order of keys."""

    def rank(panel: ScanPanel) -> tuple:
        overlap = pixel_overlap(panel)
        if panel.misjudged:
            return 0, -abs(panel.score - threshold) if threshold is not None else 0.0, panel.key
        return (1, overlap, panel.key) if overlap is not None else (2, -panel.score, panel.key)

    return sorted(panels, key=rank)


def with_mean(classes: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """{class: {metric: value}} with the mean over classes first, where there are several and it is not there."""
    if len(classes) < 2 or "mean" in classes:
        return classes
    return {"mean": mean_of(classes), **classes}


def mean_of(classes: dict[str, dict[str, float]]) -> dict[str, float]:
    """{metric: mean over the classes}; the entry `mean` itself where it is given; NaN counts for nothing."""
    if "mean" in classes:
        return classes["mean"]
    means = {}
    for metric in dict.fromkeys(metric for values in classes.values() for metric in values):
        numbers = [float(values[metric]) for values in classes.values() if metric in values]
        numbers = [number for number in numbers if np.isfinite(number)]
        means[metric] = sum(numbers) / len(numbers) if numbers else float("nan")
    return means
