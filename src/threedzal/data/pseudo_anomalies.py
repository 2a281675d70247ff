"""Pseudo-anomalous patches from normal scans, section 3.2 and figure 4 of the paper.

*Adding* attaches points of interest of a task-irrelevant scan to the surface (bulges, contaminations, bent parts);
*removing* drops part of the surface (cuts, holes). Positions in metres; all randomness from an explicit Generator.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from threedzal.data.patches import cell_patches, nearest_rows, normalise_patches, scan_radius
from threedzal.errors import UserError

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

    from threedzal.data.scan import Scan, ScanPreparation

NORMAL, ADDING, REMOVING = 0, 1, 2
KINDS = {"adding": ADDING, "removing": REMOVING}

_MAX_ROTATION = np.pi / 6  # radians, about a random axis through the anchor
_SCALES = (0.5, 1.5)
_HOLE_SIZES = (0.25, 1.0)  # points taken away, in parts of the points a patch has: 16 to 64 of 64


@dataclass
class PatchBatch:
    """Patches to learn from: normal ones first, then pseudo anomalies."""

    points: Tensor  # (N,K,3) float32, normalised
    kind: Tensor  # (N,) int64: NORMAL, ADDING or REMOVING
    fpfh: Tensor  # (N,33) float32: the cell of a normal patch's anchor; zeros for pseudo anomalies


def interest_points(
    xyz: Tensor,
    valid: Tensor,
    top: Tensor,
    *,
    count: int = 50,
    mode: Literal["local", "global"] = "local",
    rng: np.random.Generator,
) -> np.ndarray:
    """Points of interest of one task-irrelevant scan, `(count, 3)` float32, metres.

    Args:
        xyz: `(3, H, W)` float32. valid: `(H, W)` bool.
        top: `(n,)` int64, flat indices of the most attended pixels.
        mode: `local`: the `count` measured points nearest to one of the top pixels, drawn at random; `global`: the top
            pixels themselves, the paper's words (they are spread over the object, so few of them reach a patch).

    Raises:
        ValueError: no top pixel, or an unknown mode.
    """
    top = np.asarray(top)
    if len(top) == 0:
        raise ValueError("interest_points wants at least one top pixel, got none")
    pixels = xyz.reshape(3, -1).T.numpy()  # [H*W, 3]
    if mode == "global":
        return pixels[top if len(top) == count else rng.choice(top, count, replace=len(top) < count)]
    if mode != "local":
        raise ValueError(f"interest is 'local' or 'global', got {mode!r}")
    measured = pixels[valid.reshape(-1).numpy()]
    distance = ((measured - pixels[rng.choice(top)]) ** 2).sum(axis=1)
    near = np.arange(len(measured))
    if len(measured) > count:  # only those that can be among the nearest are sorted
        near = np.flatnonzero(distance <= np.partition(distance, count - 1)[count - 1])
    return measured[near[np.argsort(distance[near], kind="stable")][np.arange(count) % len(near)]]


def adding(
    points: "np.ndarray | cKDTree",
    anchor: np.ndarray,
    attached: np.ndarray,
    *,
    k: int = 64,
    jitter: bool = True,
    rng: np.random.Generator,
) -> np.ndarray:
    """One adding anomaly, `(k, 3)` metres, not normalised: see `adding_patches`. `points (N, 3)` or a tree of them."""
    return adding_patches(_tree(points), np.asarray(anchor)[None], attached, k=k, jitter=jitter, rng=rng)[0]


def removing(
    points: "np.ndarray | cKDTree",
    anchor: np.ndarray,
    *,
    k: int = 64,
    removal: Literal["hole", "random"] = "hole",
    rng: np.random.Generator,
) -> np.ndarray:
    """One removing anomaly, `(k, 3)` metres, not normalised: see `removing_patches`. `points (N, 3)` or a tree."""
    return removing_patches(_tree(points), np.asarray(anchor)[None], k=k, removal=removal, rng=rng)[0]


def adding_patches(
    tree: "cKDTree", anchors: np.ndarray, attached: np.ndarray, *, k: int, jitter: bool, rng: np.random.Generator
) -> np.ndarray:
    """Attach the points of interest `attached (m, 3)` to the surface at each of `anchors (A, 3)`: `(A, k, 3)` metres.

    The attached points are moved so that their centroid is at the anchor, with `jitter` after a rotation of up to 30
    degrees about it and a scaling by 0.5 to 1.5, capped so that a quarter of the patch is attached points even where
    the donor's sensor is the coarser one. The new anchor is the centroid of the attached points and the `k` surrounding
    ones of the surface; the patch is the `k` points nearest to it in the surface with the attached points, the nearest
    first. Exact without a new tree: of the surface's points only the `k` nearest can be in the patch.
    """
    shape = np.asarray(attached, dtype=np.float64)
    shape = shape - shape.mean(axis=0)
    shapes = np.broadcast_to(shape, (len(anchors), *shape.shape))  # [A, m, 3]
    surrounding = tree.data[nearest_rows(tree, anchors, k=k)].mean(axis=1)
    centres = (len(shape) * anchors + k * surrounding) / (len(shape) + k)
    surface = tree.data[nearest_rows(tree, centres, k=k)]  # [A, k, 3]
    if jitter:
        quarter = max(1, min(k // 4, len(shape)))
        reach = np.linalg.norm(surface[:, k - quarter] - centres, axis=1) - np.linalg.norm(anchors - centres, axis=1)
        extent = np.sort(np.linalg.norm(shape, axis=1))[quarter - 1]
        scale = np.minimum(rng.uniform(*_SCALES, size=len(anchors)), np.maximum(reach / max(extent, 1e-9), _SCALES[0]))
        shapes = scale[:, None, None] * np.einsum("aij,amj->ami", _rotations(len(anchors), rng), shapes)
    union = np.concatenate([surface, shapes + anchors[:, None]], axis=1)  # [A, k + m, 3]
    distance = ((union - centres[:, None]) ** 2).sum(axis=-1)
    nearest = np.argsort(distance, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(union, nearest[..., None], axis=1)


def removing_patches(
    tree: "cKDTree",
    anchors: np.ndarray,
    *,
    k: int,
    removal: Literal["hole", "random"],
    rng: np.random.Generator,
) -> np.ndarray:
    """Take part of the surface away at each of `anchors (A, 3)`: `(A, k, 3)` metres.

    Of the `k + h` points nearest to the anchor `h` are dropped, `h` drawn from k/4 to k: with `hole` the `h` nearest
    to a random one of them (a contiguous hole), with `random` any (the paper's words). The rest keeps the order of the
    common sampler, the nearest to the anchor first, so that the order gives nothing away.
    """
    if removal not in ("hole", "random"):
        raise UserError(f"removal is 'hole' or 'random', got {removal!r}: choose one of them")
    low, high = round(_HOLE_SIZES[0] * k), round(_HOLE_SIZES[1] * k)
    holes = rng.integers(low, high + 1, size=(len(anchors), 1))  # [A, 1]
    around = tree.data[nearest_rows(tree, anchors, k=k + high)]  # [A, k + high, 3]
    inside = np.arange(k + high) < np.minimum(k + holes, tree.n)  # repeated points of a tiny scan are not inside
    size = inside.sum(axis=1, keepdims=True)
    if removal == "hole":
        centre = around[np.arange(len(anchors)), (rng.random(len(anchors)) * size[:, 0]).astype(int)]
        key = ((around - centre[:, None]) ** 2).sum(axis=-1)
    else:
        key = rng.random(inside.shape)
    rank = np.where(inside, key, np.inf).argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
    kept = inside & (rank >= holes * size // (k + holes))
    order = np.argsort(~kept, axis=1, kind="stable")
    rows = np.take_along_axis(order, np.arange(k) % kept.sum(axis=1, keepdims=True), axis=1)
    return np.take_along_axis(around, rows[..., None], axis=1)


def draw_patches(
    scan: "Scan",
    interest: Sequence[np.ndarray],
    *,
    positives: int,
    negatives_per_positive: int = 16,
    kinds: Sequence[str] = ("adding", "removing"),
    removal: Literal["hole", "random"] = "hole",
    jitter: bool = True,
    preparation: "ScanPreparation",
    rng: np.random.Generator,
) -> PatchBatch:
    """Normal patches and pseudo anomalies of one normal scan (section 3.2), one k-d tree for all of them.

    Anchors are random measured pixels inside object cells. The kinds share the pseudo anomalies evenly (1:1 for both;
    the first kind has one more where the number is odd). With `patch_source: grid` the normal patches are random 8x8
    cells, the paper's letter, and the pseudo anomalies are sampled as ever.

    Args:
        scan: one scan without a batch dimension.
        interest: sets of points of interest `(m, 3)` of task-irrelevant scans; each adding anomaly uses a random one.

    Raises:
        UserError: the scan has no object cell, there is nothing to add, or a kind or removal is unknown.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise UserError(f"pseudo-anomaly kinds are 'adding' and 'removing', got {list(kinds)}: name one or both")
    if "adding" in kinds and len(interest) == 0:
        raise UserError("'adding' pseudo anomalies want points of interest of an auxiliary class, but there are none")
    k, side, grid = preparation.points_per_patch, preparation.patch_size, preparation.grid
    inside = scan.valid & scan.cells.reshape(grid, grid).repeat_interleave(side, 0).repeat_interleave(side, 1)
    pixels = torch.nonzero(inside).numpy()  # [n, 2] rows and columns of the measured pixels in object cells
    if len(pixels) == 0:
        raise UserError(
            f"{scan.record.xyz}: no grid cell holds {preparation.min_valid_points} measured points of an object: "
            "look at the scan, take it out of the folder, or set background: keep"
        )
    xyz = scan.xyz.numpy()
    tree = _tree(xyz[:, scan.valid.numpy()].T)

    chosen = pixels[rng.integers(len(pixels), size=positives)]
    cells = torch.from_numpy(chosen[:, 0] // side * grid + chosen[:, 1] // side)
    if preparation.patch_source == "grid":
        cells = torch.nonzero(scan.cells)[:, 0][torch.from_numpy(rng.integers(int(scan.cells.sum()), size=positives))]
        parts = [cell_patches(scan.xyz, scan.valid, cells, patch_size=side, k=k).numpy()]
    else:
        parts = [tree.data[nearest_rows(tree, xyz[:, *chosen.T].T, k=k)]]
    kind = [NORMAL] * positives

    for place, which in enumerate(kinds):
        count = (positives * negatives_per_positive + len(kinds) - 1 - place) // len(kinds)
        anchors = xyz[:, *pixels[rng.integers(len(pixels), size=count)].T].T
        if which == "removing":
            parts.append(removing_patches(tree, anchors, k=k, removal=removal, rng=rng))
        else:
            source = np.sort(rng.integers(len(interest), size=count))
            for number in np.unique(source):
                own = anchors[source == number]
                parts.append(adding_patches(tree, own, interest[number], k=k, jitter=jitter, rng=rng))
        kind += [KINDS[which]] * count

    metric = torch.from_numpy(np.concatenate(parts))  # [N, K, 3], double: attached points lie between float32's steps
    radius = scan_radius(scan.xyz, scan.valid, preparation=preparation) if preparation.patch_scale == "scan" else None
    fpfh = torch.zeros(len(kind), 33)
    if scan.fpfh is not None:
        fpfh[:positives] = scan.fpfh.flatten(1).T[cells]
    return PatchBatch(
        points=normalise_patches(metric, scale=preparation.patch_scale, radius=radius).float(),
        kind=torch.tensor(kind),
        fpfh=fpfh,
    )


def _tree(points: "np.ndarray | cKDTree") -> "cKDTree":
    from scipy.spatial import cKDTree

    return points if isinstance(points, cKDTree) else cKDTree(np.asarray(points, dtype=np.float64))


def _rotations(count: int, rng: np.random.Generator) -> np.ndarray:
    """`(count, 3, 3)`: rotations by up to `_MAX_ROTATION` about random axes (Rodrigues' formula)."""
    axis = rng.normal(size=(count, 3))
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    angle = rng.uniform(0, _MAX_ROTATION, size=(count, 1, 1))
    cross = np.zeros((count, 3, 3))
    cross[:, [2, 0, 1], [1, 2, 0]] = axis
    cross[:, [1, 2, 0], [2, 0, 1]] = -axis
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)
