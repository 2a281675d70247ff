"""A W&B run that never stops the work: where W&B cannot be reached it goes on offline; a resumed fit resumes it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_warn

from threedzal.files import write_text

RUN_FILE = "wandb_run.json"  # in the run's folder, beside fitted.ckpt and checkpoints/


class WandbRun(WandbLogger):
    """Lightning's logger for W&B, which does not end a training because a server is away.

    Args:
        project: Where the run belongs.
        name: What it is called; W&B makes up a name where None is given.
        save_dir: Folder in which W&B keeps its files, below `wandb/`.
        offline: Write to disk alone, for `wandb sync`.
        id: Of a run to go on with. None: that of the checkpoint given by `--ckpt_path`, else a new one.
        init_timeout: Seconds to wait for the server when the run starts; after that it is written offline.
        finish_timeout: Seconds to wait for what is not yet sent when the run ends; what is left stays on disk.
        kwargs: Others of `wandb.init`: entity, group, tags, notes, ...
    """

    def __init__(
        self,
        project: str = "3dzal",
        name: str | None = None,
        save_dir: str = ".",
        offline: bool = False,
        id: str | None = None,
        init_timeout: float = 30.0,
        finish_timeout: float = 300.0,
        **kwargs: Any,
    ) -> None:
        import wandb

        settings = {
            "init_timeout": init_timeout,
            "finish_timeout": finish_timeout,
            "x_graphql_retry_max": 2,
            "x_graphql_retry_wait_max_seconds": 2,
            "console": "off",
        }
        known = wandb.Settings(**{k: v for k, v in settings.items() if k in wandb.Settings.model_fields})
        super().__init__(name=name, save_dir=save_dir, id=id, project=project, settings=known, **kwargs)
        self._wandb_init.pop("anonymous", None)  # W&B no longer knows it, and says so
        if offline:
            self._wandb_init["mode"] = "offline"

    @property
    @rank_zero_experiment
    def experiment(self):
        """The run; made when it is first asked for."""
        if self._experiment is not None:
            return self._experiment
        import wandb

        try:
            return super().experiment
        except (wandb.errors.Error, OSError) as error:  # unreachable, no key, too slow
            rank_zero_warn(
                f"W&B cannot be reached ({_first_line(error)}): the run is written to disk, "
                f"send it later with `wandb sync {Path(self._save_dir or '.') / 'wandb'}/offline-run-*`"
            )
            self._wandb_init["mode"] = "offline"
            return super().experiment

    def resume(self, checkpoint: str | Path) -> None:
        """Go on with the run that made this checkpoint, unless another one was asked for."""
        run_id = run_id_of(checkpoint)
        if run_id is not None and self._wandb_init["id"] is None:
            self._id = self._wandb_init["id"] = run_id


def keep_run_id(loggers: Iterable[Logger], folder: Path) -> None:
    """Write the id of the W&B run, if there is one, into the run's folder."""
    for logger in loggers:
        if isinstance(logger, WandbLogger) and (run_id := getattr(logger.experiment, "id", None)):
            write_text(folder / RUN_FILE, json.dumps({"id": run_id, "project": logger.name}) + "\n")


def run_id_of(checkpoint: str | Path) -> str | None:
    """The id of the W&B run whose folder holds a checkpoint, directly or in `checkpoints/`; None where none is kept."""
    folder = Path(checkpoint).parent
    for path in (folder / RUN_FILE, folder.parent / RUN_FILE):
        with suppress(OSError, ValueError, KeyError, TypeError):
            return str(json.loads(path.read_text(encoding="utf-8"))["id"])
    return None


def resume_runs(loggers: Iterable[Logger], checkpoint: str | Path | None) -> None:
    """Let every W&B run go on with that of the checkpoint."""
    for logger in loggers:
        if isinstance(logger, WandbRun) and checkpoint is not None:
            logger.resume(checkpoint)


def finish_runs(loggers: Iterable[Logger]) -> None:
    """Send what is left and end the runs, so that the next one of this process is its own."""
    for logger in loggers:
        if isinstance(logger, WandbRun) and logger._experiment is not None:
            with suppress(Exception):  # the work is done and on disk; what was not sent stays there too
                logger._experiment.finish()
            logger._experiment = None


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
