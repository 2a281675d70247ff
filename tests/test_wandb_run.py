"""Which run a checkpoint belongs to."""

import pytest

from threedzal.wandb_run import RUN_FILE, WandbRun, resume_runs, run_id_of


@pytest.fixture
def run(tmp_path):
    (tmp_path / RUN_FILE).write_text('{"id": "abc", "project": "3dzal"}')
    return tmp_path


@pytest.mark.parametrize("checkpoint", ["fitted.ckpt", "checkpoints/last.ckpt"])
def test_a_checkpoint_goes_on_with_the_run_that_made_it(run, checkpoint):
    logger = WandbRun(offline=True)
    resume_runs([logger], run / checkpoint)
    assert logger._wandb_init["id"] == "abc"
    assert logger._wandb_init["resume"] == "allow"


def test_a_run_that_was_asked_for_by_name_is_kept(run):
    logger = WandbRun(offline=True, id="mine")
    resume_runs([logger], run / "fitted.ckpt")
    assert logger._wandb_init["id"] == "mine"


def test_a_checkpoint_without_a_run_begins_a_new_one(run, tmp_path):
    assert run_id_of(tmp_path / "elsewhere" / "deeper" / "fitted.ckpt") is None
    (run / RUN_FILE).write_text("not JSON")
    assert run_id_of(run / "fitted.ckpt") is None
