"""Pinhole cameras: the ray of every pixel, from the calibration files that scanners and libraries write."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from threedzal.errors import UserError

# looked for beside a scan and in the folders above it, in this order
NAMES = (
    "camera.json",
    "intrinsics.json",
    "camera_intrinsics.json",
    "camera_intrinsic.json",
    "camera_parameters.json",
    "calibration/camera_parameters.json",  # MVTec 3D-AD: CLASS/calibration
)
LEVELS = 5  # from CLASS/train/good/depth/000.png up to the root
EYECANDIES_FOCUS = 711.11  # pixels; the same camera for all of its pictures (eyecan-ai.github.io/eyecandies/download)


@dataclass(frozen=True)
class Camera:
    """Intrinsics in pixels; the centre of the first pixel is (0, 0). A pixel's point is its depth times its ray."""

    fx: float
    fy: float
    cx: float | None = None  # None: the middle of the image, width / 2
    cy: float | None = None
    size: tuple[int, int] | None = None  # (h, w) that it was calibrated at
    distortion: Literal["none", "division", "inverse_brown_conrady"] = "none"
    coefficients: tuple[float, ...] = ()
    depth_scale: float | None = None  # metres of one unit of depth; None: the file does not say
    depth_offset: float = 0.0  # metres

    def rays(self, size: tuple[int, int]) -> np.ndarray:
        """(h,w,3) float64: the direction (x/z, y/z, 1) that each pixel looks in.

        Raises:
            UserError: the camera was calibrated at another size.
        """
        if self.size is not None and self.size != size:
            (h, w), (rows, columns) = self.size, size
            raise UserError(f"the camera is calibrated for {w}x{h} pixels, but the depth image is {columns}x{rows}")
        cx = size[1] / 2 if self.cx is None else self.cx
        cy = size[0] / 2 if self.cy is None else self.cy
        row, column = np.mgrid[: size[0], : size[1]].astype(np.float64)
        x, y = self._undistorted((column - cx) / self.fx, (row - cy) / self.fy)
        return np.stack([x, y, np.ones_like(x)], axis=2)

    def _undistorted(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        r2 = x * x + y * y
        if self.distortion == "division":  # HALCON's area_scan_division, kappa times the squared focus
            factor = 1 / (1 + self.coefficients[0] * r2)
            return x * factor, y * factor
        if self.distortion == "inverse_brown_conrady":  # librealsense, rs2_deproject_pixel_to_point
            k1, k2, p1, p2, k3 = self.coefficients
            factor = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
            return (
                x * factor + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
                y * factor + 2 * p2 * x * y + p1 * (r2 + 2 * y * y),
            )
        return x, y


def find_camera(scan: Path) -> Path | None:
    """The calibration of a depth image: `STEM.json` beside it, Eyecandies' `STEM_info_depth.yaml`, or one of `NAMES`
    in its folder or in one of those above."""
    stem = scan.stem.removesuffix("depth").rstrip("_-.")
    own = [scan.with_name(f"{stem}{end}") for end in ("_info_depth.yaml", ".json", "_camera.json", "_intrinsics.json")]
    shared = [folder / name for folder in scan.parents[:LEVELS] for name in NAMES]
    return next((path for path in [scan.with_suffix(".json"), *own, *shared] if path.is_file()), None)


def read_camera(source: Path | tuple[float, ...]) -> Camera:
    """A camera from four numbers fx, fy, cx, cy, or from a file.

    Understood are JSON of MVTec 3D-AD (`camera_parameters.json`, HALCON's division model), of Open3D
    (`PinholeCameraIntrinsic` or `PinholeCameraParameters`), of RealSense (`ppx`, `ppy`, `model`, `coeffs`), plain
    `fx fy cx cy`, each with an optional `depth_scale`; and Eyecandies' `info_depth.yaml`.

    Raises:
        UserError: none of these, or a lens distortion that is not undone here.
    """
    if isinstance(source, tuple):
        if len(source) != 4 or min(source[:2]) <= 0:
            raise UserError(f"a camera is four numbers fx, fy, cx, cy in pixels, or a file, but got {list(source)}")
        return Camera(*source)
    try:
        text = Path(source).read_text(encoding="utf-8")
        if Path(source).suffix.lower() in (".yaml", ".yml"):
            import yaml

            values = yaml.safe_load(text)
        else:
            values = json.loads(text)
        camera = _parse(values)
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
    except (OSError, ValueError, TypeError, KeyError, IndexError) as error:
        raise UserError(f"{source}: cannot be read as the intrinsics of a camera ({error})") from error
    if camera is None or camera.fx <= 0 or camera.fy <= 0:
        raise UserError(
            f"{source}: holds no intrinsics that are known here: wanted MVTec's camera_parameters, Open3D's "
            "intrinsic_matrix, RealSense's fx fy ppx ppy, or plain fx fy cx cy"
        )
    return camera


def _parse(values: dict[str, Any]) -> Camera | None:
    if "normalization" in values:  # Eyecandies: 16 bit between two depths in metres
        low, high = float(values["normalization"]["min"]), float(values["normalization"]["max"])
        return Camera(EYECANDIES_FOCUS, EYECANDIES_FOCUS, depth_scale=(high - low) / (2**16 - 1), depth_offset=low)
    scale = _depth_scale(values.get("depth_scale"))
    for key in ("intrinsic", "intrinsics", "depth_intrinsics", "depth"):  # one level down
        if isinstance(values.get(key), dict):
            inner = _parse({"depth_scale": values.get("depth_scale"), **values[key]})
            if inner is not None:
                return inner
    height, width = (values.get(k, values.get(f"image_{k}")) for k in ("height", "width"))
    shared = {"size": (int(height), int(width)) if height and width else None, "depth_scale": scale}
    if "focus" in values:
        focus, sx, sy = (float(values[k]) for k in ("focus", "sx", "sy"))
        kappa = float(values.get("kappa", 0.0)) * focus**2
        distortion = {"distortion": "division", "coefficients": (kappa,)} if kappa else {}
        return Camera(focus / sx, focus / sy, float(values["cx"]), float(values["cy"]), **distortion, **shared)
    if "intrinsic_matrix" in values or "K" in values:
        matrix = np.array(values.get("intrinsic_matrix", values.get("K")), dtype=float)
        matrix = matrix.reshape(3, 3, order="F") if matrix.size == 9 and matrix.ndim == 1 else matrix
        matrix = matrix if matrix[0, 2] or matrix[1, 2] else matrix.T  # rows first where the last column is empty
        return Camera(matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2], **shared)
    if "fx" in values:
        cx, cy = (values.get(k, values.get(f"pp{k[1]}")) for k in ("cx", "cy"))
        numbers = [float(v) for v in (values["fx"], values["fy"], cx, cy)]
        return Camera(*numbers, **_lens(values), **shared)
    return None


def _depth_scale(value: float | None) -> float | None:
    """RealSense states metres a unit (0.001), Open3D units a metre (1000)."""
    return None if value is None else float(value) if value < 1 else 1 / float(value)


def _lens(values: dict[str, Any]) -> dict[str, Any]:
    coefficients = tuple(float(c) for c in values.get("coeffs", ()))
    if not any(coefficients):
        return {}
    model = str(values.get("model", "unknown")).lower().replace(" ", "_").removeprefix("distortion.")
    if model == "inverse_brown_conrady" and len(coefficients) == 5:
        return {"distortion": model, "coefficients": coefficients}
    raise UserError(f"the lens distortion {model} is not undone here: rectify the depth image and set coeffs to zeros")
