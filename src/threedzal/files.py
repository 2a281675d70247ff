"""Nothing half-written: a file appears under its own name only when it is whole."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from threedzal.errors import UserError


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Temporary file name beside `path`; renamed to `path` when the block ends well, removed when it does not.

    The temporary name keeps the suffix, because image writers choose the format by it, and begins with a dot, so that
    no index of a folder takes it for a finished file. Missing parent folders are made.

    Raises:
        UserError: the folder or the file cannot be written (no rights, a file where a folder is wanted, disk full).
    """
    path = Path(path)
    part = path.with_name(f".{path.stem}.{os.getpid()}-{secrets.token_hex(4)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        os.replace(part, path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}; choose another output folder") from error
    finally:
        with suppress(OSError):  # gone already when all went well; no folder to look into when none could be made
            part.unlink()


def write_text(path: str | Path, text: str) -> Path:
    """Write `text` as UTF-8 under `path`, whole or not at all; returns the path."""
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8")
    return Path(path)


def require_room(folder: str | Path, needed: int, what: str, *, advice: str) -> None:
    """Refuse at once what would fill a disk after hours.

    Args:
        needed: bytes.
        what: takes them; begins the sentence's second half. advice: ends it.

    Raises:
        UserError: the disk of `folder` (which need not be there yet) has less free.
    """
    there = next(path for path in (Path(folder).absolute(), *Path(folder).absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise UserError(f"{folder} has {_gib(free)} free, but {what} take {_gib(needed)}: {advice}")


def _gib(bytes: int) -> str:
    return f"{bytes / 2**30:.3g} GiB"
