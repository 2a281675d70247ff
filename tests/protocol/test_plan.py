"""A protocol's config: what it makes of it, and what it says of one that cannot work."""

from pathlib import Path

import pytest

from threedzal.errors import UserError
from threedzal.protocol.plan import read_plan

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "protocol"
# fits: BTF and 3DSR learn nothing from auxiliary classes, so that one serves all nine test classes of a row
JOBS = {"tables1_2": 110, "table3": 111, "table4": 87, "table5": 60, "table6": 9, "demo": 6}


@pytest.mark.parametrize("name", JOBS)
def test_a_shipped_protocol_names_the_paper_s_experiments(name, monkeypatch):
    monkeypatch.chdir(CONFIGS.parents[1])
    plan = read_plan(CONFIGS / f"{name}.yaml")
    jobs = plan.jobs()
    assert len(jobs) == len(set(jobs)) == JOBS[name]
    assert not any(set(job.train) & set(job.test) for job in jobs)
    assert len({job.key for job in jobs}) == len(jobs)  # and every config that they name can be read
    assert len(read_plan(CONFIGS / f"{name}.yaml", seeds=(0, 1, 2)).jobs()) == 3 * JOBS[name]


def test_tables_that_share_experiments_share_jobs(monkeypatch):
    monkeypatch.chdir(CONFIGS.parents[1])
    keys = {name: {job.key for job in read_plan(CONFIGS / f"{name}.yaml").jobs()} for name in JOBS}
    assert len(keys["tables1_2"] & keys["table3"]) == 3 + 27  # its first and its last row
    assert len(keys["tables1_2"] & keys["table5"]) == 3 + 3 + 27
    assert len({read_plan(CONFIGS / f"{name}.yaml").jobs_folder for name in JOBS}) == 1


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"methods": {}}, "lacks methods"),
        ({"methods": {"X": {"config": "c.yaml"}}}, "method X: wanted configs"),
        ({"clases": ["a"]}, "no key clases"),
        ({"tables": [{"layout": "heap", "metrics": ["aupro_0.3"]}]}, "one of pairs, methods, training"),
        ({"tables": [{"layout": "pairs", "metrics": ["aupro_0.3"]}]}, "`of` is one of X"),
        ({"tables": [{"layout": "methods", "metrics": ["aupro_0.3"], "paper": "table9"}]}, "no 'table9'"),
    ],
)
def test_a_config_that_cannot_work_is_told_in_a_sentence(change, sentence, config):
    sections = {"methods": {"X": {"configs": "c.yaml"}}, "train": ["a"], "test": ["b"], **change}
    with pytest.raises(UserError, match=sentence):
        read_plan(config(**sections))


def test_data_that_lack_a_class_are_told_before_anything_is_begun(config, tmp_path):
    (tmp_path / "data" / "a" / "train").mkdir(parents=True)
    method = config(data={"root": str(tmp_path / "data")})
    plan = read_plan(config(methods={"X": {"configs": method}}, train=["a"], test=["b"]))
    with pytest.raises(UserError, match=r"has no class b; it has a"):
        plan.check()
