"""PointNet++ with multi-scale grouping for 64-point patches, in plain torch: the shape of `E_theta` and of `C_w`.

The paper (section 3.1) takes PointNet++ [32] and adapts it to 64 input points. Channels are those of the original
multi-scale classification network (1.74 M parameters); centres, radii and neighbour limits are scaled to a patch that
fills the unit ball. Points are kept as rows `(points, channels)`, so that every layer is one matrix product.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from threedzal.errors import UserError

# centres, radius of each ball, most points in each ball, channels of each ball's layers (at width 1)
LEVELS = (
    (32, (0.25, 0.4, 0.6), (4, 8, 16), ((32, 32, 64), (64, 64, 128), (64, 96, 128))),
    (16, (0.4, 0.7, 1.0), (4, 8, 16), ((64, 64, 128), (128, 128, 256), (128, 128, 256))),
)
GLOBAL_CHANNELS = (256, 512, 1024)
HEAD_CHANNELS = (512, 256)
CHUNK = 64  # patches at a time where no statistics couple them: their activations stay in cache


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Exact squared distances (N, A, B) of points (N, A, 3) and (N, B, 3), one axis at a time.

    A matrix product would be as fast and would leave 1e-7 between a point and itself, enough to reorder neighbours.
    """
    total = (a[:, :, None, 0] - b[:, None, :, 0]).square_()
    for axis in (1, 2):
        difference = a[:, :, None, axis] - b[:, None, :, axis]
        total.addcmul_(difference, difference)
    return total


def farthest_points(points: Tensor, *, count: int) -> Tensor:
    """Farthest point sampling: (N, count) int64 rows of points (N, K, 3), started at the point nearest the centroid.

    Well defined up to ties, whatever the order of the points. Its first rows are the farthest points of fewer.
    """
    patches = torch.arange(len(points), device=points.device)
    distances = squared_distances(points, points)  # [N, K, K]
    row = (points - points.mean(1, keepdim=True)).square().sum(-1).argmin(1)
    rows, nearest = [row], distances[patches, row]
    for _ in range(count - 1):
        row = nearest.argmax(1)
        rows.append(row)
        nearest = torch.minimum(nearest, distances[patches, row])
    return torch.stack(rows, 1)


def ball_neighbours(
    centres: Tensor, points: Tensor, *, radii: tuple[float, ...], limits: tuple[int, ...]
) -> list[Tensor]:
    """For each radius the nearest points inside the ball round each centre: a list of (N, S, limit) int64 rows.

    centres (N, S, 3), points (N, K, 3). A ball with fewer than `limit` points is filled up with the nearest one (as
    the original does), which a maximum does not see. Taking the nearest, not the first in memory, makes the result
    independent of the order of the points.
    """
    distances, order = squared_distances(centres, points).topk(min(max(limits), points.shape[1]), largest=False)
    return [
        torch.where(distances[..., :limit] <= radius**2, order[..., :limit], order[..., :1])
        for radius, limit in zip(radii, limits, strict=True)
    ]


def gather_rows(values: Tensor, rows: Tensor) -> Tensor:
    """values (N, K, C), rows (N, ...) int64 -> (N, ..., C)."""
    offsets = torch.arange(len(values), device=values.device) * values.shape[1]
    flat = rows + offsets.view(-1, *[1] * (rows.ndim - 1))
    return values.reshape(-1, values.shape[-1]).index_select(0, flat.reshape(-1)).view(*rows.shape, -1)


def largest_rows(rows: Tensor) -> Tensor:
    """The maximum over the points of each ball: rows (N, S, k, C) -> (N, S, C)."""
    if not rows.requires_grad:
        return rows.amax(2)
    # as pooling of a channels-last picture, whose backward pass is a scatter: torch's maximum with indices takes one
    # number at a time
    picture = rows.reshape(1, -1, *rows.shape[2:]).permute(0, 3, 1, 2)  # [1, C, N * S, k]
    return F.max_pool2d(picture, (1, rows.shape[2])).permute(0, 2, 3, 1).view(*rows.shape[:2], -1)


class RowLayer(nn.Module):
    """Linear layer, batch norm and rectifier on rows (..., in) -> (..., out)."""

    def __init__(self, inputs: int, outputs: int, *, rectify: bool = True):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=False)  # the norm's shift is the bias
        self.norm = nn.BatchNorm2d(outputs)
        self.rectify = F.relu_ if rectify else nn.Identity()

    def weights(self) -> tuple[Tensor, Tensor | None]:
        """Weight (out, in) and bias (out,) of the product; in eval mode the norm is folded into them."""
        if self.training:
            return self.linear.weight, None
        scale = self.norm.weight * (self.norm.running_var + self.norm.eps).rsqrt()
        return self.linear.weight * scale[:, None], self.norm.bias - self.norm.running_mean * scale

    def after_product(self, rows: Tensor) -> Tensor:
        """The rest of the layer, once the product with `weights()` is done."""
        if not self.training:
            return self.rectify(rows)
        # as a channels-last picture: the same numbers as BatchNorm1d, twice as fast on a CPU
        picture = rows.reshape(1, -1, 1, rows.shape[-1]).permute(0, 3, 1, 2)
        return self.rectify(self.norm(picture)).permute(0, 2, 3, 1).view(rows.shape)

    def forward(self, rows: Tensor) -> Tensor:
        return self.after_product(F.linear(rows, *self.weights()))


