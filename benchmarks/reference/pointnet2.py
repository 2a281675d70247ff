"""PointNet++ with multi-scale grouping as its PyTorch ports have it: channels first, 1x1 convolutions, batch norms.

Everything is done for all patches at once; distances are expanded, neighbours sorted, groups gathered by indexing.
Weights are taken over from the package's network, so that the numbers can be compared.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Points = Tensor  # (N, K, 3)


class SharedLayer(nn.Sequential):
    """1x1 convolution, batch norm, rectifier on (N, C, k, S)."""

    def __init__(self, weight: Tensor, norm: nn.BatchNorm2d):
        convolution = nn.Conv2d(weight.shape[1], weight.shape[0], 1, bias=False)
        convolution.weight.data.copy_(weight[:, :, None, None])
        own = nn.BatchNorm2d(weight.shape[0], eps=norm.eps)
        own.load_state_dict(norm.state_dict())
        super().__init__(convolution, own, nn.ReLU())


class ReferencePointNet2(nn.Module):
    """The same function as `network`, a `threedzal.features.pointnet2.PointNet2` in evaluation mode."""

    def __init__(self, network: nn.Module, levels) -> None:
        super().__init__()
        self.levels = levels

        def copied(ball) -> nn.Sequential:
            return nn.Sequential(*(SharedLayer(layer.linear.weight.data, layer.norm) for layer in ball))

        self.scales = nn.ModuleList(nn.ModuleList(copied(ball) for ball in balls) for balls in network.levels)
        self.whole = copied(network.whole)
        self.head = copied(network.head)
        self.last = nn.Linear(network.last.in_features, network.last.out_features)
        self.last.load_state_dict(network.last.state_dict())
        self.eval()

    def forward(self, points: Points) -> Tensor:
        positions, features = points, None
        for (count, radii, limits, _), scales in zip(self.levels, self.scales, strict=True):
            # farthest points are nested: the second level takes the first ones of the first level
            centres = positions[:, :count] if features is not None else _rows(positions, _farthest(positions, count))
            outputs = []
            for radius, limit, layers in zip(radii, limits, scales, strict=True):
                group = _ball(centres, positions, radius=radius, limit=limit)  # [N, S, k]
                local = _rows(positions, group) - centres[:, :, None]
                grouped = local if features is None else torch.cat([local, _rows(features, group)], -1)
                outputs.append(layers(grouped.permute(0, 3, 2, 1)).max(2).values)  # [N, C, S]
            positions, features = centres, torch.cat(outputs, 1).permute(0, 2, 1)
        everything = torch.cat([positions, features], -1).permute(0, 2, 1)[..., None]
        rows = self.whole(everything).max(2).values  # [N, C, 1]
        return self.last(self.head(rows[..., None])[:, :, 0, 0])


def _rows(values: Tensor, rows: Tensor) -> Tensor:
    batch = torch.arange(len(values)).view(-1, *[1] * (rows.ndim - 1)).expand_as(rows)
    return values[batch, rows]


def _farthest(points: Points, count: int) -> Tensor:
    """Farthest point sampling from the point nearest the centroid on."""
    patches = torch.arange(len(points))
    row = (points - points.mean(1, keepdim=True)).square().sum(-1).argmin(1)
    nearest = torch.full(points.shape[:2], torch.inf, dtype=points.dtype)
    rows = torch.zeros(len(points), count, dtype=torch.long)
    for i in range(count):
        rows[:, i] = row
        nearest = torch.minimum(nearest, (points - points[patches, row][:, None]).square().sum(-1))
        row = nearest.argmax(1)
    return rows


def _ball(centres: Points, points: Points, *, radius: float, limit: int) -> Tensor:
    """The nearest `limit` points inside the ball, filled up with the nearest one."""
    distances = (centres[:, :, None] - points[:, None]).square().sum(-1)
    squared, order = distances.sort(-1)
    squared, order = squared[..., :limit], order[..., :limit]
    return torch.where(squared > radius**2, order[..., :1], order)


def perturb(points: Points, classifier: nn.Module, *, eta: float) -> Points:
    """Eq. (8) for all patches in one graph: the loss is differentiated with respect to the points, by `backward`."""
    x = points.clone().requires_grad_()
    F.log_softmax(classifier(x), 1).amax(1).sum().backward()
    return points - eta * x.grad
