"""Means, spreads and texts of tables against numpy and Python's own reader of CSV."""

import csv
import io
import math

import numpy as np
import pytest

from threedzal.figures import METRICS, Spread, csv_text, label_of, markdown_table, short_label_of


def test_a_spread_is_mean_and_sample_deviation_of_what_is_defined():
    values = [0.25, 0.5, None, 0.9, math.nan]
    spread = Spread.of(values)
    assert spread.mean == pytest.approx(np.mean([0.25, 0.5, 0.9]))
    assert spread.deviation == pytest.approx(np.std([0.25, 0.5, 0.9], ddof=1))
    assert spread.text(2) == "0.55 ± 0.33" and spread.text(2, between="+-") == "0.55+-0.33"


def test_one_value_has_no_deviation_and_none_no_spread():
    assert Spread.of([0.5]) == Spread(0.5) and Spread(0.5).text(3) == "0.500"
    assert Spread.of([]) is None and Spread.of([None, math.nan]) is None


def test_a_csv_gives_the_same_numbers_and_texts_back():
    lines = [[0.1 + 0.2, "a, b", None], [1e-300, 'say "no"', 3]]
    rows = list(csv.reader(io.StringIO(csv_text(["x", "text", "n"], lines))))
    assert rows[0] == ["x", "text", "n"] and [float(row[0]) for row in rows[1:]] == [line[0] for line in lines]
    assert [row[1:] for row in rows[1:]] == [["a, b", ""], ['say "no"', "3"]]


def test_a_markdown_table_has_as_many_cells_in_every_line():
    text = markdown_table(["a", "b", "c"], [["1", "2", "3"], ["4", "5", "6"]])
    assert [line.count("|") for line in text.splitlines()] == [4] * 4 and text.splitlines()[1] == "| --- | --- | --- |"


def test_metrics_have_names_and_others_their_own():
    assert label_of("object_aupro_0.3") == METRICS["object_aupro_0.3"] and label_of("over_kill") == "over kill"
    assert short_label_of("object_aupro_0.05") == "object 0.05"
