"""Tables against hand-made ones: values, means, spreads, what is missing, what is best, the floor."""

import csv
import io
from pathlib import Path

import pytest

from threedzal.protocol.files import costs_csv, results_csv
from threedzal.protocol.folder import Result
from threedzal.protocol.plan import MethodPlan, Plan, TablePlan
from threedzal.protocol.render import html_page, latex, markdown
from threedzal.protocol.tables import Scores, build_tables

CLASSES = ("bagel", "cable_gland", "carrot", "cookie", "dowel", "foam", "peach", "potato", "rope", "tire")


def result(test: str, fused: float, floor: float = 0.4, metric: str = "aupro_0.3") -> Result:
    """A finished job's, as far as a table looks at it."""
    metrics = {f"fused/{metric}": fused, f"foreground/{metric}": floor, f"fused/defect/hole/{metric}": 0.1}
    return Result({test: metrics}, 60.0, 9.0, 20.0, 1000, Path("."), None)


def plan(*tables: TablePlan, train=(("a",), ("b",)), test=("a", "b", "c"), seeds=(0,), methods=("X", "Y")) -> Plan:
    return Plan("p", {m: MethodPlan(("c.yaml",)) for m in methods}, train, test, seeds, tables=tables)


def rows(made: Plan, results: dict) -> list[list[str]]:
    """The cells of all tables as Markdown has them, header and rule left out."""
    text = markdown(build_tables(made, Scores(made, results)))
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return [line for line in lines if line[1] != "---"]


def test_pairs():
    made = plan(TablePlan("pairs", ("aupro_0.3",), of="X"))
    results = {
        ("X", ("a",), "b", 0): result("b", 0.5, floor=0.3),
        ("X", ("a",), "c", 0): result("c", 0.7, floor=0.2),
        ("Y", ("a",), "b", 0): result("b", 0.55, floor=0.3),
        ("X", ("b",), "a", 0): result("a", 0.611, floor=0.1),
    }
    assert rows(made, results) == [
        ["train \\ test", "a", "b", "c", "mean X", "mean Y"],
        ["a", "-", "50.0", "70.0", "60.0", "— (1 of 2)"],
        ["b", "61.1", "-", "—", "— (1 of 2)", "— (0 of 2)"],
        ["foreground", "10.0", "30.0", "20.0", "20.0", "-"],
    ]
    results["Y", ("a",), "c", 0] = result("c", 0.9)
    assert rows(made, results)[1] == ["a", "-", "50.0", "70.0", "60.0", "**72.5**"]
    results["X", ("a",), "b", 0] = result("b", 0.6, floor=0.3)
    assert rows(made, results)[1][2] == "**60.0**"  # the best of both methods on this pair


def test_seeds_have_a_mean_and_a_spread():
    made = plan(TablePlan("pairs", ("aupro_0.3",), of="X"), train=(("a",),), seeds=(0, 1, 2), methods=("X",))
    values = {"b": (0.5, 0.6, 0.7), "c": (0.3, 0.2, 0.4)}
    results = {("X", ("a",), t, s): result(t, v) for t, vs in values.items() for s, v in enumerate(vs)}
    # standard deviation of 50, 60, 70 is 10; of the rows' means 40, 40, 55 it is 8.66
    assert rows(made, results)[1] == ["a", "-", "60.0 ± 10.0", "30.0 ± 10.0", "45.0 ± 8.7"]
    del results["X", ("a",), "c", 2]
    assert rows(made, results)[1][3:] == ["25.0 ± 7.1 (2 of 3 seeds)", "40.0 ± 0.0 (2 of 3 seeds)"]


def test_methods_and_training_classes():
    tables = (TablePlan("methods", ("aupro_0.3",)), TablePlan("training", ("aupro_0.3",)))
    made = plan(*tables, train=(("a", "b"),), test=("c",))
    results = {
        ("X", ("a", "b"), "c", 0): result("c", 0.5, floor=0.3),
        ("Y", ("a", "b"), "c", 0): result("c", 0.4, floor=0.3),
    }
    assert rows(made, results) == [
        ["method", "AUPRO 0.3 (%): a+b"],
        ["X", "**50.0**"],
        ["Y", "40.0"],
        ["foreground", "30.0"],
        ["training classes", "AUPRO 0.3 (%): X", "AUPRO 0.3 (%): Y"],
        ["a+b", "**50.0**", "40.0"],
        ["foreground", "30.0", "30.0"],
    ]


