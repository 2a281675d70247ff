"""The commands `threedzal` and `lightning`: fit, validate, test, predict (LightningCLI), and the project's own."""

from __future__ import annotations

import sys
import tempfile

import yaml
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback

from threedzal.callbacks import MemoryBankCallback, PredictionCallback, ReportCallback
from threedzal.checkpoint import read_options
from threedzal.data.datamodule import ZeroShotDataModule
from threedzal.errors import UserError
from threedzal.model import ThreeDZAL
from threedzal.module import PatchModule

OWN_COMMANDS = {"data": "make, check and look at data sets (`threedzal data --help`)"}
INTERRUPTED = 130  # what a shell reports for a command that SIGINT ended


class CLI(LightningCLI):
    """LightningCLI with this project's callbacks, and with a fitted file that brings its own configuration."""

    def __init__(self, args: list[str]) -> None:
        super().__init__(
            PatchModule,
            ZeroShotDataModule,
            subclass_mode_model=True,
            args=args,
            seed_everything_default=0,
            save_config_callback=SaveConfigCallback,
            save_config_kwargs={"overwrite": True},
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            parser_kwargs={"prog": "threedzal", "epilog": _own_commands()},
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
        """Parse `args`, under which lie the options that the fitted file named by `--ckpt_path` was made with."""
        subcommand, path = next((a for a in args if not a.startswith("-")), None), _value_of("--ckpt_path", args)
        if subcommand not in ("validate", "test", "predict") or path is None:
            self.config = parser.parse_args(args)
            return
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            yaml.safe_dump(read_options(path), file)
            file.flush()
            at = args.index(subcommand) + 1
            self.config = parser.parse_args([*args[:at], "--config", file.name, *args[at:]])

    def _parse_ckpt_path(self) -> None:
        """The networks are what the checkpoint holds, whatever the command line says of them."""
        config = self.config[self.config.subcommand]
        if config.get("ckpt_path"):
            model = read_options(config.ckpt_path)["model"]
            self.config = self.parser.parse_object({self.config.subcommand: {"model": model}}, self.config)


def main(args: list[str] | None = None) -> int:
    """Run one command; returns its exit code (2: the input cannot work, said in one sentence)."""
    args = list(sys.argv[1:] if args is None else args)
    try:
        if args[:1] == ["data"]:
            from threedzal.data.commands import run

            run(args[1:])
        else:
            CLI(args)
    except UserError as error:
        print(f"threedzal: error: {error}", file=sys.stderr)
        return 2
    return 0


def _value_of(option: str, args: list[str]) -> str | None:
    for i, arg in enumerate(args):
        if arg.startswith(f"{option}="):
            return arg.split("=", 1)[1]
        if arg == option and i + 1 < len(args):
            return args[i + 1]
    return None


def _own_commands() -> str:
    return "own commands: " + "; ".join(f"{name}: {what}" for name, what in OWN_COMMANDS.items())
