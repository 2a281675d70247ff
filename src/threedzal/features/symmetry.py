"""How alone a patch is in its scan however it is turned or mirrored: many products are symmetric, damage is not.

A frozen network sees the two ends of a mirrored part differently. The mean of what it sees of a picture in its eight
quarter turns and mirror images is the same for both, so that a corner of a part finds the opposite corner.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from threedzal.features.grid import as_patches
from threedzal.features.instance import instance_normalise, self_similarity

PATCH = 8  # pixels of a scan: the paper's patches, whatever the grid is, for a likeness needs to see some structure
OVERLAP = 2  # cells: nearer ones see the same pixels
_OBJECT_SHARE = 0.25  # of a cell
_LEAST_SHARE = 0.05

Network = Callable[..., Tensor]  # (B,3,S,S) and `grid` to (B,D,grid,grid)


@torch.no_grad()
def symmetric_similarity(
    network: Network,
    picture: Tensor,
    object: Tensor,
    cells: Tensor,
    *,
    widths: Sequence[int],
    directions: bool = False,
) -> Tensor:
    """How far a patch is from the patches of its scan that are most like it in any turn or mirroring.

    Args:
        network: its features are levels of `widths` channels side by side.
        picture: (B,3,R,R), 0 where there is no object; looked at as large as the scan is. object: (B,S,S) bool.
        cells: (B,P) bool, the cells to fill.
        directions: the picture's channels are vectors in the camera's frame (normals), which turn with the picture.

    Returns:
        (B,P,6 * levels) float32: of every level what `self_similarity` gives; 0 outside `cells`.
    """
    grid = max(1, object.shape[-1] // PATCH)
    here = F.adaptive_avg_pool2d(object[:, None].float(), grid).flatten(1) >= _OBJECT_SHARE  # (B,grid * grid)
    picture = F.interpolate(picture, size=object.shape[1:], mode="area")
    features = instance_normalise(as_patches(invariant_features(network, picture, grid, directions=directions)), here)
    alone = [self_similarity(level, here, reach=OVERLAP) for level in features.split(list(widths), dim=2)]
    known = here[..., None].float()
    maps = torch.cat([*alone, known], dim=2).mT.unflatten(2, (grid, grid))  # what is not known is 0 in all
    side = round(cells.shape[1] ** 0.5)
    maps = F.interpolate(maps, size=(side, side), mode="bilinear", align_corners=False).flatten(2).mT
    return maps[..., :-1] / maps[..., -1:].clamp(min=_LEAST_SHARE) * cells[..., None]


def invariant_features(network: Network, picture: Tensor, grid: int, *, directions: bool = False) -> Tensor:
    """Features (B,D,grid,grid) that turn and mirror with the picture (B,3,S,S) and are otherwise the same."""
    total = 0.0
    for mirror in (False, True):
        for quarters in range(4):
            features = network(turned(picture, quarters, mirror, directions=directions), grid=grid)
            features = features.flip(3) if mirror else features
            total = total + torch.rot90(features, -quarters, (2, 3))
    return total / 8


def turned(image: Tensor, quarters: int, mirror: bool, *, directions: bool = False) -> Tensor:
    """(B,C,S,S) turned by quarters against the clock, then mirrored; `directions` (x, y, z) turn along."""
    image = torch.rot90(image, quarters, (2, 3))
    image = image.flip(3) if mirror else image
    if directions:
        x, y, z = image.unbind(1)
        for _ in range(quarters):
            x, y = y, -x  # what pointed right points up
        image = torch.stack([-x if mirror else x, y, z], 1)
    return image.contiguous()
