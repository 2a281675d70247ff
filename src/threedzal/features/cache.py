"""Arrays kept on disk by what they were computed from, so that frozen features are computed once.

A key is a digest of everything that decides the result: the input, the options and, through `VERSION`, the code.
Files are safetensors with a digest of what they hold, written under a temporary name and then renamed, so that any
number of processes may share a folder and none ever reads half a file, or a damaged one. A folder has a size that it
may grow to: what was not used for longest goes first. `threedzal cache` shows and prunes a folder.
"""

import contextlib
import dataclasses
import fcntl
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from pathlib import Path

import numpy as np
import torch
import xxhash

from threedzal.errors import UserError

SUFFIX = ".safetensors"
VERSION = 2  # part of every digest: raise it when code behind cached arrays gives other numbers


def digest(*parts: object) -> str:
    """A stable name (32 hexadecimal digits) of what `parts` hold: the same in every process and on every machine.

    Parts: None, bool, int, float, str, bytes, NumPy arrays, tensors, enumeration members, dataclasses, and lists,
    tuples, sets and mappings of these. A `Path` stands for the content of its file (hand over `str(path)` for its
    name). Raises `TypeError` on anything else, whose `repr` might hold an address.

    XXH3 of 128 bits: scans are hashed each time they are read, and a cryptographic hash of an 800 x 800 scan takes as
    long as everything else that is looked up for it. Nobody gains by making two scans collide in a cache of their own.
    """
    state = xxhash.xxh3_128(f"threedzal-{VERSION}".encode())
    for chunk in _chunks(parts):
        state.update(len(chunk).to_bytes(8, "little"))  # lengths keep ("ab", "c") and ("a", "bc") apart
        state.update(chunk)
    return state.hexdigest()


def _chunks(part: object) -> Iterator[bytes | np.ndarray]:
    """The bytes of one part, led by its type; those of an array as they lie in memory."""
    if isinstance(part, Enum):
        yield from _chunks((type(part).__name__, part.value))
    elif part is None or isinstance(part, (bool, int, float, str)):
        yield f"{type(part).__name__}:{part!r}".encode()
    elif isinstance(part, np.generic):
        yield from _chunks(part.item())
    elif isinstance(part, (bytes, bytearray)):
        yield b"bytes:" + bytes(part)
    elif isinstance(part, Path):
        yield b"file:" + part.read_bytes()
    elif isinstance(part, torch.Tensor):
        yield from _chunks(part.detach().cpu().numpy())
    elif isinstance(part, np.ndarray):
        if part.dtype.hasobject:
            raise TypeError("An array of Python objects has no stable digest.")
        yield f"array:{part.dtype.str}:{part.shape}".encode()
        yield np.ascontiguousarray(part).reshape(-1).view(np.uint8)
    elif dataclasses.is_dataclass(part) and not isinstance(part, type):
        values = {field.name: getattr(part, field.name) for field in dataclasses.fields(part)}
        yield f"dataclass:{type(part).__name__}".encode()
        yield from _chunks(values)
    elif isinstance(part, Mapping):
        items = sorted(part.items(), key=lambda item: digest(item[0]))
        yield f"mapping:{len(items)}".encode()
        yield from _chunks([list(item) for item in items])
    elif isinstance(part, (set, frozenset)):
        yield b"set"
        yield from _chunks(sorted(digest(item) for item in part))
    elif isinstance(part, (list, tuple)):
        yield f"sequence:{len(part)}".encode()
        for item in part:
            yield from _chunks(item)
    else:
        raise TypeError(f"No stable digest of a {type(part).__name__}.")


