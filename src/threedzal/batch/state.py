"""Streaming: the patches of scans seen before, kept in a file between calls and bounded by a coreset."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor, nn

from threedzal.batch.fusion import early, feature_spread
from threedzal.batch.rows import Rows
from threedzal.errors import UserError
from threedzal.files import atomic_path
from threedzal.memory import greedy_coreset

SLACK = 0.8  # of the bound: what is left after a reduction, so that not every scan costs one


def absorbed(history: Rows, scans: Rows, *, widths: Mapping[str, int], most: int, seed: int = 0) -> Rows:
    """The history with these scans in it, at most `most` rows; a scan that is in it already is replaced.

    Over the bound, greedy k-center over branches of equal spread keeps the rows that cover the rest best.
    """
    rows = Rows.joined(history.without(scans.keys), scans)
    if len(rows) <= most:
        return rows
    columns = rows.features.split(list(widths.values()), dim=1)
    parts = dict(zip(widths, columns, strict=True))
    scaled = early(parts, {name: feature_spread(part) for name, part in parts.items()})
    chosen = greedy_coreset(scaled, max(1, int(SLACK * most)), seed=seed).sort().values
    scan = torch.bucketize(chosen, torch.tensor(rows.starts[1:]), right=True)
    counts = torch.bincount(scan, minlength=len(rows.keys)).tolist()
    return Rows(rows.features[chosen], [0, *accumulate(counts)], rows.keys)


def write_state(path: str | Path, rows: Rows, *, signature: str) -> None:
    """Write the history as safetensors: whole under its name, or not at all."""
    from safetensors.torch import save_file

    tensors = {"features": rows.features.contiguous(), "starts": torch.tensor(rows.starts)}
    with atomic_path(path) as part:
        save_file(tensors, part, metadata={"keys": json.dumps(rows.keys), "signature": signature})


def read_state(path: str | Path, *, width: int, signature: str) -> Rows:
    """The history in a file, empty where there is no such file yet.

    Raises:
        UserError: no file of this kind, or one made by other networks or another preparation of scans.
    """
    if not Path(path).exists():
        return Rows(torch.zeros(0, width))
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            features, starts = file.get_tensor("features"), file.get_tensor("starts").tolist()
        keys = json.loads(metadata["keys"])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise UserError(
            f"{path}: is no state of a batch ({type(error).__name__}); give one that predict wrote, or a new name"
        ) from error
    if metadata.get("signature") != signature or features.shape[1] != width:
        raise UserError(
            f"{path}: was made by other networks, weights or options of the data: its patches cannot be compared with "
            "these; give the options it was made with, or a new name"
        )
    return Rows(features, starts, keys)


def method_signature(method: nn.Module, preparation: object) -> str:
    """A digest of all that makes a patch's features: the weights, and how scans are prepared."""
    digest = hashlib.sha256(repr(preparation).encode())
    for name, value in sorted(method.state_dict().items()):
        digest.update(name.encode())
        digest.update(_bytes(value))
    return digest.hexdigest()


def scan_key(name: str, path: str | Path) -> str:
    """`name#digest of the file`: the same measurement is the same scan, whatever its file is called."""
    return f"{name}#{hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]}"


def _bytes(value: Tensor) -> bytes:
    return value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b""
