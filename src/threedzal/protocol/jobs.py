"""What a job is: a method's configuration, a pair of classes and a seed, under a name that follows from these alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import yaml

from threedzal.errors import UserError

# What changes no number: a job stays the same job when these change.
NO_MATTER = (
    "data.cache_dir",
    "data.cache_gigabytes",
    "data.cache_rgb",
    "data.num_workers",
    "data.predict_path",
    "trainer.logger",
    "trainer.callbacks",
    "trainer.default_root_dir",
    "trainer.enable_checkpointing",
    "trainer.enable_model_summary",
    "trainer.enable_progress_bar",
    "trainer.log_every_n_steps",
    "trainer.profiler",
    "checkpoint",
    "predictions",
    "report",
)
OF_THE_JOB = ("data.train_classes", "data.test_classes", "seed_everything")  # the job says these itself
DEFAULT_METHOD = "threedzal.model.ThreeDZAL"


@dataclass(frozen=True)
class Job:
    """One experiment: fit a method on `train`, test it on `test`.

    Args:
        method: What tables call it; no part of its identity.
        configs: Files for `--config`, the later ones on top.
        train: Training classes.
        test: Classes never seen, tested in one go (a job with several has the others of them out of its auxiliary
            classes too).
        seed: For `--seed_everything`.
        overrides: More options of `threedzal fit` and `test`, as on the command line: `--data.visits=3` or
            `--data.visits`, `3`.
    """

    method: str
    configs: tuple[str, ...]
    train: tuple[str, ...]
    test: tuple[str, ...]
    seed: int = 0
    overrides: tuple[str, ...] = ()

    @cached_property
    def options(self) -> dict[str, Any]:
        """The configs with the overrides, as one nested dictionary; defaults of options not named are not in it.

        Raises:
            UserError: a config cannot be read, or an override is no option with a value.
        """
        options: dict[str, Any] = {}
        for path in self.configs:
            options = merged(options, read_yaml(path))
        for name, value in _pairs(self.overrides):
            _set(options, name, value)
        return options

    @cached_property
    def digest(self) -> str:
        """12 hexadecimal digits of all that decides the job's numbers: resolved options, pair and seed."""
        options = deepcopy(self.options)
        for name in (*NO_MATTER, *OF_THE_JOB):
            _drop(options, name)
        whole = json.dumps([options, sorted(self.train), sorted(self.test), self.seed], sort_keys=True, default=str)
        return hashlib.blake2b(whole.encode(), digest_size=6).hexdigest()

    @property
    def key(self) -> str:
        """Name of its folder: `ThreeDZAL-bagel-cable_gland-0-3f0c...`; people read its front, programs its end."""
        model = self.options.get("model") or {}
        name = str(model.get("class_path", DEFAULT_METHOD)).rsplit(".", 1)[-1]
        pair = f"{'+'.join(sorted(self.train))}-{'+'.join(sorted(self.test))}"
        return f"{name}-{pair[:80]}-{self.seed}-{self.digest}"

    @property
    def needs_fit(self) -> bool:
        """False where scans judge each other and nothing is learned."""
        return (self.options.get("memory_bank") or {}).get("reference") != "batch"

    def __str__(self) -> str:
        return f"{self.method}: {' + '.join(self.train)} > {' + '.join(self.test)}, seed {self.seed}"


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`above` over `below`, section by section; lists are replaced, as in the command line's configs."""
    result = dict(below)
    for name, value in above.items():
        both = isinstance(value, dict) and isinstance(result.get(name), dict)
        result[name] = merged(result[name], value) if both else value
    return result


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A YAML file whose top level has names.

    Raises:
        UserError: there is no such file, or it is something else.
    """
    try:
        content = deepcopy(_parsed(Path(path).read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: cannot be read as a config ({getattr(error, 'strerror', None) or error}): check the path"
        ) from error
    except yaml.YAMLError as error:
        raise UserError(f"{path}: is no YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds {type(content).__name__}, but a config has sections with names")
    return content


@lru_cache(maxsize=64)
def _parsed(text: str) -> Any:
    """A protocol reads the same few configs for hundreds of jobs, and PyYAML is slow."""
    return yaml.safe_load(text)


def _pairs(overrides: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """`--name=value` and `--name value` as (name, value); values as YAML reads them."""
    rest = list(overrides)
    while rest:
        name, equals, text = rest.pop(0).partition("=")
        if not name.startswith("--") or name in ("--", "--config") or (not equals and not rest):
            raise UserError(f"override {name}{equals}{text}: wanted an option with a value, as --data.visits=3")
        if not equals:
            text = rest.pop(0)
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            value = text
        yield name.removeprefix("--"), value


def _set(options: dict[str, Any], name: str, value: Any) -> None:
    """Set `model.width` and so on; the model's options may leave out `init_args`, and `--model CLASS` is its class."""
    keys = name.split(".")
    if keys[0] == "model":
        if len(keys) == 1 and isinstance(value, str):
            keys.append("class_path")
        elif len(keys) > 1 and keys[1] not in ("class_path", "init_args", "dict_kwargs"):
            keys.insert(1, "init_args")
    for key in keys[:-1]:
        if not isinstance(options.get(key), dict):
            options[key] = {}
        options = options[key]
    options[keys[-1]] = value


def _drop(options: dict[str, Any], name: str) -> None:
    """Remove `data.cache_dir` and so on, with `name+` (which appends) and a section that is then empty."""
    first, _, rest = name.partition(".")
    if not rest:
        for key in (name, f"{name}+"):
            options.pop(key, None)
    elif isinstance(options.get(first), dict):
        _drop(options[first], rest)
        if not options[first]:
            del options[first]