class ArrayCache:
    """A folder of named arrays by key; `None` for a folder keeps nothing. Safe with several readers and writers.

    Args:
        folder: Where; made when first written to.
        limit: Bytes that the folder may grow to, about; None: as many as it likes. Looked at by each process each time
            that it has written a twentieth of it (several processes may be over it by as much each).
    """

    def __init__(self, folder: str | Path | None, *, limit: float | None = None):
        self.folder, self.limit = None if folder is None else Path(folder), limit
        self._written = float("inf")  # since the last look; the first write looks

    def path(self, key: str) -> Path | None:
        """Where the arrays of `key` stand, or would stand."""
        return None if self.folder is None else self.folder / key[:2] / f"{key}{SUFFIX}"

    def get_or_compute(self, key: str, compute: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """The arrays kept under `key`, else those of `compute()`, which are then kept.

        A file that cannot be read is computed again, with a warning. Raises `UserError` where the folder cannot be
        written.
        """
        arrays = self.get(key)
        if arrays is None:
            arrays = compute()
            self.put(key, arrays)
        return arrays

    def get(self, key: str) -> dict[str, np.ndarray] | None:
        """The arrays kept under `key`; None where there are none, or, with a warning, none that can be read."""
        path = self.path(key)
        if path is None or not path.is_file():
            return None
        try:
            arrays = _read(path)
            os.utime(path)  # used now; access times are not kept on every disk
            return arrays
        except FileNotFoundError:
            return None  # pruned since
        except (OSError, ValueError) as error:
            warnings.warn(f"Cached file {path} cannot be read ({error}); computing it again.", stacklevel=2)
            return None

    def put(self, key: str, arrays: dict[str, np.ndarray]) -> None:
        """Keep arrays under `key`. Raises `UserError` where the folder cannot be written."""
        path = self.path(key)
        if path is not None:
            _write(path, arrays)
            self._keep_to_limit(sum(array.nbytes for array in arrays.values()))

    def _keep_to_limit(self, written: int) -> None:
        if self.limit is not None:
            self._written += written
            if self._written >= 0.05 * self.limit:
                prune(self.folder, self.limit)
                self._written = 0


@dataclasses.dataclass(frozen=True)
class Kept:
    """One file of a cache."""

    path: Path
    size: int  # bytes
    used: float  # seconds since 1970, when it was last read or written


def kept_files(folder: str | Path) -> list[Kept]:
    """All that a cache holds, in no order. Files that other processes remove meanwhile are left out."""
    found = []
    for path in Path(folder).glob("[0-9a-f][0-9a-f]/[!.]*"):  # those of earlier versions, too, which nobody reads
        with contextlib.suppress(FileNotFoundError):
            state = path.stat()
            found.append(Kept(path, state.st_size, state.st_mtime))
    return found


def prune(folder: str | Path, limit: float) -> list[Kept]:
    """Remove what was not used for longest until at most `limit` bytes are left; returns what was removed.

    Safe while others read and write: who has a file open reads it to its end, who comes later computes it again. Where
    another process prunes already, nothing is done. Temporary files that a killed process left a day ago go, too.
    """
    folder = Path(folder)
    if not folder.is_dir():
        return []
    with open(folder / ".lock", "a") as lock:
        with contextlib.suppress(OSError):  # a file system without locks: two that prune do no harm, only work twice
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return []
        for path in folder.glob("*/.*.tmp"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > 24 * 3600:
                    path.unlink()
        files = sorted(kept_files(folder), key=lambda file: file.used)
        total, removed = sum(file.size for file in files), []
        for file in files:
            if total <= limit:
                break
            file.path.unlink(missing_ok=True)
            total -= file.size
            removed.append(file)
        return removed


def array_names(path: Path) -> set[str]:
    """The names of the arrays in a file of a cache; empty where it cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            return set(file.keys())
    except (OSError, SafetensorError):
        return set()


def _read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file; `ValueError` where it is damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            written = (file.metadata() or {}).get("digest")
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    if digest(arrays) != written:
        raise ValueError("it does not hold what was written")
    return arrays


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """All or nothing: a reader sees no file or a whole one."""
    from safetensors.numpy import save

    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", suffix=".tmp", delete=False) as file:
            temporary = Path(file.name)
            file.write(save(arrays, metadata={"digest": digest(arrays)}))
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(
            f"The cache file {path} cannot be written ({error.strerror or error}); "
            "free some space or give another cache folder."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
