"""What is compared: methods (their configs), pairs of classes, seeds; and the jobs that this makes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from threedzal.errors import UserError
from threedzal.protocol import Job


@dataclass(frozen=True)
class MethodEntry:
    """A method: what the table calls it, and its configs, the later ones on top."""

    name: str
    configs: tuple[str, ...]


@dataclass(frozen=True)
class Pair:
    """Classes to learn, and classes to test on in one go."""

    train: tuple[str, ...]
    test: tuple[str, ...]

    @property
    def in_class(self) -> bool:
        """A class is on both sides: the classical setting, which is no zero-shot."""
        return bool(set(self.train) & set(self.test))

    def __str__(self) -> str:
        return f"{' + '.join(self.train)} > {', '.join(self.test)}"


@dataclass(frozen=True)
class Comparison:
    """Every method on every pair with every seed."""

    methods: tuple[MethodEntry, ...]
    pairs: tuple[Pair, ...]
    seeds: tuple[int, ...] = (0,)
    overrides: tuple[str, ...] = ()  # `--data.root=mvtec_3d`, of all jobs
    cache: str | None = None  # where features are kept for all of them, if no config says so

    def jobs(self) -> dict[Job, tuple[MethodEntry, Pair, int]]:
        """All jobs, pair by pair, so that the methods of a pair come one after the other."""
        return {
            self.job(method, pair, seed): (method, pair, seed)
            for pair in self.pairs
            for seed in self.seeds
            for method in self.methods
        }

    def job(self, method: MethodEntry, pair: Pair, seed: int) -> Job:
        """A job's options are the configs', this comparison's, and what the pair asks for."""
        more = ["--data.protocol=in_class"] if pair.in_class else []
        job = Job(method.name, method.configs, pair.train, pair.test, seed, (*self.overrides, *more))
        if self.cache is None or (job.options.get("data") or {}).get("cache_dir"):
            return job
        return Job(
            method.name, method.configs, pair.train, pair.test, seed, (*job.overrides, f"--data.cache_dir={self.cache}")
        )

    def check(self) -> None:
        """Before anything is begun: every config can be read, and the data have the classes.

        Raises:
            UserError: a config, a data set or a class is not there.
        """
        from threedzal.data.index import list_classes

        wanted = {name for pair in self.pairs for name in (*pair.train, *pair.test)}
        for job in self.jobs():
            root = (job.options.get("data") or {}).get("root")
            if root is None:
                raise UserError(f"{' + '.join(job.configs)}: names no data set: give --data.root")
            found = list_classes(root)
            if missing := sorted(wanted - set(found)):
                raise UserError(f"--pairs: {root} has no class {', '.join(missing)}; it has {', '.join(found)}")


def read_methods(text: str) -> tuple[MethodEntry, ...]:
    """`btf.yaml,3dzal.yaml+small.yaml` as two methods, named `btf` and `3dzal+small`; `ours=3dzal.yaml` names one.

    Raises:
        UserError: a file is not there, or two methods have one name.
    """
    entries = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, files = part.rpartition("=")
        configs = tuple(files.split("+"))
        for path in configs:
            if not Path(path).is_file():
                raise UserError(
                    f"--configs: there is no file {path}: wanted configs, as configs/btf.yaml,configs/3dzal.yaml"
                )
        entries.append(MethodEntry(name or "+".join(Path(path).stem for path in configs), configs))
    if not entries:
        raise UserError("--configs: names no config; wanted some, as configs/btf.yaml,configs/3dzal.yaml")
    if twice := [name for name, count in Counter(entry.name for entry in entries).items() if count > 1]:
        raise UserError(
            f"--configs: two methods are called {', '.join(twice)}: name one, as mine={entries[-1].configs[0]}"
        )
    return tuple(entries)


def read_pairs(text: str) -> tuple[Pair, ...]:
    """`cone:ring,ring+rod:cone+disc` as (cone > ring) and (ring + rod > cone, disc).

    Raises:
        UserError: something is no such pair.
    """
    pairs = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        sides = [tuple(filter(None, side.split("+"))) for side in part.split(":")]
        if len(sides) != 2 or not all(sides):
            raise UserError(f"--pairs: {part} is no pair; wanted TRAIN:TEST, as bagel:cable_gland or bagel+rope:tire")
        pairs.append(Pair(*sides))
    if not pairs:
        raise UserError("--pairs: names no pair; wanted some, as bagel:cable_gland,rope:tire")
    return tuple(dict.fromkeys(pairs))
