"""MVTec 3D-AD from its makers' address: licence, download, digest, unpacking."""

from __future__ import annotations

from pathlib import Path

from threedzal.data.archive import require_empty, unpack
from threedzal.data.download import download, file_digest
from threedzal.data.layouts.mvtec3d import is_class
from threedzal.errors import Interrupted, UserError
from threedzal.progress import progress_bar

PAGE = "https://www.mvtec.com/company/research/datasets/mvtec-3d-ad"
LICENCE = "Creative Commons Attribution-NonCommercial-ShareAlike 4.0 (CC BY-NC-SA 4.0), (c) 2021 MVTec Software GmbH"
# the address that the page links to, as anomalib and BTF have it too
URL = (
    "https://www.mydrive.ch/shares/45920/dd1eb345346df066c63b5c95676b961b/download/428824485-1643285832/"
    "mvtec_3d_anomaly_detection.tar.xz"
)
# MVTec publishes no digest. This one is anomalib's (src/anomalib/data, mvtec_3d), who downloaded the same address.
MD5 = "d8bb2800fbf3ac88e798da6ae10dc819"


def fetch_mvtec3d(
    out: str | Path,
    *,
    accept_license: bool,
    url: str | None = None,
    sha256: str | None = None,
    keep_archive: bool = False,
) -> Path:
    """Download MVTec 3D-AD and unpack it to `out`, a new folder; the archive lies beside it meanwhile.

    Args:
        url: of a mirror; by default the makers' own.
        sha256: what the archive must have. By default the makers' address is checked against the MD5 that anomalib
            pins, and a mirror's archive is not checked: its digest is printed.

    Raises:
        UserError: the licence is not accepted, `out` is not empty, or a step fails; a part that was downloaded stays.
    """
    out = Path(out).expanduser()
    if not accept_license:
        raise UserError(
            f"MVTec 3D-AD is under {LICENCE}: no commercial use. Read {PAGE} and add --accept-license if you agree"
        )
    require_empty(out)
    address = url or URL
    archive = out.with_name(f".{out.name}.{Path(address).name or 'archive'}")
    if not archive.is_file():
        with progress_bar("Download") as progress:
            download(address, archive, progress=progress, copies=2.0)  # and at least as much to unpack it
    _check_digest(archive, sha256=sha256, md5=None if url or sha256 else MD5)
    try:
        with progress_bar("Unpacking") as progress:
            unpack(archive, out, unwrap=lambda folder: not is_class(folder), progress=progress)
    except KeyboardInterrupt:
        raise Interrupted("the archive is kept: the same command goes on with it") from None
    if keep_archive:
        print(f"archive: {archive}")
    else:
        archive.unlink()
    print(f"{out}: unpacked. Next: threedzal data check {out}")
    return out


def _check_digest(archive: Path, *, sha256: str | None, md5: str | None) -> None:
    """Refuse and remove an archive with another digest than is wanted."""
    algorithm, wanted = ("sha256", sha256) if sha256 else ("md5", md5) if md5 else ("sha256", None)
    with progress_bar("Digest") as progress:
        found = file_digest(archive, algorithm, progress)
    if wanted is None:
        print(f"sha256 {found} (of {archive.name}; there is none to compare it with: check it yourself)")
    elif found != wanted.lower():
        archive.unlink()
        raise UserError(
            f"the archive has {algorithm} {found}, but {wanted.lower()} was wanted: it is damaged or another version, "
            "and was removed"
        )
    else:
        print(f"{algorithm} {found}, as wanted")