class Ball(nn.ModuleList):
    """Shared layers on the points of a ball, then the maximum over them (section 3.1's set abstraction, one scale)."""

    def __init__(self, features: int, channels: tuple[int, ...]):
        *hidden, last = zip((3 + features, *channels[:-1]), channels, strict=True)
        # the last rectifier follows the maximum (it keeps order), on as many fewer rows as there are points
        super().__init__([*(RowLayer(*sizes) for sizes in hidden), RowLayer(*last, rectify=False)])

    def forward(self, local: Tensor, features: Tensor | None, group: Tensor | None) -> Tensor:
        """local (N, S, k, 3) positions; features (N, K, C) and group (N, S, k) rows into them -> (N, S, out).

        The first product is split: features are multiplied before they are gathered, once a point, not once a ball.
        """
        first, *others = self
        weight, bias = first.weights()
        rows = F.linear(local, weight[:, :3], bias)
        if features is not None:
            products = F.linear(features, weight[:, 3:])
            rows = rows + gather_rows(products, group)
        rows = first.after_product(rows)
        for layer in others:
            rows = layer(rows)
        # with indices the backward pass is a scatter, without them the forward pass is several times faster
        return F.relu(largest_rows(rows))


class PointNet2(nn.Module):
    """Multi-scale PointNet++: points (N, K, 3) float, in the unit ball -> (N, outputs).

    `width` scales all channels (rounded to multiples of 8) except `outputs`; 1 is the original, 1.7 M parameters.
    The gradient reaches the points (input perturbation, eq. 8): rows chosen by sampling and grouping are constants.
    In eval mode patches do not depend on one another, nor on the order of their points; without gradients they go
    through in chunks, so that memory does not grow with N. Raises `UserError` on a width that is not positive.
    """

    def __init__(self, *, outputs: int = 32, width: float = 1.0, dropout: float = 0.4):
        super().__init__()
        if not width > 0:
            raise UserError(f"The width of a PointNet++ is {width}; give a positive number (1 is the paper's size).")

        def scaled(channels: tuple[int, ...]) -> tuple[int, ...]:
            return tuple(max(8, round(channel * width / 8) * 8) for channel in channels)

        self.outputs = outputs
        self.levels, features = nn.ModuleList(), 0
        for _, _, _, channels in LEVELS:
            self.levels.append(nn.ModuleList(Ball(features, scaled(branch)) for branch in channels))
            features = sum(scaled(branch)[-1] for branch in channels)
        self.whole = Ball(features, scaled(GLOBAL_CHANNELS))
        head = (scaled(GLOBAL_CHANNELS)[-1], *scaled(HEAD_CHANNELS))
        self.head = nn.ModuleList(RowLayer(a, b) for a, b in zip(head[:-1], head[1:], strict=True))
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Linear(head[-1], outputs)

    def forward(self, points: Tensor) -> Tensor:
        if points.ndim != 3 or points.shape[2] != 3 or (len(points) and points.shape[1] < LEVELS[0][0]):
            raise UserError(
                f"PointNet++ got points of shape {tuple(points.shape)}; "
                f"give (N, K, 3) with at least {LEVELS[0][0]} points a patch."
            )
        if len(points) == 0:
            return points.new_zeros(0, self.outputs)
        if self.training or torch.is_grad_enabled() or len(points) <= CHUNK:
            return self._embed(points)
        return torch.cat([self._embed(chunk) for chunk in points.split(CHUNK)])

    def _embed(self, points: Tensor) -> Tensor:
        with torch.no_grad():
            order = farthest_points(points.float(), count=LEVELS[0][0])
        positions, features = points, None
        for (count, radii, limits, _), balls in zip(LEVELS, self.levels, strict=True):
            # farthest points are nested: the second level's centres are the first ones of the first level
            centres = gather_rows(positions, order) if features is None else positions[:, :count]
            with torch.no_grad():
                groups = ball_neighbours(centres.float(), positions.float(), radii=radii, limits=limits)
            scales = [
                ball(gather_rows(positions, group) - centres[:, :, None], features, group)
                for ball, group in zip(balls, groups, strict=True)
            ]
            positions, features = centres, torch.cat(scales, -1)  # [N, S, 3], [N, S, C]
        everything = torch.arange(positions.shape[1], device=points.device).expand(len(points), 1, -1)
        rows = self.whole(positions[:, None], features, everything)[:, 0]  # [N, C]
        for layer in self.head:
            rows = self.dropout(layer(rows))
        return self.last(rows)
