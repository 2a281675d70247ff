"""`threedzal compare`: its jobs, its table by hand-made numbers, and what becomes of a method that fails."""

import csv
import io
import statistics
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from threedzal.cli import main
from threedzal.comparison import Comparison, MethodEntry, Pair, read_methods, read_pairs, summarise
from threedzal.comparison.pictures import choose_scans
from threedzal.comparison.tables import markdown, runs_csv, table_csv, text
from threedzal.data.record import ScanRecord
from threedzal.errors import UserError
from threedzal.figures import Spread
from threedzal.protocol import Result

PAIRS = (Pair(("a",), ("b", "c")), Pair(("b",), ("b",)))
METHODS = (MethodEntry("one", ("one.yaml",)), MethodEntry("two", ("two.yaml",)))


def result(values: dict[str, dict[str, float]], *, seconds: float = 10.0) -> Result:
    return Result(values, seconds, 1.0, 50.0, 2**20, Path("job"), None)


def scores(aupro: float, auroc: float, floor: float = 0.4) -> dict[str, float]:
    values = {"aupro_0.3": aupro, "image_auroc": auroc, "defect/cut/aupro_0.3": 0.1}
    return {f"fused/{k}": v for k, v in values.items()} | {"foreground/aupro_0.3": floor}


@pytest.fixture
def comparison() -> Comparison:
    return Comparison(METHODS, PAIRS, seeds=(0, 1))


@pytest.fixture
def results():
    """`one` on everything, `two` without a seed of the first pair."""
    first, second = str(PAIRS[0]), str(PAIRS[1])
    return {
        ("one", first, 0): result({"b": scores(0.6, 0.5), "c": scores(0.7, 0.6)}, seconds=20),
        ("one", first, 1): result({"b": scores(0.8, 0.7), "c": scores(0.9, float("nan"))}),
        ("one", second, 0): result({"b": scores(0.95, 0.9)}),
        ("one", second, 1): result({"b": scores(0.97, 0.9)}),
        ("two", first, 0): result({"b": scores(0.99, 0.5), "c": scores(0.98, 0.6)}),
        ("two", second, 0): result({"b": scores(0.5, 0.9, floor=0.3)}),
        ("two", second, 1): result({"b": scores(0.5, 0.9, floor=0.3)}),
    }


def test_a_row_is_mean_and_deviation_over_test_classes_and_seeds(comparison, results):
    zero_shot, _ = summarise(comparison, results)
    one = zero_shot.rows[0]
    values = [0.6, 0.7, 0.8, 0.9]
    assert one.metrics["aupro_0.3"] == Spread(statistics.fmean(values), statistics.stdev(values))
    assert one.metrics["image_auroc"].mean == pytest.approx(0.6)  # what is not defined counts for nothing
    assert (one.done, one.wanted) == (4, 4) and one.fit_seconds.mean == 15
    assert (zero_shot.rows[1].done, zero_shot.rows[1].wanted) == (2, 4)
    assert zero_shot.best("aupro_0.3") is None  # the only other method has not all its tests


def test_zero_shot_and_in_class_are_never_in_one_table(comparison, results):
    groups = summarise(comparison, results)
    assert [group.setting for group in groups] == ["zero_shot", "in_class"]
    assert [row.metrics["aupro_0.3"].mean for row in groups[1].rows if not row.floor] == pytest.approx([0.96, 0.5])
    assert groups[1].best("aupro_0.3") == 0.96


def test_every_way_to_cut_the_object_has_its_floor(comparison, results):
    del results["two", str(PAIRS[0]), 0]
    zero_shot, in_class = summarise(comparison, results)
    assert [row.name for row in zero_shot.rows] == ["one", "two", "foreground"]
    assert [row.name for row in in_class.rows[2:]] == ["foreground of one", "foreground of two"]


def test_what_has_seen_the_whole_test_set_stands_apart():
    values = {f"transductive/{name}/aupro_0.3": v for name, v in (("batch", 0.9), ("foreground", 0.4))}
    comparison = Comparison(METHODS, PAIRS[:1])
    results = {
        ("one", str(PAIRS[0]), 0): result({"b": values, "c": values}),
        ("two", str(PAIRS[0]), 0): result({"b": scores(0.5, 0.5), "c": scores(0.5, 0.5)}),
    }
    zero_shot, apart = summarise(comparison, results)
    assert [row.name for row in zero_shot.rows] == ["two", "foreground"]
    assert [row.name for row in apart.rows if not row.floor] == ["one"] and "unlabelled" in apart.title


