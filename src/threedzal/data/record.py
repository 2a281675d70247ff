"""Where a scan is on disk and what it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ScanRecord:
    """Where a scan is and what it is; `defect` is `good` for a scan without one.

    `rgb` or `gt` is the path of `xyz` where that one file holds them too. `threedzal.data.readers` reads all of them.
    """

    class_name: str
    split: str
    defect: str
    name: str
    xyz: Path
    rgb: Path | None = None
    gt: Path | None = None
    unit: float | None = None  # metres of one unit of length, for a file that does not say it; None: guessed, aloud
    camera: Path | tuple[float, ...] | None = None  # intrinsics; None: looked for beside the scan

    @property
    def key(self) -> str:
        """`cable_gland/test/cut/000`"""
        return "/".join(part for part in (self.class_name, self.split, self.defect, self.name) if part)

    @property
    def label(self) -> int:
        """1 for a defective scan."""
        return int(self.defect != "good")
