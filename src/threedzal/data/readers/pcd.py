"""PCD, the Point Cloud Library's format: ascii, binary, binary_compressed (pointclouds.org, "The PCD file format")."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from threedzal.data.readers.cloud import Cloud, columns
from threedzal.errors import UserError

_KINDS = {"F": "f", "I": "i", "U": "u"}


def read_pcd(path: Path) -> Cloud:
    """A cloud; organised where its HEIGHT is above 1."""
    data = path.read_bytes()
    header, body = _split(path, data)
    dtype = _dtype(header)
    width, height = (int(header[name][0]) for name in ("WIDTH", "HEIGHT"))
    count = int(header.get("POINTS", [str(width * height)])[0])
    if count != width * height:
        raise UserError(f"{path}: says {count} points, but {width} columns times {height} rows")
    kind = header["DATA"][0]
    if kind == "ascii":
        table = _from_text(body, dtype, count)
    elif kind == "binary":
        table = np.frombuffer(body, dtype, count)
    elif kind == "binary_compressed":
        table = _from_compressed(body, dtype, count)
    else:
        raise UserError(f"{path}: has DATA {kind}, wanted ascii, binary or binary_compressed")
    points = columns(table, ("x", "y", "z"))
    if points is None:
        raise UserError(f"{path}: has the fields {', '.join(table.dtype.names)}, but x y z are wanted")
    name = next((n for n in ("rgb", "rgba") if n in table.dtype.names), None)
    colours = None if name is None else _unpacked(np.ascontiguousarray(table[name]))
    return Cloud(points, colours, (height, width) if height > 1 else None)


def _split(path: Path, data: bytes) -> tuple[dict[str, list[str]], bytes]:
    header, at = {}, 0
    while "DATA" not in header:
        end = data.find(b"\n", at)
        if end < 0 or at > 2**14:
            raise UserError(f"{path}: is no PCD file, its header has no DATA line")
        words = data[at:end].decode("ascii", "replace").split()
        if words and not words[0].startswith("#"):
            header[words[0]] = words[1:]
        at = end + 1
    if missing := {"FIELDS", "SIZE", "TYPE", "WIDTH", "HEIGHT"} - set(header):
        raise UserError(f"{path}: its PCD header lacks {', '.join(sorted(missing))}")
    return header, data[at:]


def _dtype(header: dict[str, list[str]]) -> np.dtype:
    names, counts = header["FIELDS"], header.get("COUNT", ["1"] * len(header["FIELDS"]))
    fields = []
    for i, (name, size, kind, count) in enumerate(zip(names, header["SIZE"], header["TYPE"], counts, strict=True)):
        name = f"padding_{i}" if name == "_" else name
        fields.append((name, f"<{_KINDS[kind]}{size}", () if count == "1" else (int(count),)))
    return np.dtype(fields)


def _from_text(body: bytes, dtype: np.dtype, count: int) -> np.ndarray:
    lines = body.decode("ascii").split("\n")
    flat = []
    for name in dtype.names:  # a field of several numbers takes as many columns
        length = _length(dtype[name])
        flat += [(f"{name}_{i}" if length > 1 else name, dtype[name].base) for i in range(length)]
    table = np.loadtxt(lines, dtype=np.dtype(flat), ndmin=1, max_rows=count)
    if len(table) != count:
        raise ValueError(f"{len(table)} of {count} points are there")
    return table


def _length(dtype: np.dtype) -> int:
    return int(np.prod(dtype.shape, dtype=int))


def _from_compressed(body: bytes, dtype: np.dtype, count: int) -> np.ndarray:
    """All x, then all y, and so on, packed by LZF."""
    packed, length = np.frombuffer(body, "<u4", 2)
    data = lzf_decompress(body[8 : 8 + int(packed)], int(length))
    table, at = np.empty(count, dtype), 0
    for name in dtype.names:
        field = dtype[name]
        table[name] = np.frombuffer(data, field.base, count * _length(field), at).reshape(count, *field.shape)
        at += count * field.itemsize
    return table


def lzf_decompress(data: bytes, length: int) -> bytes:
    """Undo Marc Lehmann's LZF: literal runs, and copies of what came at most 8192 bytes before."""
    out, at = bytearray(), 0
    while at < len(data):
        control = data[at]
        at += 1
        if control < 32:
            out += data[at : at + control + 1]
            at += control + 1
            continue
        size = control >> 5
        if size == 7:
            size += data[at]
            at += 1
        start = len(out) - ((control & 31) << 8) - data[at] - 1
        at += 1
        size += 2
        while size > 0:  # what is copied may reach into what the copy itself writes
            piece = out[start : start + size]
            out += piece
            start += len(piece)
            size -= len(piece)
    if len(out) != length:
        raise ValueError(f"{len(out)} of {length} bytes are there")
    return bytes(out)


def _unpacked(packed: np.ndarray) -> np.ndarray:
    """(N,) float32 or uint32 whose bits are 0x00RRGGBB -> (N,3) uint8."""
    bits = packed.view(np.uint32) if packed.dtype.itemsize == 4 else packed.astype(np.uint32)
    return np.stack([bits >> 16 & 255, bits >> 8 & 255, bits & 255], axis=1).astype(np.uint8)
