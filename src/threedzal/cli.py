"""The commands `threedzal` and `lightning`: fit, validate, test, predict (LightningCLI), and the project's own."""

from __future__ import annotations

import shlex
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import yaml
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.utilities.exceptions import SIGTERMException

from threedzal.callbacks import MemoryBankCallback, PredictionCallback, ReportCallback
from threedzal.checkpoint import read_options
from threedzal.data.datamodule import ZeroShotDataModule
from threedzal.errors import UserError
from threedzal.model import ThreeDZAL
from threedzal.module import PatchModule
from threedzal.option_errors import OptionParser
from threedzal.quiet import quieten

OWN_COMMANDS = {"data": "make, check and look at data sets (`threedzal data --help`)"}
SHORT = {"--reference": "--memory_bank.reference", "--state": "--memory_bank.state"}  # of test and predict


class Interrupted(Exception):
    """A signal ended the work; `how` to go on, and the exit code by which shells know such an end."""

    def __init__(self, how: str, signal_number: int = signal.SIGINT) -> None:
        super().__init__(how)
        self.exit_code = 128 + signal_number


class CLI(LightningCLI):
    """LightningCLI with this project's callbacks, and with a fitted file that brings its own configuration."""

    def __init__(self, args: list[str]) -> None:
        self.args = args
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
            parser_class=OptionParser,
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

    def instantiate_classes(self) -> None:
        try:
            super().instantiate_classes()
        except ValueError as error:  # jsonargparse wraps what a constructor refuses in a page about its type
            raise next(filter(lambda e: isinstance(e, UserError), _causes(error)), error) from None

    def _run_subcommand(self, subcommand: str) -> None:
        try:
            super()._run_subcommand(subcommand)
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


def main(args: list[str] | None = None) -> int:
    """Run one command; returns its exit code (2: the input cannot work, said in one sentence)."""
    args = list(sys.argv[1:] if args is None else args)
    quieten()
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell script's background job is deaf to it else
    try:
        if args[:1] == ["data"]:
            from threedzal.data.commands import run

            run(args[1:])
        else:
            CLI([_spelled_out(arg) for arg in args])
    except UserError as error:
        if error.told:
            return 0  # the first process gives the exit code
        print(f"threedzal: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return _report(Interrupted("nothing was begun: start the same command again"))
    except Interrupted as stop:
        return _report(stop)
    return 0


def _report(stop: Interrupted) -> int:
    print(f"threedzal: interrupted; {stop}", file=sys.stderr)
    return stop.exit_code


def _spelled_out(arg: str) -> str:
    """`--reference batch` and `--state=FILE` are short for options of the memory bank."""
    name, equals, value = arg.partition("=")
    return SHORT.get(name, name) + equals + value


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


def _own_commands() -> str:
    return "own commands: " + "; ".join(f"{name}: {what}" for name, what in OWN_COMMANDS.items())
