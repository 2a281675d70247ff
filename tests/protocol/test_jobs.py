"""A job's name follows from what decides its numbers, and from nothing else."""

import pytest

from threedzal.errors import UserError
from threedzal.protocol import Job


def test_the_same_options_are_the_same_job_however_they_are_written(config):
    one = config(model={"class_path": "x.Method", "init_args": {"width": 0.5}}, data={"visits": 3})
    below, above = config(model={"class_path": "x.Method", "init_args": {"width": 1}}), config(data={"visits": 3})
    jobs = [
        Job("a", (one,), ("bagel",), ("rope",)),
        Job("b", (below, above), ("bagel",), ("rope",), overrides=("--model.init_args.width=0.5",)),
        Job("c", (below, above), ("bagel",), ("rope",), overrides=("--model.width", "0.5")),
        Job("d", (below,), ("bagel",), ("rope",), overrides=("--model.width", "0.5", "--data.visits", "3")),
    ]
    assert len({job.key for job in jobs}) == 1


@pytest.mark.parametrize(
    "override",
    [
        "--data.cache_dir=elsewhere",
        "--data.num_workers=8",
        "--trainer.logger=false",
        "--report.enabled=false",
        "--trainer.callbacks+=lightning.pytorch.callbacks.RichProgressBar",
        "--data.train_classes=[tire]",  # the job's own pair is what counts
        "--seed_everything=9",
    ],
)
def test_what_changes_no_number_is_no_part_of_it(config, override):
    path = config(model={"class_path": "x.Method"}, data={"root": "mvtec"})
    plain = Job("a", (path,), ("bagel",), ("rope",))
    assert Job("a", (path,), ("bagel",), ("rope",), overrides=(override,)).key == plain.key


def test_another_option_pair_or_seed_is_another_job(config):
    path = config(data={"root": "mvtec"})
    jobs = [
        Job("a", (path,), ("bagel",), ("rope",)),
        Job("a", (path,), ("bagel",), ("tire",)),
        Job("a", (path,), ("rope",), ("bagel",)),
        Job("a", (path,), ("bagel", "tire"), ("rope",)),
        Job("a", (path,), ("bagel",), ("rope",), seed=1),
        Job("a", (path,), ("bagel",), ("rope",), overrides=("--data.root=other",)),
        Job("a", (path,), ("bagel",), ("rope",), overrides=("--model=x.Other",)),
        Job("a", (path,), ("bagel",), ("rope",), overrides=("--trainer.max_epochs=1",)),
    ]
    assert len({job.digest for job in jobs}) == len(jobs)


def test_a_batch_that_judges_itself_needs_no_fit(config):
    path = config(memory_bank={"reference": "batch"})
    assert not Job("a", (path,), (), ("rope",)).needs_fit
    assert Job("a", (path,), (), ("rope",), overrides=("--memory_bank.reference=both",)).needs_fit


def test_a_config_that_cannot_be_read_is_named(config, tmp_path):
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [")
    for path in (tmp_path / "none.yaml", broken):
        with pytest.raises(UserError, match=path.name):
            _ = Job("a", (str(path),), ("bagel",), ("rope",)).digest
    with pytest.raises(UserError, match="wanted an option with a value"):
        _ = Job("a", (config(x=1),), ("bagel",), ("rope",), overrides=("--data.visits",)).digest
