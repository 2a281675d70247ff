"""Download a large file so that a cut connection costs nothing: what is there is kept, and gone on with."""

from __future__ import annotations

import hashlib
import http.client
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from threedzal.errors import Interrupted, UserError
from threedzal.files import write_text

CHUNK = 2**20
ATTEMPTS = 5  # in a row without a new byte
_TIMEOUT = 60.0  # seconds without a byte

Progress = Callable[[int, int], None] | None


def download(
    url: str,
    target: str | Path,
    *,
    progress: Progress = None,
    copies: float = 1.0,
    pause: Callable[[float], None] | None = None,
) -> Path:
    """Fetch `url` to `target`, through `target.part`, which a later call goes on with.

    What the server said of the file (its ETag or date) is kept beside the part, so that no two versions are mixed.

    Args:
        progress: called with (bytes there, bytes in all).
        copies: of the file that must find room on the disk, this one among them.
        pause: waits so many seconds, between two attempts; `time.sleep`.

    Raises:
        UserError: the address does not answer or answers otherwise, the disk is too small, or the connection breaks
            again and again; the part stays, and the same call goes on with it.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise UserError(f"{url} is no address that can be downloaded: wanted http:// or https://")
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    failures, reason = 0, ""
    while failures < ATTEMPTS:
        before = _size(part)
        try:
            if _fetch(url, part, progress=progress, copies=copies):
                part.replace(target)
                _notes(part).unlink(missing_ok=True)
                return target
            reason = "the connection was cut"
        except HTTPError as error:
            if error.code == 416:  # the part is longer than the file: another version
                part.unlink(missing_ok=True)
            elif error.code < 500 and error.code != 429:
                raise UserError(f"{url}: the server answers {error.code} {error.reason}; {_other_ways()}") from error
            reason = f"the server answers {error.code} {error.reason}"
        except (URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        except KeyboardInterrupt:
            raise Interrupted(f"{_size(part) / 2**20:.0f} MiB are kept: the same command goes on with them") from None
        except OSError as error:
            raise UserError(f"{part}: cannot be written ({error.strerror or error})") from error
        failures = 0 if _size(part) > before else failures + 1
        if failures < ATTEMPTS:
            (pause or time.sleep)(min(30.0, 2.0**failures))
    kept = f"{_size(part) / 2**20:.0f} MiB are kept, and the same command goes on with them" if _size(part) else ""
    raise UserError(f"{url}: {reason}, {ATTEMPTS} times without a new byte; {kept or _other_ways()}")


def file_digest(path: Path, algorithm: str, progress: Progress = None) -> str:
    """Hexadecimal digest of a file."""
    digest, done, total = hashlib.new(algorithm), 0, path.stat().st_size
    with path.open("rb") as file:
        while block := file.read(4 * CHUNK):
            digest.update(block)
            done += len(block)
            if progress:
                progress(done, total)
    return digest.hexdigest()


def _fetch(url: str, part: Path, *, progress: Progress, copies: float) -> bool:
    """One connection; whether the file is whole now."""
    have, known = _size(part), _read_notes(part)
    if have and known.get("url") == url and known.get("total") == have:
        return True
    headers = {"User-Agent": "threedzal", "Accept-Encoding": "identity"}
    if have and known.get("url") == url:
        headers |= {"Range": f"bytes={have}-"} | ({"If-Range": known["version"]} if known.get("version") else {})
    with urlopen(Request(url, headers=headers), timeout=_TIMEOUT) as answer:
        start, total = _extent(answer, have)
        if start and total != known.get("total"):
            part.unlink()  # another version of the file
            return False
        if not start:
            version = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
            version = None if version and version.startswith("W/") else version  # a weak tag does not name the bytes
            write_text(_notes(part), json.dumps({"url": url, "version": version, "total": total}))
        _require_space(part, round((total or 0) * copies) - start)
        with part.open("ab" if start else "wb") as file:
            done = start
            while block := answer.read(CHUNK):
                file.write(block)
                done += len(block)
                if progress:
                    progress(done, total or done)
    return total is None or done == total


def _extent(answer, have: int) -> tuple[int, int | None]:
    """(where the answer begins, length of the whole file)."""
    if answer.status != 206:
        length = answer.headers.get("Content-Length")
        return 0, None if length is None else int(length)
    unit, _, given = answer.headers.get("Content-Range", "").partition(" ")
    span, _, total = given.partition("/")
    if unit != "bytes" or span.split("-")[0] != str(have) or not total.isdigit():
        raise UserError(f"{answer.url}: the server answers with another part of the file than was asked for ({given})")
    return have, int(total)


def _require_space(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise UserError(
            f"{part.parent}: has {free / 2**30:.1f} GiB free, but {needed / 2**30:.1f} GiB are needed: "
            "choose another folder or make room"
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _notes(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _read_notes(part: Path) -> dict:
    try:
        notes = json.loads(_notes(part).read_text(encoding="utf-8"))
        return notes if isinstance(notes, dict) else {}
    except (OSError, ValueError):  # begun by nobody, or damaged: the file is fetched from its first byte
        return {}


def _other_ways() -> str:
    return "the address may have changed: look for it on the data set's page and give it as --url"
