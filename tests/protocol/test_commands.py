"""`threedzal protocol`: run, status and table, from a config to files."""

import json
from pathlib import Path

import pytest

from threedzal.cli import main


@pytest.fixture
def protocol(config, fake, tmp_path, monkeypatch):
    """A protocol of two methods, one of which fails on class c; its data are two empty class folders."""
    for name in "abc":
        (tmp_path / "data" / name / "train").mkdir(parents=True)
    monkeypatch.setenv("PYTHONPATH", fake["PYTHONPATH"])
    monkeypatch.chdir(tmp_path)
    data = {"root": "data"}
    path = tmp_path / "two.yaml"
    content = {
        "methods": {
            "X": {"configs": config(data=data)},
            "Y": {"configs": config(data=data, fake={"fail": "test", "on": ["c"]})},
        },
        "train": ["a"],
        "test": ["b", "c"],
        "out": str(tmp_path / "out"),
        "tables": [{"layout": "methods", "metrics": ["aupro_0.3"]}],
    }
    path.write_text(json.dumps(content))
    return path


def test_run_status_table(protocol, tmp_path, capsys):
    assert main(["protocol", "run", str(protocol), "--seeds", "2", "--data.visits", "3"]) == 2
    told = capsys.readouterr()
    assert "two: 8 jobs" in told.out and "6 done, 2 failed" in told.out
    assert told.err.startswith("threedzal: error: 2 of 8 jobs failed")

    assert main(["protocol", "status", str(protocol)]) == 0
    told = capsys.readouterr().out
    assert "As last run: seeds [0, 1], --data.visits=3" in told  # else it would be about other jobs
    assert "two: 8 jobs, 6 done, 2 failed" in told
    assert told.count("it was told to fail") == 2 and told.count("log.txt") == 2

    assert main(["protocol", "table", str(protocol)]) == 0
    printed = capsys.readouterr().out
    assert "| X | 50.0 ± 0.0 |" in printed and "| Y | — (1 of 2) |" in printed
    files = {path.name for path in (tmp_path / "out" / "two").iterdir()}
    assert {"tables.md", "tables.tex", "tables.html", "results.csv", "costs.csv"} <= files
    assert (tmp_path / "out" / "two" / "results.csv").read_text().count("\n") == 1 + 6 * 3 * 2


def test_some_of_the_methods(protocol, capsys):
    assert main(["protocol", "run", str(protocol), "--methods", "X"]) == 0
    assert "two: 2 jobs" in capsys.readouterr().out
    main(["protocol", "status", str(protocol)])
    told = capsys.readouterr().out
    assert "As last run: seeds [0], methods X, no options" in told and "two: 2 jobs, 2 done" in told
    main(["protocol", "table", str(protocol)])
    assert "| X | 50.0 |" in (told := capsys.readouterr().out) and "| Y |" not in told
    main(["protocol", "status", str(protocol), "--methods", "X,Y"])
    assert "two: 4 jobs, 2 done, 2 waiting" in capsys.readouterr().out
    assert main(["protocol", "run", str(protocol), "--methods", "Z"]) == 2
    assert "there is no method Z; it has X, Y" in capsys.readouterr().err


def test_a_method_that_needs_a_file_says_before_anything_begins_how_to_make_it(protocol, tmp_path, capsys):
    content = json.loads(protocol.read_text())
    content["methods"]["Y"]["needs"] = {"first.ckpt": "threedzal fit --config first.yaml"}
    protocol.write_text(json.dumps(content))
    assert main(["protocol", "run", str(protocol)]) == 2
    told = capsys.readouterr().err
    assert "Y needs first.ckpt" in told and "`threedzal fit --config first.yaml`" in told and "--methods" in told
    assert not list((tmp_path / "out").glob("jobs/*/job.json"))
    assert main(["protocol", "run", str(protocol), "--methods", "X"]) == 0
    (tmp_path / "first.ckpt").touch()
    assert main(["protocol", "run", str(protocol)]) == 2 and "1 of 4 jobs failed" in capsys.readouterr().err


def test_one_fit_serves_all_test_classes_where_nothing_is_learned_from_the_others(protocol, tmp_path, capsys):
    content = json.loads(protocol.read_text())
    content["methods"] = {"X": {**content["methods"]["X"], "together": True}}
    content["tables"] = [{"layout": "pairs", "metrics": ["aupro_0.3"], "of": "X"}]
    protocol.write_text(json.dumps(content))
    assert main(["protocol", "run", str(protocol)]) == 0
    assert len(list((tmp_path / "out" / "jobs").glob("*/result.json"))) == 1
    assert main(["protocol", "table", str(protocol)]) == 0
    assert "| a | 50.0 | 50.0 | 50.0 |" in capsys.readouterr().out
    costs = (tmp_path / "out" / "two" / "costs.csv").read_text().splitlines()
    assert len(costs) == 2 and costs[1].startswith("X,a,b+c,0,")


def test_jobs_of_a_protocol_are_one_group_of_wandb_and_one_run_each(protocol, tmp_path, monkeypatch):
    dump = "import json, os; json.dump(dict(os.environ), open(str(folder / 'environment.json'), 'w'))"
    fake = Path(next((tmp_path / "fake").rglob("__main__.py")))
    fake.write_text(fake.read_text() + f"\n{dump}\n")
    monkeypatch.setenv("SLURM_NTASKS", "4")  # a job is no task of whatever started the protocol
    main(["protocol", "run", str(protocol)])
    found = sorted((tmp_path / "out" / "jobs").rglob("environment.json"))
    environments = [json.loads(path.read_text()) for path in found]
    assert {each["WANDB_RUN_GROUP"] for each in environments} == {"two"}
    runs = {
        path.parents[1].name.rsplit("-", 1)[1]: e["WANDB_RUN_ID"] for path, e in zip(found, environments, strict=True)
    }
    assert len(runs) == 4 and all(digest == run for digest, run in runs.items())
    assert not any("SLURM_NTASKS" in each for each in environments)


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["run", "two.yaml", "--data.root=nowhere"], "there is no"),
        (["run", "none.yaml"], "none.yaml: cannot be read"),
        (["run", "two.yaml", "extra"], "extra: is no option with a value"),
    ],
)
def test_what_cannot_work_is_told_in_a_sentence(protocol, args, sentence, capsys):
    assert main(["protocol", *args]) == 2
    assert sentence in capsys.readouterr().err
