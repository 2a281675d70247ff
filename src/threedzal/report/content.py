"""What a report is made of: plain data, and the order in which scans are shown."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

Curve = tuple[np.ndarray, np.ndarray]  # x and y, both (n,)
Table = dict[str, dict[str, dict[str, float]]]  # {row or class: {class or defect: {metric: value}}}

ROWS = {
    "fused": "3DzAL, fused",
    "distance": "distance only",
    "classification": "classifier only",
    "both": "batch and training bank",
    "batch": "batch alone",
    "foreground": "foreground (floor)",
}
FLOOR = "foreground"
METRICS = {
    "object_aupro_0.3": "object-only AUPRO 0.3",
    "object_aupro_0.05": "object-only AUPRO 0.05",
    "aupro_0.3": "AUPRO 0.3",
    "aupro_0.05": "AUPRO 0.05",
    "aupro_0.01": "AUPRO 0.01",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
    "best_f1": "best F1",
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


@dataclass(kw_only=True)
class ReportData:
    """All that a report shows; every part but the title may be empty, and is then left out of the page."""

    title: str
    subtitle: str = ""
    command: str = ""  # the command line that reproduces the run
    config: str = ""  # its configuration, YAML
    facts: dict[str, str] = field(default_factory=dict)  # {"Trained on": "bagel, cookie", ...}
    metrics: Table = field(default_factory=dict)  # {row: {class: {metric: value}}}, rows as in ROWS or others
    defects: Table = field(default_factory=dict)  # {class: {defect kind: {metric: value}}}, of the fused map
    transductive: Table = field(default_factory=dict)  # as `metrics`, for methods that look at the whole test batch
    pro_curves: dict[str, Curve] = field(default_factory=dict)  # {class: (fpr, pro)}
    floor_pro_curves: dict[str, Curve] = field(default_factory=dict)  # {class: (fpr, pro)} of the foreground row
    roc_curves: dict[str, Curve] = field(default_factory=dict)  # {class: (fpr, tpr)} of the scans' scores
    training: dict[str, Curve] = field(default_factory=dict)  # {name: (steps, values)}; train/x and val/x share a chart
    panels: list[ScanPanel] = field(default_factory=list)
    outcomes: list[ScanOutcome] = field(default_factory=list)  # all test scans; the panels where empty
    threshold: float | None = None  # score from which a scan is judged defective
    pro_limit: float = 0.3  # largest false-positive rate of the PRO curve

    @property
    def judged(self) -> Sequence[ScanOutcome]:
        """All test scans, with or without pictures."""
        return self.outcomes or self.panels


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
