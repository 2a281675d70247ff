"""What says how things grow: exponents, what is marked as growing too fast, and the command at tiny sizes."""

import json

import pytest

from benchmarks import growth
from benchmarks.growth import Curve, Point, exponent, line


@pytest.mark.parametrize("power", [0, 1, 1.5, 3])
def test_the_exponent_of_a_power_is_found(power):
    sizes = [10, 100, 250]
    assert exponent(sizes, [7 * size**power for size in sizes]) == pytest.approx(power)


def test_what_grows_faster_than_its_algorithm_is_marked():
    curve = Curve("work", "scans", (1, 2), (1, 2), lambda size: lambda: None, allowed=1, why="rows")
    assert "!" in line(curve, [Point(1, 1.0, 1.0, 0), Point(2, 4.0, 1.0, 0)])
    assert "!" in line(curve, [Point(s, t, 1.0, 0) for s, t in ((1, 9.0), (10, 9.0), (20, 30.0))])  # at its end alone
    assert "!" not in line(curve, [Point(1, 1.0, 1.0, 0), Point(2, 2.0, 1.0, 0)])


def test_the_command_measures_prints_and_draws(tmp_path, capsys):
    json_file, picture = tmp_path / "growth.json", tmp_path / "growth.png"
    only = "coreset of a tenth,pooling,resize and blur,all metrics"
    growth.main(["--quick", "--only", only, "--json", str(json_file), "--plot", str(picture)])
    record = json.loads(json_file.read_text())
    answers = {name: curve["exponents"]["answer"] for name, curve in record.items()}  # bytes, the same in every run
    assert answers == {
        "coreset of a tenth": pytest.approx(1),
        "all metrics of a class": pytest.approx(0, abs=1e-9),
        "pooling to patches": pytest.approx(2),
        "map: resize and blur": pytest.approx(2),
    }
    assert "| map: resize and blur | pixels a side | 96, 160, 224 |" in capsys.readouterr().out
    assert picture.read_bytes().startswith(b"\x89PNG")
