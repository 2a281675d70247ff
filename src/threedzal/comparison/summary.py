"""From finished jobs to the rows of the table: means and spreads over pairs, test classes and seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from threedzal.comparison.plan import Comparison
from threedzal.figures import FLOOR, Spread
from threedzal.protocol import Result

COLUMNS = (
    "object_aupro_0.3",
    "object_aupro_0.05",
    "aupro_0.3",
    "aupro_0.05",
    "image_auroc",
    "image_ap",
    "pixel_auroc",
    "best_f1",
)
ZERO_SHOT = "fused"
TRANSDUCTIVE = ("transductive/both", "transductive/batch")  # scores that have seen the whole test set
SETTINGS = {
    "zero_shot": "Zero-shot: no scan of the test class is seen",
    "in_class": "In-class: learned on good scans of the class that is tested",
    "transductive": "Transductive: the whole test set is seen, unlabelled, before a scan of it is judged",
}


@dataclass
class Row:
    """A method over all its tests: `done` of `wanted` tests, a test being a training set, a test class and a seed."""

    name: str
    metrics: dict[str, Spread]
    done: int
    wanted: int
    fit_seconds: Spread | None = None  # of a job; None: nothing is fitted
    milliseconds_a_scan: Spread | None = None
    fitted_bytes: Spread | None = None

    @property
    def floor(self) -> bool:
        return self.name.startswith(FLOOR)


@dataclass
class Group:
    """What may be compared with one another: a setting's rows, the floor last."""

    setting: str
    rows: list[Row] = field(default_factory=list)

    @property
    def title(self) -> str:
        return SETTINGS[self.setting]

    def best(self, metric: str) -> float | None:
        """The highest mean among the methods that have all their tests, to three digits."""
        complete = [r for r in self.rows if not r.floor and r.done == r.wanted and metric in r.metrics]
        return (
            max((round(row.metrics[metric].mean, 3) for row in complete), default=None) if len(complete) > 1 else None
        )


Results = Mapping[tuple[str, str, int], Result]  # by method, str(pair) and seed


def results_of(comparison: Comparison, results: Mapping) -> Results:
    """Results by job, as `run_jobs` gives them, by what the table knows them by."""
    found = {}
    for job, (method, pair, seed) in comparison.jobs().items():
        if job in results:
            found[method.name, str(pair), seed] = results[job]
    return found


def summarise(comparison: Comparison, results: Results) -> list[Group]:
    """The table's groups; a setting that nothing is compared in is left out."""
    groups = []
    for setting in ("zero_shot", "in_class"):
        pairs = [pair for pair in comparison.pairs if pair.in_class == (setting == "in_class")]
        if not pairs:
            continue
        rows = [_row(comparison, results, method.name, ZERO_SHOT, pairs) for method in comparison.methods]
        # a method that only knows transductive scores has its row there, unless it has failed everywhere
        judged = [row for row in rows if row.done or not _transductive(comparison, results, row.name, pairs)]
        if judged:
            groups.append(Group(setting, [*judged, *_floors(comparison, results, pairs)]))
    apart = [
        row
        for method in comparison.methods
        for score in _transductive(comparison, results, method.name, comparison.pairs)
        for row in [_row(comparison, results, method.name, score, comparison.pairs)]
    ]
    if apart:
        groups.append(Group("transductive", [*apart, *_floors(comparison, results, comparison.pairs)]))
    return groups


def tests(comparison: Comparison, results: Results, method: str, score: str, pairs) -> list[dict[str, float]]:
    """{metric: value} of every test of a method that has the score."""
    found = []
    for pair in pairs:
        for seed in comparison.seeds:
            result = results.get((method, str(pair), seed))
            for values in (result.metrics.get(name, {}) for name in pair.test) if result else ():
                own = {metric: values[f"{score}/{metric}"] for metric in COLUMNS if f"{score}/{metric}" in values}
                found += [own] if own else []
    return found


def _row(comparison: Comparison, results: Results, method: str, score: str, pairs) -> Row:
    found = tests(comparison, results, method, score, pairs)
    costs = [
        results[key] for pair in pairs for seed in comparison.seeds if (key := (method, str(pair), seed)) in results
    ]
    name = f"{method} ({score.rpartition('/')[2]})" if score.startswith("transductive/both") else method
    return Row(
        name,
        {metric: spread for metric in COLUMNS if (spread := Spread.of(values.get(metric) for values in found))},
        done=len(found),
        wanted=sum(len(pair.test) for pair in pairs) * len(comparison.seeds),
        fit_seconds=Spread.of(result.fit_seconds for result in costs),
        milliseconds_a_scan=Spread.of(result.milliseconds_a_scan for result in costs),
        fitted_bytes=Spread.of(result.fitted_bytes for result in costs),
    )


def _transductive(comparison: Comparison, results: Results, method: str, pairs) -> list[str]:
    return [score for score in TRANSDUCTIVE if tests(comparison, results, method, score, pairs)]


def _floors(comparison: Comparison, results: Results, pairs) -> list[Row]:
    """One row where all methods have cut the object in the same way; else one for each way, with who cut it so."""
    rows: list[tuple[Row, list[str]]] = []
    for method in comparison.methods:
        for score in (FLOOR, f"transductive/{FLOOR}"):
            row = _row(comparison, results, method.name, score, pairs)
            row.fit_seconds = row.milliseconds_a_scan = row.fitted_bytes = None
            if not row.done:
                continue
            same = next((names for other, names in rows if _alike(row, other)), None)
            if same is None:
                rows.append((row, [method.name]))
            elif method.name not in same:
                same.append(method.name)
    for row, names in rows:
        row.name = FLOOR if len(rows) == 1 else f"{FLOOR} of {', '.join(names)}"
    return [row for row, _ in rows]


def _alike(one: Row, other: Row) -> bool:
    return one.done == other.done and all(
        abs(one.metrics[m].mean - other.metrics[m].mean) < 5e-4 for m in one.metrics.keys() & other.metrics.keys()
    )
