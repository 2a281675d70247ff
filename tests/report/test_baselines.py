"""Other runs beside this one."""

import pytest

from threedzal.errors import UserError
from threedzal.report import read_baselines, write_report

COUNTS = {"tube": {"good": 2, "cut": 3}}


@pytest.fixture
def run(report, tmp_path):
    folder = tmp_path / "btf"
    write_report(folder / "report", report(method="BTF", training={}, pro_curves={}, roc_curves={}))
    return folder


@pytest.mark.parametrize("inside", ["", "report", "report/metrics.json"])
def test_a_run_is_named_by_its_folder_its_report_or_its_file(run, inside):
    assert list(read_baselines([str(run / inside)], counts=COUNTS)) == ["BTF"]


def test_the_main_row_of_the_shared_classes_is_taken(run, report):
    rows = read_baselines([f"other={run}", str(run)], counts=COUNTS)
    assert rows["other"] == rows["BTF"] == {"tube": report().metrics["fused"]["tube"]}


def test_two_runs_of_one_method_are_told_apart(run):
    assert list(read_baselines([str(run), str(run / "report")], counts=COUNTS)) == ["BTF", "BTF (btf)"]


def test_runs_that_cannot_be_compared_are_refused_in_one_sentence(run, tmp_path):
    with pytest.raises(UserError, match="on other scans of tube"):
        read_baselines([str(run)], counts={"tube": {"good": 2, "cut": 4}})
    with pytest.raises(UserError, match="give a run on the same classes"):
        read_baselines([str(run)], counts={"rope": {"good": 1}})
    with pytest.raises(UserError, match="nowhere.*cannot be read"):
        read_baselines([str(tmp_path / "nowhere.json")], counts=COUNTS)
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(UserError, match="not the metrics.json of a report"):
        read_baselines([str(tmp_path / "other.json")], counts=COUNTS)
