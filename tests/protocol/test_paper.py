"""The transcribed tables agree with what the paper prints of them: means, gains, and each other."""

import statistics

import pytest

from threedzal.errors import UserError
from threedzal.protocol.paper import MEAN, paper_numbers

# The gains of 3DzAL over the best baseline as printed in Tables 1 and 2, in the order of the training classes.
CLASSES = ("bagel", "cable_gland", "carrot", "cookie", "dowel", "foam", "peach", "potato", "rope", "tire")
GAINS = {
    "table1": (2.4, 0.9, 2.1, 5.5, 4.1, 3.3, 3.5, 1.7, 7.2, 4.7),
    "table2": (6.9, 2.9, 1.3, -0.6, 2.0, -3.8, 1.4, -0.6, -1.0, 0.8),
}
METRIC = {"table1": "aupro_0.3", "table2": "image_auroc"}
ONE_DECIMAL = 0.051  # printed numbers are rounded


@pytest.mark.parametrize("table", ["table1", "table2"])
def test_the_printed_means_and_gains_are_those_of_the_cells(table):
    paper, metric = paper_numbers(table), METRIC[table]
    assert len(paper) == 90 + 3 * 10
    for train, gain in zip(CLASSES, GAINS[table], strict=True):
        cells = [paper["3DzAL", (train,), test, metric] for test in CLASSES if test != train]
        mean, btf, dsr = (paper[method, (train,), MEAN, metric] for method in ("3DzAL", "BTF", "3DSR"))
        assert statistics.fmean(cells) == pytest.approx(mean, abs=ONE_DECIMAL)
        assert mean - max(btf, dsr) == pytest.approx(gain, abs=ONE_DECIMAL)


@pytest.mark.parametrize(
    ("table", "ours", "btf"),
    [("table3", "+ IP", "baseline"), ("table4", "adding + removing", None), ("table5", "3DzAL (random CNN)", "BTF")],
)
def test_the_ablations_end_where_tables_1_and_2_stand(table, ours, btf):
    for (method, train, test, metric), value in paper_numbers(table).items():
        whole = paper_numbers("table1" if metric == "aupro_0.3" else "table2")
        assert test == MEAN
        if method in (ours, btf):
            assert value == whole["3DzAL" if method == ours else "BTF", train, MEAN, metric]


def test_a_cell_that_the_text_does_not_give_is_empty():
    paper = paper_numbers("table3")
    image_level = {method for method, _, _, metric in paper if metric == "image_auroc"}
    assert image_level == {"baseline", "+ IP"}
    assert len(paper) == 5 * 3 + 2 * 3


def test_two_training_classes_are_in_any_order():
    gains = {"bagel+cable_gland": (0.6, 0.3), "carrot+cookie": (4.3, 4.6), "dowel+foam": (1.8, 2.7)}
    paper = paper_numbers("table6")
    assert len(paper) == 3 * 2 * 2
    for names, printed in gains.items():
        train = tuple(sorted(names.split("+")))
        for metric, gain in zip(("aupro_0.3", "image_auroc"), printed, strict=True):
            ours, btf = (paper[method, train, "rope", metric] for method in ("3DzAL", "BTF"))
            assert ours - btf == pytest.approx(gain, abs=ONE_DECIMAL)


def test_there_is_no_seventh_table():
    with pytest.raises(UserError, match="table7"):
        paper_numbers("table7")
