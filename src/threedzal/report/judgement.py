"""The verdict: what the figures say in plain words, how scans were judged at the threshold, kind by kind."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from threedzal.figures import FLOOR
from threedzal.report.content import ReportData, ScanOutcome, mean_of

SORTING = (  # lowest image AUROC, and what it is worth in words
    (0.95, "It tells defective scans from good ones reliably"),
    (0.8, "It mostly tells defective scans from good ones"),
    (0.6, "It tells defective scans from good ones better than chance does, not reliably"),
    (-math.inf, "It does not tell which scans are defective better than chance"),
)
MARGIN = 0.05  # of object-only AUPRO above the floor, from which a map is called better


@dataclass(frozen=True)
class Share:
    """`hits` of `total` scans, with the 95 % interval (Wilson) that so few scans leave."""

    hits: int
    total: int

    @property
    def rate(self) -> float:
        return self.hits / self.total if self.total else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        if not self.total:
            return math.nan, math.nan
        from scipy.stats import binomtest

        return tuple(binomtest(self.hits, self.total).proportion_ci(0.95, method="wilson"))


def found(scans: Sequence[ScanOutcome]) -> Share:
    """Defective scans that were judged so."""
    return _share([scan for scan in scans if scan.label and scan.verdict is not None])


def passed(scans: Sequence[ScanOutcome]) -> Share:
    """Good scans that were judged so."""
    return _share([scan for scan in scans if not scan.label and scan.verdict is not None])


def by_kind(scans: Sequence[ScanOutcome]) -> dict[str, dict[str, list[ScanOutcome]]]:
    """{class: {defect kind: its scans}}"""
    kinds: dict[str, dict[str, list[ScanOutcome]]] = {}
    for scan in scans:
        kinds.setdefault(scan.class_name, {}).setdefault(scan.kind, []).append(scan)
    return kinds


def confusion(scans: Sequence[ScanOutcome]) -> dict[str, int]:
    """{word: scans}: found, missed, false alarm, passed."""
    words = [scan.word for scan in scans]
    return {word: words.count(word) for word in ("found", "missed", "false alarm", "passed")}


def verdict(data: ReportData) -> list[str]:
    """What the run says, in plain sentences; empty where nothing was tested."""
    sentences = []
    if scans := [scan for scan in data.judged if scan.verdict is not None]:
        sentences.append(_counted(data, scans))
        sentences += _unsorted(scans)
    row = data.main_row
    ours = mean_of(data.metrics[row]) if row else {}
    floor = mean_of(data.metrics.get(FLOOR, {}))
    name = next((n for n in ("object_aupro_0.3", "aupro_0.3") if math.isfinite(ours.get(n, math.nan))), None)
    if name and math.isfinite(floor.get(name, math.nan)):
        sentences.append(_localised(ours[name], floor[name], object_only=name.startswith("object")))
    if math.isfinite(auroc := ours.get("image_auroc", math.nan)):
        words = next(words for least, words in SORTING if auroc >= least)
        sentences.append(f"{words} (image AUROC {auroc:.2f}; 0.5 is chance, 1 is perfect).")
    return sentences


def _counted(data: ReportData, scans: Sequence[ScanOutcome]) -> str:
    defective, good = found(scans), passed(scans)
    learned = f"Learned on {_listed(data.train_classes)}, " if data.train_classes else ""
    seen = set(data.train_classes) & set(data.classes)
    products = _listed(data.classes) + ("" if seen or not data.train_classes else " (never seen before)")
    parts = []
    if defective.total:
        parts.append(f"found {defective.hits} of {defective.total} defective scans of {products}")
    if good.total:
        alarms = good.total - good.hits
        of = "" if defective.total else f" of {products}"
        parts.append(f"raised {alarms or 'no'} false alarm{'s' * (alarms != 1)} on {good.total} good scans{of}")
    sentence = f"{learned}{data.method} {' and '.join(parts)}."
    return sentence[0].upper() + sentence[1:]


def _unsorted(scans: Sequence[ScanOutcome]) -> list[str]:
    """A class whose good and defective scans are all on one side of the threshold was not sorted at all."""
    sentences = []
    for name in dict.fromkeys(scan.class_name for scan in scans):
        mine = [scan for scan in scans if scan.class_name == name]
        verdicts = {scan.verdict for scan in mine}
        if len({scan.label for scan in mine}) == 2 and len(verdicts) == 1:
            called = f"are called {'defective' if verdicts == {1} else 'good'}"
            sentences.append(f"All {len(mine)} scans of {_listed([name])} {called}: the threshold does not fit it.")
    return sentences


def _localised(ours: float, floor: float, *, object_only: bool) -> str:
    name = "object-only AUPRO" if object_only else "AUPRO"
    figures = f"({name} {ours:.2f}; knowing the object and nothing of defects gives {floor:.2f})"
    if ours >= floor + MARGIN:
        return f"Its maps point at the defects better than the object's outline alone would {figures}."
    if ours >= floor - MARGIN:
        return f"Its maps point at the defects no better than the object's outline alone would {figures}."
    return f"Its maps point away from the defects {figures}."


def _share(scans: Sequence[ScanOutcome]) -> Share:
    return Share(sum(scan.verdict == scan.label for scan in scans), len(scans))


def _listed(names: Sequence[str], most: int = 5) -> str:
    """`a, b and c`; of many, how many there are."""
    names = [name.replace("_", " ") for name in names]
    if len(names) > most:
        return f"{len(names)} products"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