def test_the_paper_s_number_and_the_difference_stand_beside_ours():
    made = plan(
        TablePlan("pairs", ("aupro_0.3",), of="3DzAL", paper="table1"),
        train=(("bagel",),),
        test=CLASSES,
        methods=("3DzAL", "BTF"),
    )
    results = {("3DzAL", ("bagel",), t, 0): result(t, 0.8) for t in CLASSES if t != "bagel"}
    del results["3DzAL", ("bagel",), "rope", 0]
    row = rows(made, results)[1]
    assert row[:4] == ["bagel", "-", "80.0 (78.6, +1.4)", "80.0 (91.9, −11.9)"]  # noqa: RUF001
    assert row[9:] == ["— (82.0)", "80.0 (86.7, −6.7)", "— (82.9, 8 of 9)", "— (80.5, 0 of 9)"]  # noqa: RUF001


def test_a_mean_over_other_classes_is_not_set_against_the_paper_s():
    made = plan(
        TablePlan("methods", ("aupro_0.3",), paper="table5"), train=(("bagel",),), test=("rope",), methods=("BTF",)
    )
    assert rows(made, {("BTF", ("bagel",), "rope", 0): result("rope", 0.5)})[1] == ["BTF", "50.0"]


def test_the_table_6_of_the_paper():
    made = plan(
        TablePlan("training", ("aupro_0.3",), paper="table6"),
        train=(("cookie", "carrot"),),
        test=("rope",),
        methods=("BTF", "3DzAL"),
    )
    results = {("3DzAL", ("cookie", "carrot"), "rope", 0): result("rope", 0.8)}
    assert rows(made, results)[1] == ["cookie+carrot", "— (79.4)", "80.0 (83.7, −3.7)"]  # noqa: RUF001


def test_latex_and_html_hold_the_same_cells():
    from html.parser import HTMLParser

    made = plan(TablePlan("methods", ("aupro_0.3", "best_f1")), train=(("cable_gland",),), test=("c",))
    results = {(m, ("cable_gland",), "c", 0): result("c", v) for m, v in (("X", 0.5), ("Y", 0.4))}
    tables = build_tables(made, Scores(made, results))
    tex = latex(tables)
    assert r"X & \textbf{50.0} & ---" in tex and r"Y & 40.0 & ---" in tex
    assert r"cable\_gland" in tex and "_gland" not in tex.replace(r"\_", "")
    assert tex.count(r"\begin") == tex.count(r"\end")

    class Cells(HTMLParser):
        cells: list[str] = []

        def handle_starttag(self, tag, attrs):
            if tag == "td":
                self.cells.append("")

        def handle_data(self, data):
            if self.cells and self.lasttag in ("td", "b", "small"):
                self.cells[-1] += data.strip()

    page = html_page(tables, title="a & b")
    parser = Cells()
    parser.feed(page)
    assert parser.cells == ["50.0", "—", "40.0", "—", "40.0", "—"]
    assert "<h1>a &amp; b</h1>" in page and "<b>50.0</b>" in page


def test_every_number_is_in_one_tidy_file():
    results = {("X", ("a", "b"), "c", 3): result("c", 0.5)}
    (fused, floor, hole) = csv.DictReader(io.StringIO(results_csv(results)))
    shared = {"method": "X", "train": "a+b", "test": "c", "seed": "3", "metric": "aupro_0.3"}
    assert fused == {**shared, "score": "fused", "defect": "", "value": "0.5"}
    assert floor == {**shared, "score": "foreground", "defect": "", "value": "0.4"}
    assert hole == {**shared, "score": "fused", "defect": "hole", "value": "0.1"}
    (cost,) = csv.DictReader(io.StringIO(costs_csv(results)))
    assert [float(cost[name]) for name in ("fit_seconds", "milliseconds_a_scan", "fitted_bytes")] == [60, 20, 1000]


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_the_ends_of_the_scale(value):
    made = plan(TablePlan("training", ("aupro_0.3",)), train=(("a",),), test=("c",), methods=("X",))
    assert rows(made, {("X", ("a",), "c", 0): result("c", value)})[1] == ["a", f"{100 * value:.1f}"]
