"""Unpack an archive that is not trusted: nothing lands outside the folder, and nothing half-unpacked stays."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from lzma import LZMAError
from pathlib import Path

from threedzal.errors import UserError

_MARGIN = 2**28  # bytes of disk that are left free


def unpack(
    archive: str | Path,
    target: str | Path,
    *,
    unwrap: Callable[[Path], bool] = lambda folder: False,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Unpack a tar archive (any compression that `tarfile` knows) into the new or empty folder `target`.

    Everything is unpacked beside it first; the folder appears when all is there.

    Args:
        unwrap: of a single folder that holds all the rest, whether it is to be `target` itself.
        progress: called with (bytes of the archive read, bytes in all).

    Raises:
        UserError: `target` holds something, the archive is damaged, a member would land outside or is no plain file,
            folder or link inside, or the disk is too small.
    """
    archive, target = Path(archive), Path(target)
    require_empty(target)
    if not hasattr(tarfile, "data_filter"):
        raise UserError("this Python cannot unpack archives safely: use 3.11.4 or later")
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".unpacking", dir=target.parent))
    try:
        _extract(archive, work / "all", progress)
        inside = list((work / "all").iterdir())
        alone = len(inside) == 1 and inside[0].is_dir()
        whole = inside[0] if alone and unwrap(inside[0]) else work / "all"
        if target.is_dir():
            target.rmdir()
        os.replace(whole, target)
    except tarfile.FilterError as error:
        raise UserError(f"{archive}: is not unpacked, it has a member that is not safe ({error})") from error
    except (tarfile.TarError, LZMAError, zlib.error, EOFError) as error:
        raise UserError(f"{archive}: is damaged and cannot be unpacked ({error or 'it ends too early'})") from error
    except OSError as error:
        raise UserError(f"{target}: cannot be unpacked to ({error.strerror or error})") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target


def require_empty(target: Path) -> None:
    """Refuse a folder that holds something, so that nothing of the user's is mixed or lost."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{target}: is there and not empty; give a new folder")


def _extract(archive: Path, folder: Path, progress: Callable[[int, int], None] | None) -> None:
    folder.mkdir()
    total = archive.stat().st_size
    with archive.open("rb") as raw, tarfile.open(fileobj=raw, mode="r:*") as tar:
        for member in tar:
            free = shutil.disk_usage(folder).free
            if member.size + _MARGIN > free:
                raise UserError(f"{folder.parent.parent}: the disk is full, {free / 2**20:.0f} MiB are free")
            tar.extract(member, folder, filter="data")
            if progress:
                progress(min(raw.tell(), total), total)
