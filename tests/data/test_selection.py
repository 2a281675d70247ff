"""Which scans training sees, by the definition of leaving one out."""

from pathlib import Path

import pytest

from threedzal.data.record import ScanRecord
from threedzal.data.selection import Classes, evenly, expected_splits, names, select_training
from threedzal.errors import UserError

SCANS = {
    (name, split): [ScanRecord(name, split, "good", f"{i:03d}", Path(name, split, f"{i:03d}.tiff")) for i in range(5)]
    for name in "abcd"
    for split in ("train", "validation", "test")
}


def index(classes, split):
    return [record for name in classes for record in SCANS[name, split]]


def select(classes, **options):
    options = {"auxiliary_per_class": None, "pseudo_scans": 3, "pseudo_classes": "auxiliary", **options}
    return select_training(classes, index, **options)


def test_zero_shot_training_sees_every_class_but_those_to_test_on_and_no_test_scan():
    classes = Classes(["b"], ["d"], None).completed("abcd")
    scans = select(classes)
    assert {r.class_name for r in scans.seen} == {"a", "b", "c"}
    assert {r.split for r in scans.seen} == {"train", "validation"}
    assert scans.train == SCANS["b", "train"] and scans.auxiliary == index("ac", "train")
    assert len(scans.pseudo) == 3 and {r.class_name for r in scans.pseudo} <= {"a", "c"}
    assert {(r.class_name, r.split) for r in scans.seen} == set(expected_splits(classes, scans))


def test_auxiliary_classes_that_are_named_are_all_there_are():
    assert Classes(["b"], ["d"], ["c"]).completed("abcd").auxiliary == ["c"]


def test_in_class_training_sees_the_tested_class_but_none_of_its_test_scans():
    scans = select(Classes(["b"], ["b"], None, "in_class").completed("abcd"))
    assert scans.train == SCANS["b", "train"] and "test" not in {r.split for r in scans.seen}


@pytest.mark.parametrize("classes", [(["a", "d"], ["d"], None), (["a"], ["d"], ["b", "d"])])
def test_a_tested_class_among_those_that_are_seen_is_refused_by_name(classes):
    with pytest.raises(UserError, match="^d: among test_classes"):
        Classes(*classes)


def test_pseudo_anomalous_scans_are_of_the_trained_classes_only_where_another_class_gives_what_is_inserted():
    with_others = select(Classes(["b"], ["d"], ["a"]), pseudo_classes="training")
    alone = select(Classes(["b"], [], []), pseudo_classes="training")
    assert {r.class_name for r in with_others.pseudo} == {"b"} and not alone.pseudo


def test_the_cap_counts_each_auxiliary_class_by_itself():
    scans = select(Classes(["b"], [], ["a", "c"]), auxiliary_per_class=2)
    assert [r.class_name for r in scans.auxiliary] == ["a", "a", "c", "c"]


@pytest.mark.parametrize("most", [1, 2, 4, 5, 9])
def test_records_are_spread_evenly(most):
    kept = [int(record.name) for record in evenly(SCANS["a", "train"], most)]
    gaps = {after - before for before, after in zip(kept, kept[1:], strict=False)}
    assert len(kept) == min(most, 5) and kept == sorted(set(kept)) and max(gaps, default=0) - min(gaps, default=0) <= 1


def test_of_many_class_names_a_sentence_has_the_first_ones():
    assert names(["ring", "cone"]) == "cone, ring" and names([]) == ""
    assert names(f"product_{i:03d}" for i in range(5)).count(",") == 4
    assert names((f"product_{i:03d}" for i in range(5)), most=2) == "product_000, product_001 and 3 more"
