"""The two console scripts, the printed config, and what an import costs."""

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import yaml

from threedzal.cli import main


def test_both_console_scripts_are_the_same_function():
    scripts = {
        script.name: script
        for script in entry_points(group="console_scripts")
        if script.name in ("threedzal", "lightning")
    }
    assert scripts["threedzal"].load() is main
    assert scripts["lightning"].load() is main


def test_a_printed_config_runs(config, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--config", str(config), "--print_config"])
    assert stop.value.code in (0, None)
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed)["model"]["init_args"]["width"] == 0.125
    Path("printed.yaml").write_text(printed)
    assert main(["fit", "--config", "printed.yaml", "--trainer.fast_dev_run", "true"]) == 0


@pytest.mark.parametrize("module", ["threedzal", "threedzal.cli"])
def test_an_import_brings_neither_open3d_nor_faiss(module):
    code = f"import sys, {module}; print([name for name in ('open3d', 'faiss') if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_saved_config_of_a_run_makes_the_same_run_again(fitted, run, assert_same_fit, tmp_path):
    again = run(tmp_path, "fit", "--config", fitted.folder / "config.yaml")
    assert_same_fit(again.fitted, fitted.fitted)
