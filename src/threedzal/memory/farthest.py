"""The greedy k-center choice: farthest first, exact, in blocks, over the points of one process or of several.

Distances to the chosen set only ever fall, so a row's last known distance bounds its present one from above. Take the
rows with the largest known distances, choose among them alone for as long as the best is not below the largest bound
outside, then bring all rows up to date with one matrix product. Equal distances go to the lower row.

Over several processes only those candidates travel: `BLOCK_ROWS` distances and row numbers of each process, and as many
points, a round of about a thousand choices. The products are of the same blocks of rows whatever the number of
processes, so that the choice is the same to the last row.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from threedzal.distributed import add_up, gather_objects, gather_rows, of_first
from threedzal.memory.distances import partial_squared_distances
from threedzal.memory.numbering import Numbering

BLOCK_ROWS = 2048  # candidates that are compared with one another before all rows are brought up to date
CHUNK_ELEMENTS = 1_000_000  # float32 entries of a distance matrix held at a time (4 MB)
SORTED_ROWS = 2**20  # distances sorted at a time: sorting takes several times their memory


class PointSet:
    """Points by block, this process's share of those of all.

    Args:
        blocks: (n,d) float32 each, on one device; may be read from disk each time they are asked for.
        numbering: which points of all they are.
        width: d.
        device: of the blocks.
        shared: other processes hold the others; every method is then called on all of them.
    """

    def __init__(
        self, blocks: Sequence[Tensor], numbering: Numbering, *, width: int, device: torch.device, shared: bool = False
    ) -> None:
        self.blocks, self.numbering, self.width, self.device, self.shared = blocks, numbering, width, device, shared
        # a part of a block at a time: the squares take as much memory as the points
        step = max(1, CHUNK_ELEMENTS // max(1, width))
        norms = [part.square().sum(1) for block in blocks for part in block.split(step)]
        self.norms = torch.cat(norms) if norms else torch.zeros(0, device=device)

    def points(self, numbers: Tensor) -> Tensor:
        """(n,d) float32, the points with these numbers (n,) int64, whoever holds them."""
        found = torch.zeros(len(numbers), self.width, device=self.device)
        block, at, held = self.numbering.find(numbers)
        for one in block[held].unique().tolist():
            here = (held & (block == one)).nonzero()[:, 0]
            found[here.to(self.device)] = self.blocks[one][at[here].to(self.device)]
        return add_up(found) if self.shared else found

    def front(self, distance: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The `count` largest of the squared distances (N,), of all processes: values and numbers, float64 and int64.

        By distance, the largest first, then by number; all where there are fewer.
        """
        most = min(count, len(distance))
        parts = [part.topk(min(most, len(part))).values for part in distance.split(SORTED_ROWS)]
        least = torch.cat(parts).topk(most).values[-1] if most else distance.new_zeros(())
        above, level = (distance > least).nonzero()[:, 0], (distance == least).nonzero()[:, 0]
        rows = torch.cat([above, level[: most - len(above)]])
        values, rows = distance[rows].cpu().double(), rows.cpu()
        pairs = torch.stack([values, self.numbering.of(rows).double()], 1)  # exact below 2^53
        pairs = gather_rows(pairs) if self.shared else pairs
        pairs = pairs[np.lexsort((pairs[:, 1].numpy(), -pairs[:, 0].numpy()))[:count]]
        return pairs[:, 0], pairs[:, 1].long()

    def fall(self, distance: Tensor, picks: Tensor, centres: Tensor) -> None:
        """Squared distances (N,) to the chosen set after `picks` joined it; -1 marks the chosen, below any distance."""
        centre_norms = centres.square().sum(1)
        step = max(1, CHUNK_ELEMENTS // len(centres))
        room = centres.new_empty(max(CHUNK_ELEMENTS, len(centres)))  # of one size each time, else memory frays
        for block, (first, last) in enumerate(pairwise(self.numbering.starts.tolist())):
            points = self.blocks[block] if last > first else None
            for at in range(first, last, step):
                end = min(at + step, last)
                squared = room[: (end - at) * len(centres)].view(end - at, len(centres))
                partial_squared_distances(points[at - first : end - first], centres, centre_norms, out=squared)
                nearest = squared.amin(1).add_(self.norms[at:end]).clamp_(min=0.0)
                torch.minimum(distance[at:end], nearest, out=distance[at:end])
        distance[self.numbering.own(picks)[1].to(self.device)] = -1.0

    def largest(self, distance: Tensor) -> float:
        """The largest over all processes; 0 where nothing is left."""
        largest = float(distance.max()) if len(distance) else 0.0
        return max(gather_objects([largest]) if self.shared else [largest], default=0.0)


def farthest_first(
    points: PointSet, size: int, *, start: int, progress: Callable[[int, int], None] | None = None
) -> tuple[Tensor, float]:
    """Choose `size` points, from `start` on each time the one farthest from all chosen before.

    Returns:
        (size,) int64 numbers in the order of choice, on the CPU; the covering radius, the distance of the point that is
        now farthest from them.
    """
    distance = torch.full_like(points.norms, math.inf)
    chosen = [start]
    first = torch.tensor(chosen)
    points.fall(distance, first, points.points(first))
    while len(chosen) < size:
        bounds, numbers = points.front(distance, BLOCK_ROWS + 1)
        outside = (float(bounds[BLOCK_ROWS]), int(numbers[BLOCK_ROWS])) if len(numbers) > BLOCK_ROWS else None
        rows, order = numbers[:BLOCK_ROWS].sort()
        block = points.points(rows)
        norms = block.square().sum(1)
        squared = partial_squared_distances(block, block, norms).add_(norms[:, None]).clamp_(min=0.0)
        picks = _choose_in_block(
            bounds[:BLOCK_ROWS][order].float().numpy(),
            squared.cpu().numpy(),
            rows.numpy(),
            outside=outside or (-math.inf, -1),
            budget=size - len(chosen),
        )
        if points.shared:  # unlike machines might round unlike
            picks = of_first(torch.cat([picks, picks.new_full((BLOCK_ROWS - len(picks),), -1)]))
            picks = picks[picks >= 0]
        chosen += rows[picks].tolist()
        points.fall(distance, rows[picks], block[picks.to(block.device)])
        if progress is not None:
            progress(len(chosen), size)
    return torch.tensor(chosen, dtype=torch.int64), math.sqrt(max(0.0, points.largest(distance)))


def _choose_in_block(
    distance: np.ndarray, squared: np.ndarray, rows: np.ndarray, *, outside: tuple[float, int], budget: int
) -> Tensor:
    """Greedy steps among `rows` (ascending) that the row `outside` of at most that squared distance cannot beat.

    Returns where the chosen stand in `rows`, int64.
    """
    bound, other = outside
    picks: list[int] = []
    while len(picks) < budget:
        best = int(distance.argmax())
        if distance[best] < bound or (distance[best] == bound and rows[best] > other):
            break
        picks.append(best)
        np.minimum(distance, squared[best], out=distance)
        distance[best] = -1.0
    return torch.tensor(picks, dtype=torch.int64)
