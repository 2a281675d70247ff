"""The fast paths against straightforward implementations, at small sizes: the numbers agree, the harness tells them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import gpu
from benchmarks.speed.__main__ import STAGES
from benchmarks.speed.harness import Case, Floor, Stage, cpu_seconds, measure

FLOOR = Floor(flops=1e11, bandwidth=1e10)


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_a_stage_gives_the_numbers_of_the_straightforward_way(stage):
    case = stage.prepare("small")
    assert case.agree(case.reference(), case.fast())


LOOSE = {  # half or less of the ratio that these small sizes have: lost with the fast path, not in a busy minute
    "coreset to the end": 2,
    "cleaning of a raw scan": 8,
    "FPFH and pooling": 1.8,
    "input perturbation": 1.5,
    "AUPRO and pixel AUROC": 4,
}


@pytest.mark.parametrize("name", LOOSE)
def test_a_stage_takes_less_processor_time_than_the_straightforward_way(name):
    if name == "FPFH and pooling":
        pytest.importorskip("numba")
    case = next(stage for stage in STAGES if stage.name == name).prepare("small")
    case.fast()
    turns = [(cpu_seconds(case.reference), cpu_seconds(case.fast)) for _ in range(3)]
    slow, quick = map(min, zip(*turns, strict=True))
    assert slow > LOOSE[name] * quick, (slow, quick)


def test_unequal_numbers_end_the_benchmark():
    def agree(slow, fast):
        assert slow == fast
        return "the same"

    with pytest.raises(AssertionError):
        measure(Stage("wrong", lambda size: Case("nothing", lambda: 1, lambda: 2, agree)), "small", FLOOR)


def test_part_of_the_reference_is_scaled_up_and_marked():
    def case(size):
        work = torch.rand(600, 600)
        return Case("products", lambda: work @ work, lambda: work @ work, lambda a, b: "the same", share=0.01)

    measured = measure(Stage("part", case, ratio=10), "full", FLOOR)
    assert measured.extrapolated and measured.met and measured.ratio > 10
    assert json.loads(json.dumps(measured.to_dict()))["share"] == 0.01


def test_peak_memory_is_what_a_stage_held_at_most():
    def hold():
        return float(torch.ones(30, 2**20).sum() + torch.ones(30, 2**20).sum())  # 120 MiB, one after the other

    measured = measure(Stage("held", lambda size: Case("ones", hold, hold, lambda a, b: "the same")), "small", FLOOR)
    if measured.mib == measured.mib:  # NaN where the system does not tell
        assert 110 < measured.mib < 230


def test_the_command_prints_a_table_and_keeps_what_the_file_had(tmp_path):
    path = tmp_path / "speed.json"
    for only in ("pooling", "reweighting"):
        command = [sys.executable, "-m", "benchmarks.speed", "--only", only, "--json", str(path)]
        done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    assert "| reweighting, against float64 |" in done.stdout
    kept = {"pooling alone", "FPFH and pooling"}
    now = {"reweighting, against float64", "nearest rows and reweighting, against float32"}
    assert kept | now == set(json.loads(path.read_text())["stages"])


def test_the_benchmark_of_a_gpu_runs_on_a_cpu_too(tmp_path, capsys):
    path = tmp_path / "gpu.json"
    small = "--device cpu --precision strict --batch 1 --scans 1 --bank_rows 300 --backbone resnet18"
    gpu.main([*small.split(), "--json", str(path)])
    assert "scans/s at batch 1" in capsys.readouterr().out
    record = json.loads(path.read_text())
    assert record["scans_per_second"] > 0 and record["flops"]["RGB"] > record["flops"]["to the device"] == 0
