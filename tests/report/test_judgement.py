"""What the page says in words, and the intervals behind it."""

import pytest

from threedzal.report import ReportData, ScanOutcome
from threedzal.report.judgement import Share, confusion, verdict


def outcomes(name: str, *, found: int = 0, missed: int = 0, passed: int = 0, alarms: int = 0) -> list[ScanOutcome]:
    counts = {(1, 1): found, (1, 0): missed, (0, 0): passed, (0, 1): alarms}
    return [
        ScanOutcome(key=f"{name}/test/{label}/{i}", label=label, score=0.5, verdict=judged)
        for (label, judged), count in counts.items()
        for i in range(count)
    ]


def test_the_verdict_counts_what_was_found_and_what_was_a_false_alarm():
    data = ReportData(
        title="t",
        train_classes=["cone"],
        outcomes=outcomes("ring", found=3, missed=1, passed=4, alarms=1) + outcomes("rod", found=2, passed=1),
    )
    assert verdict(data) == [
        "Learned on cone, 3DzAL found 5 of 6 defective scans of ring and rod (never seen before) and raised 1 false "
        "alarm on 6 good scans."
    ]
    assert confusion(data.judged) == {"found": 5, "missed": 1, "false alarm": 1, "passed": 5}


def test_a_class_whose_scans_are_all_called_defective_is_named():
    data = ReportData(title="t", outcomes=outcomes("twisted_strand", found=3, alarms=2))
    assert verdict(data)[1].startswith("All 5 scans of twisted strand are called defective")


@pytest.mark.parametrize(("ours", "word"), [(0.6, "better"), (0.22, "no better"), (0.1, "away from")])
def test_maps_are_held_against_the_floor(ours, word):
    metrics = {"fused": {"ring": {"object_aupro_0.3": ours}}, "foreground": {"ring": {"object_aupro_0.3": 0.2}}}
    (sentence,) = verdict(ReportData(title="t", metrics=metrics))
    assert word in sentence
    assert "0.20" in sentence


@pytest.mark.parametrize(
    ("auroc", "words"), [(0.97, "reliably"), (0.85, "mostly"), (0.7, "not reliably"), (0.55, "not")]
)
def test_the_words_for_sorting_follow_the_image_auroc(auroc, words):
    (sentence,) = verdict(ReportData(title="t", metrics={"fused": {"ring": {"image_auroc": auroc}}}))
    assert words in sentence


def test_nothing_is_said_of_figures_that_are_not_there():
    assert verdict(ReportData(title="t")) == []
    assert verdict(ReportData(title="t", metrics={"fused": {"ring": {"image_auroc": float("nan")}}})) == []


def test_an_interval_is_wilsons_formula():
    hits, total, z = 7, 11, 1.959963984540054
    p, scale = hits / total, 1 + z**2 / total
    middle = (p + z**2 / (2 * total)) / scale
    half = z * ((p * (1 - p) / total + z**2 / (4 * total**2)) ** 0.5) / scale
    assert Share(hits, total).interval == pytest.approx((middle - half, middle + half))
