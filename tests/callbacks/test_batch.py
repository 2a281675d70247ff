"""The scans of a run, class by class, as their batch judges them."""

from pathlib import Path

import pytest
import torch

from threedzal.batch import BatchOptions, BatchReference
from threedzal.callbacks.batch import BatchJudge
from threedzal.callbacks.memory_bank import MemoryBankCallback
from threedzal.data.scan import Scan, ScanPreparation, ScanRecord
from threedzal.detector import ScanScores
from threedzal.errors import UserError
from threedzal.maps import realign
from threedzal.module import PatchModule

GRID, SIDE = 6, 24
PREPARATION = ScanPreparation(image_size=SIDE, patch_size=4)


class TwoBranches(PatchModule):
    uses_fpfh = False
    branch_widths = {"rgb": 7, "fpfh": 4}


@pytest.fixture
def make_batch(tmp_path):
    """`make(class, n, seed)` -> a collated Scan of n scans and their features (n,P,11)."""

    def make(name: str, count: int, *, seed: int = 0, rgb: bool = True) -> tuple[Scan, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        records = []
        for i in range(count):
            path = tmp_path / f"{name}{seed}-{i}.tiff"
            path.write_text(f"{name} {seed} {i}")  # what it is known by
            records.append(ScanRecord(name, "test", "good", f"{seed}-{i}", path, Path("x.png") if rgb else None))
        side = torch.rand(count, SIDE, SIDE, generator=generator) < 0.5
        scan = Scan(
            rgb=torch.zeros(count, 3, SIDE, SIDE),
            xyz=torch.zeros(count, 3, SIDE, SIDE),
            valid=side,
            object=side,
            mask=side[:, None],
            label=torch.zeros(count, dtype=torch.long),
            patches=torch.zeros(count, GRID**2, 1, 3),
            cells=torch.rand(count, GRID**2, generator=generator) < 0.7,
            fpfh=None,
            size=torch.full((count, 2), SIDE),
            record=records,
        )
        return scan, torch.randn(count, GRID**2, 11, generator=generator)

    return make


def maps_alone(scan, features):
    """What `threedzal.batch` says of these scans by themselves."""
    batch = BatchReference(TwoBranches.branch_widths)
    for i, record in enumerate(scan.record):
        batch.add(features[i], scan.cells[i], key=record.key)
    return realign(batch.judge().cells, size=(SIDE, SIDE), sigma=2.0)


def judge(**options):
    return BatchJudge(TwoBranches(), PREPARATION, classes=["nut", "bolt"], options=BatchOptions(), **options)


def test_each_class_is_a_batch_of_its_own(make_batch):
    judged, given = judge(), {name: make_batch(name, 5, seed=seed) for seed, name in enumerate(("nut", "bolt"))}
    for first in (0, 2, 4):  # the classes come mixed
        for scan, features in given.values():
            rows = slice(first, first + 2)
            part = scan._map(lambda tensor, rows=rows: tensor[rows])
            part.record = scan.record[rows]
            judged.add(part, features[rows])
    found = list(judged.judged())
    assert [scan.record.class_name for scan in found] == ["bolt"] * 5 + ["nut"] * 5
    for name, (scan, features) in given.items():
        maps = torch.stack([one.maps["batch"] for one in found if one.record.class_name == name])
        torch.testing.assert_close(maps, maps_alone(scan, features))
    assert len(judged.notes) == 2 and all("a batch of 5 scans is small" in note for note in judged.notes)


def test_the_score_is_the_top_of_the_map_or_its_maximum(make_batch):
    scan, features = make_batch("nut", 5)
    scores = {}
    for how in ("top", "max"):
        judged = judge(score=how)
        judged.add(scan, features)
        scores[how] = [(one.scores["batch"], one.maps["batch"], one.object) for one in judged.judged()]
    for score, values, inside in scores["top"]:
        count = max(1, int(0.005 * inside.sum()))
        assert score == pytest.approx(float(values.flatten().sort(descending=True).values[:count].mean()))
    assert all(score == values.max() for score, values, _ in scores["max"])


def test_in_both_the_batch_counts_twice_whatever_the_bank_s_unit_is(make_batch):
    scan, features = make_batch("nut", 6)
    trained = torch.rand(6, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    for factor in (1.0, 50.0):  # the bank's scores have another unit
        judged = judge()
        judged.add(scan, features, ScanScores({"fused": factor * trained}, {}, None))
        found = list(judged.judged())
        assert all(list(one.scores) == ["both", "batch", "foreground"] for one in found)
        both, batch = (torch.stack([one.maps[name] for one in found]) for name in ("both", "batch"))
        pixels = [values[scan.object] for values in (batch, trained)]
        parts = []
        for values, inside in zip((batch, trained), pixels, strict=True):
            floor = inside.sort().values[round(0.1 * len(inside)) - 1]
            parts.append(((values - floor) / inside.std(correction=0)).clamp(min=0))
        torch.testing.assert_close(both, (2 * parts[0] + parts[1]) / 3, rtol=1e-2, atol=1e-2)


def test_scans_that_come_one_by_one_are_judged_by_those_before(make_batch, tmp_path):
    scan, features = make_batch("nut", 4)
    state = str(tmp_path / "state" / "nuts.safetensors")
    maps = []
    for i in range(4):
        arrived = BatchJudge(TwoBranches(), PREPARATION, classes=["nut"], options=BatchOptions(), state=state)
        part = scan._map(lambda tensor, i=i: tensor[i : i + 1])
        part.record = scan.record[i : i + 1]
        arrived.add(part, features[i : i + 1])
        maps.append(next(iter(list(arrived.judged()))).maps["batch"])
        if i == 0:
            assert "first scan" in arrived.notes[0]
    assert maps[0].max() == 0 and min(values.max() for values in maps[1:]) > 0
    again = BatchJudge(TwoBranches(), PREPARATION, classes=["nut"], options=BatchOptions(), state=state)
    again.add(scan, features)
    torch.testing.assert_close(torch.stack([one.maps["batch"] for one in again.judged()]), maps_alone(scan, features))


def test_what_cannot_work_is_one_sentence(make_batch, tmp_path):
    with pytest.raises(UserError, match="a state is of one kind of part"):
        judge(state=str(tmp_path / "x"))
    with pytest.raises(UserError, match="has no picture"):
        judge().add(*make_batch("nut", 2, rgb=False))
    judged = judge()
    judged.add(*make_batch("nut", 1))
    with pytest.raises(UserError, match="give at least 2 scans"):
        list(judged.judged())
    with pytest.raises(UserError, match="memory_bank.state"):
        MemoryBankCallback(state="file", reference="training")
