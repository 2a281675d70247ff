"""A fitted file is mapped, not copied, by those who test with it, and replaced as a whole by those who fit."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO

from threedzal import MemoryBankCallback
from threedzal.callbacks.checkpoint_io import MappedCheckpointIO, save_whole
from threedzal.memory import MemoryBank

MAPS = Path("/proc/self/maps")


@pytest.mark.skipif(not MAPS.exists(), reason="asks Linux what this process has mapped")
def test_a_bank_is_searched_where_the_file_is_mapped(tmp_path):
    rows = torch.randn(500, 32)
    torch.save({"bank": MemoryBank.build(rows).state_dict()}, tmp_path / "fitted.ckpt")
    state = MappedCheckpointIO().load_checkpoint(tmp_path / "fitted.ckpt")["bank"]
    bank = MemoryBank.from_state_dict(state)
    assert torch.equal(bank.search(rows, 1)[1][:, 0], torch.arange(500))
    at = bank.features.data_ptr()
    ranges = [line.split()[0].split("-") for line in MAPS.read_text().splitlines() if "fitted.ckpt" in line]
    assert any(int(first, 16) <= at < int(last, 16) for first, last in ranges)


@pytest.mark.parametrize(
    ("stage", "reader"), [("test", MappedCheckpointIO), ("predict", MappedCheckpointIO), ("fit", TorchCheckpointIO)]
)
def test_training_alone_reads_a_copy_since_it_writes_over_the_file(stage, reader):
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    MemoryBankCallback().setup(trainer, None, stage)
    assert type(trainer.strategy.checkpoint_io) is reader


def test_a_file_that_cannot_be_written_to_its_end_leaves_the_old_one(tmp_path):
    (tmp_path / "fitted.ckpt").write_text("old")

    def breaks_off(part):
        Path(part).write_text("ne")
        raise OSError("no space left on device")

    trainer = SimpleNamespace(save_checkpoint=breaks_off, is_global_zero=True)
    with pytest.raises(OSError):
        save_whole(trainer, tmp_path / "fitted.ckpt")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]
    trainer = SimpleNamespace(save_checkpoint=lambda part: Path(part).write_text("new"), is_global_zero=True)
    save_whole(trainer, tmp_path / "fitted.ckpt")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["new"]
