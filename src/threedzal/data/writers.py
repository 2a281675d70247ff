"""What `predict` leaves on disk: a float32 map and an overlay a scan, a cloud with scores, and one table of scores."""

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from threedzal.colour import depth_picture, draw_outline, heat_overlay, map_limits
from threedzal.data.readers import read_points, read_scan_file
from threedzal.data.readers.cloud import CLOUD_SUFFIXES
from threedzal.data.readers.ply import write_scored_ply
from threedzal.data.record import ScanRecord
from threedzal.errors import UserError
from threedzal.figures import csv_text
from threedzal.files import atomic_path, write_text

_MOSTLY = 0.9  # of the points scored: what is less is told


class HasMap(Protocol):
    """What a prediction must have to be drawn; `threedzal.detector.Prediction` does."""

    map: Any  # (h,w) float, tensor or array, at the scan's own size


def write_prediction(
    folder: str | Path,
    prediction: HasMap,
    record: ScanRecord,
    rgb: np.ndarray | None = None,
    *,
    threshold: float | None = None,
    limits: tuple[float, float] | None = None,
) -> tuple[Path, Path]:
    """Write `KEY.tiff` (the map, float32) and `KEY.png` (the overlay) under `folder`, both (h,w) as the scan.

    `KEY` is the record's key, class/split/defect/name, so that names stay unique and the same from run to run.

    Args:
        prediction: its `map` is (h,w) float.
        rgb: (h,w,3) uint8 to draw over; where None, the depth is read from the record.
        threshold: map value whose contour is drawn; none where None.
        limits: map values of the first and the last colour; by default this map's own (`threedzal.colour`). Pass the
            range of a whole class to make its overlays comparable.

    Returns:
        The paths of the map and of the overlay.

    Raises:
        UserError: the map is not (h,w) or not of the picture's size, or the folder cannot be written.
    """
    import tifffile
    from PIL import Image

    values = as_map(prediction.map)
    base = depth_picture(read_points(record)[..., 2]) if rgb is None else np.asarray(rgb)
    if values.shape != base.shape[:2]:
        raise UserError(f"{record.key}: the map is {values.shape}, but its scan is {base.shape[:2]}, height and width")
    picture = heat_overlay(values, base, limits or map_limits([values]))
    if threshold is not None:
        picture = draw_outline(picture, values >= threshold)

    target = Path(folder) / record.key
    map_file, overlay_file = target.with_name(target.name + ".tiff"), target.with_name(target.name + ".png")
    with atomic_path(map_file) as part:
        tifffile.imwrite(part, values)
    with atomic_path(overlay_file) as part:
        Image.fromarray(picture).save(part, compress_level=3)  # 3: a third of the default's time, a tenth larger
    return map_file, overlay_file


def write_scored_cloud(folder: str | Path, prediction: HasMap, record: ScanRecord) -> Path | None:
    """Write `KEY.ply` under `folder` for a scan that came as a point cloud: its points as they came, unit and frame and
    order, with the scalar field `anomaly_score`; NaN at points that the camera did not see. None for other scans."""
    if record.xyz.suffix.lower() not in CLOUD_SUFFIXES:
        return None
    file, target = read_scan_file(record), Path(folder) / record.key
    path = target.with_name(target.name + ".ply")
    scores = file.at_points(as_map(prediction.map))
    write_scored_ply(path, file.cloud, scores)
    scored = float(np.isfinite(scores[file.cloud.measured]).mean())
    if scored < _MOSTLY:
        warnings.warn(
            f"{record.xyz}: {1 - scored:.0%} of the points are hidden from the camera behind others and have no score "
            f"(NaN in {path}): turn the cloud and predict again for its other side",
            stacklevel=2,
        )
    return path


def write_scores_csv(folder: str | Path, rows: Iterable[Mapping[str, Any]], *, name: str = "scores.csv") -> Path:
    """Write the rows under `folder` as one table; columns in the order in which the rows first name them.

    Floats are written with all their digits, so that reading the file gives the same numbers back; None is empty.
    """
    rows = [dict(row) for row in rows]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = csv_text(columns, ([row.get(column) for column in columns] for row in rows))
    return write_text(Path(folder) / name, text)


def as_map(values: Any) -> np.ndarray:
    """(h,w) or (1,h,w) tensor or array -> (h,w) float32 numpy."""
    values = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values, dtype=np.float32)
    values = values[0] if values.ndim == 3 and values.shape[0] == 1 else values
    if values.ndim != 2:
        raise UserError(f"a map has shape {values.shape}, wanted (height, width)")
    return values
