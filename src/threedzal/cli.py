"""The commands `threedzal` and `lightning`. Imports little, so that `threedzal data` need not wait for Lightning."""

from __future__ import annotations

import signal
import sys
import threading
from importlib import import_module
from types import ModuleType

from threedzal.errors import Interrupted, UserError

OWN_COMMANDS = {  # name: module with a function `run(args)`, and what it is for
    "compare": ("threedzal.comparison.commands", "several methods side by side: one table, one page of pictures"),
    "data": ("threedzal.data.commands", "make, download, check and look at data sets (`threedzal data --help`)"),
    "calibrate": ("threedzal.site_calibration", "set a fitted file's threshold on good scans of your own product"),
    "cache": ("threedzal.features.cache_commands", "show and prune what is kept of masks and features"),
    "protocol": ("threedzal.protocol.commands", "run many experiments as one, and print their tables"),
}
SHORT = {"--reference": "--memory_bank.reference", "--state": "--memory_bank.state"}  # of test and predict


def main(args: list[str] | None = None) -> int:
    """Run one command; returns its exit code (2: the input cannot work, said in one sentence)."""
    args = list(sys.argv[1:] if args is None else args)
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell script's background job is deaf to it else
    try:
        if args and args[0] in OWN_COMMANDS:
            import_module(OWN_COMMANDS[args[0]][0]).run(args[1:])
        else:
            if "-h" in args or "--help" in args:
                _spare_imports_for_help()
            from threedzal.quiet import quieten
            from threedzal.trainer_cli import CLI

            quieten()
            CLI([_spelled_out(arg) for arg in args], epilog=_own_commands())
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


class _Nothing(ModuleType):
    """A module that has everything and does nothing; as a decorator it leaves the function as it is."""

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *args, **kwargs):
        return args[0] if args else self


def _spare_imports_for_help() -> None:
    """A page of help computes nothing, but `import lightning` loads TorchDynamo, torchvision and scipy.signal, which
    is more than half of its 7 seconds (two cores, torch 2.15)."""
    for name in ("torch._dynamo", "torchvision", "torchvision.models", "scipy.signal"):
        sys.modules.setdefault(name, _Nothing(name))


def _own_commands() -> str:
    return "own commands: " + "; ".join(f"{name}: {what}" for name, (_, what) in OWN_COMMANDS.items())
