"""fit, validate, test and predict: LightningCLI with this project's options."""

from __future__ import annotations

import json
import shlex
import signal
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from threedzal.callbacks import MemoryBankCallback, PredictionCallback, ReportCallback
from threedzal.checkpoint import read_options
from threedzal.data.datamodule import ZeroShotDataModule
from threedzal.errors import Interrupted, UserError
from threedzal.model import ThreeDZAL
from threedzal.module import Method
from threedzal.option_errors import OptionParser
from threedzal.wandb_run import finish_runs, resume_runs


class ConfigCallback(SaveConfigCallback):
    """Keeps the configuration as `config.yaml` in the run's folder, and in W&B."""

    def save_config(self, trainer, module, stage: str) -> None:
        config = yaml.safe_load(self.parser.dump(self.config, skip_none=False))
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):  # the others have the file
                logger.log_hyperparams({"config": config})


class CLI(LightningCLI):
    """LightningCLI with this project's callbacks, and with a fitted file that brings its own configuration."""

    def __init__(self, args: list[str], *, epilog: str = "") -> None:
        self.args = args
        super().__init__(
            Method,
            ZeroShotDataModule,
            subclass_mode_model=True,
            args=args,
            seed_everything_default=0,
            save_config_callback=ConfigCallback,
            save_config_kwargs={"overwrite": True},
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            parser_class=OptionParser,
            parser_kwargs={"prog": "threedzal", "epilog": epilog},
            trainer_defaults={
                "max_epochs": 5,
                "use_distributed_sampler": False,
                "num_sanity_val_steps": 0,
                "log_every_n_steps": 1,
                "logger": {
                    "class_path": "lightning.pytorch.loggers.CSVLogger",
                    "init_args": {"save_dir": ".", "name": "lightning_logs"},
                },
            },
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.set_defaults({"model": {"class_path": f"{ThreeDZAL.__module__}.{ThreeDZAL.__name__}"}})
        parser.add_lightning_class_args(MemoryBankCallback, "memory_bank")
        parser.add_lightning_class_args(ReportCallback, "report")
        parser.add_lightning_class_args(PredictionCallback, "predictions")
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        parser.set_defaults({"checkpoint.filename": "last", "checkpoint.enable_version_counter": False})
        parser.link_arguments("seed_everything", "data.seed", compute_fn=int)

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        parser.set_defaults({"weights_only": True})  # no code of a checkpoint is ever run
        if subcommand in ("validate", "test"):
            parser.set_defaults({"verbose": False})  # the project prints a table of its own
        if subcommand == "predict":
            parser.set_defaults({"return_predictions": False})  # they are on disk
        return parser

    def parse_arguments(self, parser: LightningArgumentParser, args: list[str]) -> None:
        """Parse `args`, under which lie the options that the fitted file named by `--ckpt_path` was made with.

        Without a fitted file, the options that the method brings lie there.
        """
        subcommand, path = next((a for a in args if not a.startswith("-")), None), _value_of("--ckpt_path", args)
        if subcommand in ("validate", "test", "predict") and path is not None:
            self.config = parser.parse_args(_over(read_options(path), subcommand, args))
            return
        self.config = parser.parse_args(args)
        if brought := _brought(self.config[subcommand].model):
            self.config = parser.parse_args(_over(brought, subcommand, args))

    def instantiate_classes(self) -> None:
        try:
            super().instantiate_classes()
        except ValueError as error:  # jsonargparse wraps what a constructor refuses in a page about its type
            raise next(filter(lambda e: isinstance(e, UserError), _causes(error)), error) from None

    def _run_subcommand(self, subcommand: str) -> None:
        try:
            resume_runs(self.trainer.loggers, self.config[subcommand].get("ckpt_path"))
            super()._run_subcommand(subcommand)
            finish_runs(self.trainer.loggers)
        except SystemExit as stop:  # what Lightning makes of either signal
            number = signal.SIGTERM if isinstance(stop, SIGTERMException) else signal.SIGINT
            raise Interrupted(self._how_to_go_on(subcommand), number) from stop
        except UserError as error:
            launcher = self.trainer.strategy.launcher
            if not error.told and hasattr(launcher, "kill"):  # the processes that this one started wait for it
                launcher.kill(signal.SIGKILL)
            raise

    def _how_to_go_on(self, subcommand: str) -> str:
        """One sentence, with the command that takes up an interrupted one where it stopped."""
        folders = [Path(c.dirpath) for c in self.trainer.checkpoint_callbacks if c.dirpath]
        saved = [path for folder in folders for path in folder.glob("*.ckpt")]
        path = max(saved, key=lambda path: path.stat().st_mtime, default=None)
        if subcommand != "fit" or path is None:
            return "there is nothing to go on from: start the same command again"
        args = _without("--ckpt_path", self.args)
        return f"go on with: threedzal {shlex.join(args)} --ckpt_path {shlex.quote(str(path))}"

    def _parse_ckpt_path(self) -> None:
        """The networks are what the checkpoint holds, whatever the command line says of them."""
        config = self.config[self.config.subcommand]
        if config.get("ckpt_path"):
            model = read_options(config.ckpt_path)["model"]
            self.config = self.parser.parse_object({self.config.subcommand: {"model": model}}, self.config)


def _brought(model: Namespace) -> dict[str, Any]:
    """What the method's class says that its own options ask of the others."""
    module, name = model.class_path.rsplit(".", 1)
    return getattr(import_module(module), name).brings(model.init_args.as_dict())


def _over(options: dict[str, Any], subcommand: str, args: list[str]) -> list[str]:
    """`args` with `options` as a config before all others, so that each of these goes over it."""
    at = args.index(subcommand) + 1
    return [*args[:at], "--config", json.dumps(options), *args[at:]]


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _value_of(option: str, args: list[str]) -> str | None:
    for i, arg in enumerate(args):
        if arg.startswith(f"{option}="):
            return arg.split("=", 1)[1]
        if arg == option and i + 1 < len(args):
            return args[i + 1]
    return None


def _without(option: str, args: list[str]) -> list[str]:
    """`args` less `option` and its value."""
    value = _value_of(option, args)
    kept = [arg for arg in args if arg != f"{option}={value}"]
    if option in kept:
        at = kept.index(option)
        del kept[at : at + 2]
    return kept
