"""PLY, read for its vertices and written with a score at each of them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from threedzal.data.readers.cloud import Cloud, as_colours, columns
from threedzal.errors import UserError
from threedzal.files import atomic_path

_TYPES = {
    **{"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"},
    **{"float": "f4", "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2"},
    **{"int32": "i4", "uint32": "u4", "float32": "f4", "float64": "f8"},
}
_ORDERS = {"ascii": "<", "binary_little_endian": "<", "binary_big_endian": ">"}
_COLUMNS = re.compile(r"(?:obj_info|comment)\s+(?:num_cols|width)\s*[=:]?\s*(\d+)", re.IGNORECASE)
_ROWS = re.compile(r"(?:obj_info|comment)\s+(?:num_rows|height)\s*[=:]?\s*(\d+)", re.IGNORECASE)
SCORE = "anomaly_score"


def read_ply(path: Path) -> Cloud:
    """A cloud; organised where the header says `obj_info num_cols`, `num_rows` (or `comment width`, `height`) and there
    are as many vertices. Faces and other elements after the vertices are left alone."""
    data = path.read_bytes()
    end = re.search(rb"end_header[^\n]*\n", data[: 2**16])
    if not data.startswith(b"ply") or end is None:
        raise UserError(f"{path}: is no PLY file, it has no PLY header")
    header = data[: end.start()].decode("ascii", "replace").splitlines()
    kind = next((line.split()[1] for line in header if line.startswith("format")), None)
    elements = [i for i, line in enumerate(header) if line.startswith("element")]
    vertex = next((i for i in elements if header[i].split()[1] == "vertex"), None)
    if kind not in _ORDERS or vertex is None or vertex != elements[0]:
        raise UserError(f"{path}: is of format {kind}, and its first element is to be `vertex`")
    count = int(header[vertex].split()[2])
    dtype = []
    for line in header[vertex + 1 :]:
        words = line.split()
        if words[:1] == ["element"]:
            break
        if words[:1] == ["property"]:
            if words[1] == "list":
                raise UserError(f"{path}: has a list among the properties of its vertices, wanted numbers alone")
            dtype.append((words[2], _ORDERS[kind] + _TYPES[words[1]]))
    body = data[end.end() :]
    if kind == "ascii":
        table = np.loadtxt(body.decode("ascii").split("\n"), dtype=np.dtype(dtype), ndmin=1, max_rows=count)
        if len(table) != count:
            raise ValueError(f"{len(table)} of {count} points are there")
    else:
        table = np.frombuffer(body, np.dtype(dtype), count)
    points = columns(table, ("x", "y", "z"))
    if points is None:
        raise UserError(f"{path}: has the properties {', '.join(table.dtype.names)}, but x y z are wanted")
    size = tuple(int(found[1]) if (found := pattern.search("\n".join(header))) else 0 for pattern in (_ROWS, _COLUMNS))
    return Cloud(points, as_colours(columns(table, ("red", "green", "blue"))), size if np.prod(size) == count else None)


def write_scored_ply(path: Path, cloud: Cloud, scores: np.ndarray) -> None:
    """The cloud as it came, with the scalar field `anomaly_score` (N,) float32; NaN at a point that has none.

    CloudCompare offers it as a scalar field, MeshLab as a vertex attribute, Open3D's tensor API as
    `pcd.point["anomaly_score"]`.
    """
    fields = [("x", "<f8"), ("y", "<f8"), ("z", "<f8"), (SCORE, "<f4")]
    if cloud.colours is not None:
        fields += [(name, "u1") for name in ("red", "green", "blue")]
    table = np.empty(len(cloud.points), np.dtype(fields))
    for i, name in enumerate("xyz"):
        table[name] = cloud.points[:, i]
    table[SCORE] = scores
    for i, name in enumerate(("red", "green", "blue") if cloud.colours is not None else ()):
        table[name] = cloud.colours[:, i]
    words = {"<f8": "double", "<f4": "float", "u1": "uchar"}
    size = [f"obj_info num_cols {cloud.size[1]}", f"obj_info num_rows {cloud.size[0]}"] if cloud.size else []
    header = ["ply", "format binary_little_endian 1.0", *size, f"element vertex {len(table)}"]
    header += [f"property {words[kind]} {name}" for name, kind in fields]
    with atomic_path(path) as part:
        part.write_bytes("\n".join([*header, "end_header", ""]).encode("ascii") + table.tobytes())