def test_all_formats_hold_the_same_numbers(comparison, results):
    groups = summarise(comparison, results)
    lines = list(csv.DictReader(io.StringIO(table_csv(groups))))
    assert float(lines[0]["aupro_0.3"]) == pytest.approx(0.75) and lines[1]["tests"] == "2"
    for written in (markdown(groups), text(groups)):
        assert "0.750" in written and "0.129" in written and "2 of 4" in written and "foreground" in written
    assert "**0.960 ± 0.014**" in markdown(groups)
    rows = list(csv.DictReader(io.StringIO(runs_csv(comparison, results))))
    assert {"method": "one", "train": "a", "test": "b", "seed": "0", "score": "fused", "defect": "cut"} | {
        "metric": "aupro_0.3",
        "value": "0.1",
    } in rows


def test_scans_to_show_are_of_every_kind():
    kinds = ["cut"] * 9 + ["good"] * 9 + ["hole"]
    records = [ScanRecord("a", "test", kind, f"{i:03d}", Path("x.tiff")) for i, kind in enumerate(kinds)]
    assert [record.defect for record in choose_scans(records, 5)] == ["cut", "cut", "hole", "good", "good"]
    assert len(choose_scans(records, 50)) == 19


def test_methods_and_pairs_as_they_are_written(tmp_path):
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text("{}"), two.write_text("{}")
    methods = read_methods(f"{one},{one}+{two},mine={two}")
    assert [method.name for method in methods] == ["one", "one+two", "mine"]
    assert methods[1].configs == (str(one), str(two))
    assert read_pairs("a:b,a+c:d+e,a:b") == (Pair(("a",), ("b",)), Pair(("a", "c"), ("d", "e")))


@pytest.mark.parametrize("text", ["", "a", "a:", "a:b:c"])
def test_what_is_no_pair_is_named(text):
    with pytest.raises(UserError, match="--pairs"):
        read_pairs(text)


def test_configs_that_cannot_be_are_named(tmp_path):
    (tmp_path / "one.yaml").write_text("{}")
    with pytest.raises(UserError, match="two.yaml"):
        read_methods(f"{tmp_path}/two.yaml")
    with pytest.raises(UserError, match="called one"):
        read_methods(f"{tmp_path}/one.yaml,{tmp_path}/one.yaml")


@pytest.fixture
def data(tmp_path) -> Path:
    """Classes a, b and c with a test scan each."""
    for name in "abc":
        for kind, suffix in (("xyz", "tiff"), ("rgb", "png")):
            (tmp_path / "data" / name / "test/good" / kind).mkdir(parents=True)
            path = tmp_path / "data" / name / "test/good" / kind / f"000.{suffix}"
            if kind == "xyz":
                tifffile.imwrite(path, np.ones((8, 8, 3), np.float32))
            else:
                Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)
    return tmp_path / "data"


def test_a_failed_method_is_named_with_its_log_and_the_others_are_compared(
    config, fake, calls, root, data, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("PYTHONPATH", fake["PYTHONPATH"])
    good, bad = config(model={"a": 1}), config(fake={"fail": "fit"})
    args = ["compare", "--configs", f"fine={good},bad={bad}", "--pairs", "a:b,c:c", "--data.root", str(data)]
    args += ["--seeds", "2", "--scans", "0", "--out", str(tmp_path / "out"), "--jobs", str(root)]
    assert main(args) == 2
    said = capsys.readouterr()
    assert "4 of 8 jobs failed" in said.err and "log.txt" in said.err and "it was told to fail" in said.err
    assert len(said.err.strip().splitlines()) == 1
    table = (tmp_path / "out/comparison.md").read_text()
    assert "| fine | **0.500" not in table and "| fine | 0.500 ± 0.000" in table and "| bad | - " in table
    page = (tmp_path / "out/index.html").read_text()
    assert "it was told to fail" in page and "0.500" in page and "http" not in page.split("</style>")[1]
    in_class = [call for call in calls() if "--data.protocol=in_class" in call["args"]]
    assert len(in_class) == len(calls()) / 2

    fits = len(calls())
    assert main(args) == 2
    assert len(calls()) == fits + 4  # the failed ones are tried once more, no other


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (["--pairs", "a:x", "--data.root", "DATA"], "class x"),
        (["--pairs", "a:b"], "--data.root"),
        (["--pairs", "a:b", "--data.root", "nowhere"], "nowhere"),
        (["--pairs", "a:b", "--data.root", "DATA", "stray"], "stray"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_runs(args, word, config, data, calls, tmp_path, capsys):
    args = [str(data) if arg == "DATA" else arg for arg in args]
    assert main(["compare", "--configs", config(model={}), "--out", str(tmp_path / "out"), *args]) == 2
    error = capsys.readouterr().err
    assert word in error and len(error.strip().splitlines()) == 1 and not calls()
