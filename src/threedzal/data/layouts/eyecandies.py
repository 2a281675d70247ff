"""Eyecandies' layout (Bonfiglioli et al., ACCV 2022): CLASS/{train,val,test_public}/data/NN_{depth,image_4,mask,...}.

The depth is read with the range in `NN_info_depth.yaml`, in metres, and with the data set's one camera. The picture is
`image_4`, which published methods use, or the first of the six lightings that is there.
"""

from __future__ import annotations

import re
from pathlib import Path

from threedzal.data.record import ScanRecord
from threedzal.errors import UserError

SPLITS = {"train": "train", "validation": "val", "test": "test_public"}
PRIVATE = "test_private"  # without ground truth; `predict` takes it
_LIGHTINGS = (4, 5, 0, 1, 2, 3)
_INFO = "_info_depth.yaml"


def is_class(folder: Path) -> bool:
    return any(is_data(folder / split / "data") for split in (*SPLITS.values(), PRIVATE))


def is_data(folder: Path) -> bool:
    """Whether the folder is one of Eyecandies' `data` folders."""
    return folder.is_dir() and any(folder.glob(f"*{_INFO}"))


def split_records(split: Path) -> list[ScanRecord]:
    """Records of `CLASS/SPLIT`, sorted by name."""
    return data_records(split / "data") if is_data(split / "data") else []


def data_records(folder: Path) -> list[ScanRecord]:
    """Records of a `data` folder; the defect is what `NN_metadata.yaml` says."""
    in_place = folder.name == "data"
    class_name = folder.parent.parent.name if in_place else folder.name
    split = next((ours for ours, theirs in SPLITS.items() if in_place and folder.parent.name == theirs), "")
    records = []
    for info in sorted(folder.glob(f"*{_INFO}")):
        name = info.name.removesuffix(_INFO)
        depth, mask = folder / f"{name}_depth.png", folder / f"{name}_mask.png"
        pictures = (folder / f"{name}_image_{i}.png" for i in _LIGHTINGS)
        records.append(
            ScanRecord(
                class_name=class_name,
                split=split,
                defect=_defect(folder / f"{name}_metadata.yaml") if split == "test" else "good" if split else "",
                name=name,
                xyz=depth,
                rgb=next((path for path in pictures if path.is_file()), None),
                gt=mask if mask.is_file() and split == "test" else None,
                camera=info,
            )
        )
    return records


def _defect(metadata: Path) -> str:
    """`bumps`, `dents`, `colors`, `normals`, `combined` for several of them, or `good`."""
    try:
        flags = re.findall(r"anomalous_(\w+):\s*(\d)", metadata.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{metadata}: cannot be read, and it says whether the scan is good ({error.strerror})"
        ) from error
    kinds = [name for name, flag in flags if flag != "0"]
    return kinds[0] if len(kinds) == 1 else "combined" if kinds else "good"
