"""PointNet++ for 64-point patches, against brute-force loops and finite differences."""

import numpy as np
import pytest
import torch

from threedzal.errors import UserError
from threedzal.features.pointnet2 import LEVELS, PointNet2, ball_neighbours, farthest_points, gather_rows


def patches(count: int, *, points: int = 64, seed: int = 0) -> torch.Tensor:
    """Slightly curved random discs that fill the unit ball, as the patches of a surface do."""
    generator = torch.Generator().manual_seed(seed)
    disc = torch.randn(count, points, 3, generator=generator) * torch.tensor([1.0, 1.0, 0.1])
    disc = disc - disc.mean(1, keepdim=True)
    return disc / disc.norm(dim=-1).amax(1)[:, None, None]


def trained(**options) -> PointNet2:
    """A network whose batch norms have seen data, so that folding them is a real change."""
    torch.manual_seed(0)
    net = PointNet2(**options)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.7, 1.3)
            module.weight.data *= torch.randint(0, 2, module.weight.shape) * 2 - 1  # half of them turn a maximum round
            torch.nn.init.uniform_(module.bias, -0.3, 0.3)
            module.momentum = 1.0
    net(patches(64, seed=1))
    return net.eval()


def test_farthest_points_are_those_of_the_greedy_loop():
    points = patches(5)
    for patch, rows in zip(points.double().numpy(), farthest_points(points, count=20).numpy(), strict=True):
        chosen = [int(np.linalg.norm(patch - patch.mean(0), axis=1).argmin())]
        while len(chosen) < 20:
            chosen.append(int(np.min([np.linalg.norm(patch - patch[c], axis=1) for c in chosen], axis=0).argmax()))
        assert rows.tolist() == chosen


def test_balls_hold_the_nearest_points_inside_the_radius():
    points = patches(3)
    centres = points[:, 10:30]
    radii, limits = (0.15, 0.5), (4, 16)
    groups = ball_neighbours(centres, points, radii=radii, limits=limits)
    filled = 0
    for radius, limit, group in zip(radii, limits, groups, strict=True):
        assert group.shape == (3, 20, limit)
        for patch in range(3):
            for centre in range(20):
                distance = (points[patch].double() - centres[patch, centre].double()).norm(dim=1)
                inside = [row for row in distance.argsort().tolist() if distance[row] <= radius][:limit]
                filled += len(inside) < limit
                assert group[patch, centre].tolist() == inside + inside[:1] * (limit - len(inside))
    assert filled > 10  # both cases were met


def test_gathered_rows_are_those_asked_for():
    values, rows = torch.randn(4, 9, 5), torch.randint(0, 9, (4, 2, 3))
    gathered = gather_rows(values, rows)
    for n in range(4):
        assert torch.equal(gathered[n], values[n][rows[n]])


@pytest.mark.parametrize("outputs", [32, 2])
def test_it_has_the_size_of_the_original(outputs):
    parameters = sum(parameter.numel() for parameter in PointNet2(outputs=outputs).parameters())
    assert 1.6e6 < parameters < 1.8e6


def test_width_scales_the_channels_in_multiples_of_eight():
    net = PointNet2(outputs=32, width=0.25)
    widths = {layer.out_features for layer in net.modules() if isinstance(layer, torch.nn.Linear)}
    assert all(width % 8 == 0 for width in widths)
    assert sum(parameter.numel() for parameter in net.parameters()) < 1.74e6 / 12
    with pytest.raises(UserError, match="width"):
        PointNet2(width=0)


def test_eval_is_the_plain_network_layer_by_layer():
    """Gather, concatenate, linear, batch norm, rectifier, maximum, written out one ball at a time, without folding."""
    net, points = trained(outputs=5, width=0.25), patches(2)

    def layers(ball: torch.nn.ModuleList, rows: torch.Tensor) -> torch.Tensor:  # rows [k, in]
        for layer in ball:
            rows = torch.relu(layer.norm(layer.linear(rows)[:, :, None, None])[:, :, 0, 0])
        return rows.amax(0)

    with torch.no_grad():
        found = net(points)
        for patch, output in zip(points, found, strict=True):
            positions, features = patch, patch.new_zeros(64, 0)
            for (count, radii, limits, _), balls in zip(LEVELS, net.levels, strict=True):
                centres = positions[farthest_points(positions[None], count=count)[0]]
                groups = ball_neighbours(centres[None], positions[None], radii=radii, limits=limits)
                features = torch.stack([
                    torch.cat([
                        layers(ball, torch.cat([positions[group[0, s]] - centres[s], features[group[0, s]]], 1))
                        for ball, group in zip(balls, groups, strict=True)
                    ])
                    for s in range(count)
                ])  # fmt: skip
                positions = centres
            rows = layers(net.whole, torch.cat([positions, features], 1))[None]
            for layer in net.head:
                rows = torch.relu(layer.norm(layer.linear(rows)[:, :, None, None])[:, :, 0, 0])
            torch.testing.assert_close(output, net.last(rows)[0], rtol=1e-4, atol=1e-5)


def test_the_order_of_points_and_of_patches_does_not_matter_in_eval():
    net, points = trained(width=0.25), patches(150)  # more than one chunk
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        expected = net(points)
        shuffled = torch.stack([patch[torch.randperm(64, generator=generator)] for patch in points])
        torch.testing.assert_close(net(shuffled), expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(net(points.flip(0)).flip(0), expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(net(points[70:71]), expected[70:71], rtol=0, atol=1e-5)
    assert expected.std(0).min() > 1e-3  # the patches are told apart


def test_chunks_without_gradient_give_what_one_pass_with_gradient_gives():
    net, points = trained(width=0.25), patches(100)
    with torch.no_grad():
        chunked = net(points)
    torch.testing.assert_close(net(points), chunked, rtol=1e-5, atol=1e-5)


def test_no_patches_give_no_rows():
    for net in (PointNet2(outputs=7, width=0.25).train(), PointNet2(outputs=7, width=0.25).eval()):
        assert net(torch.zeros(0, 64, 3)).shape == (0, 7)


def test_the_gradient_of_the_input_is_that_of_finite_differences():
    net, points = trained(outputs=2, width=0.25).double().requires_grad_(False), patches(2).double().requires_grad_()

    def value(points: torch.Tensor) -> torch.Tensor:
        return net(points).log_softmax(1)[:, 1].sum()

    (gradient,) = torch.autograd.grad(value(points), points)
    assert gradient.abs().max() > 1e-3
    generator, step = torch.Generator().manual_seed(3), 1e-7
    for _ in range(20):
        direction = torch.randn(points.shape, generator=generator, dtype=torch.float64)
        ahead, behind = value(points.detach() + step * direction), value(points.detach() - step * direction)
        difference = (ahead - behind) / (2 * step)
        torch.testing.assert_close((gradient * direction).sum(), difference, rtol=1e-4, atol=1e-6)


def test_the_same_input_gives_the_same_bits():
    net, points = trained(width=0.25), patches(20)
    with torch.no_grad():
        assert torch.equal(net(points), net(points))


def test_training_reaches_every_parameter_and_learns_a_bump():
    torch.manual_seed(0)
    net = PointNet2(outputs=2, width=0.125, dropout=0)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.3  # few steps are enough for the running statistics
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    label = torch.arange(48) % 2

    def bumpy(seed: int) -> torch.Tensor:
        points = patches(48, seed=seed)
        bump = 0.4 * torch.exp(-((points[..., :2] - torch.tensor([0.2, 0.1])) ** 2).sum(-1) / 0.05)
        return points + torch.stack([torch.zeros_like(bump), torch.zeros_like(bump), bump * label[:, None]], -1)

    for step in range(25):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(net(bumpy(step)), label).backward()
        assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in net.parameters())
        optimiser.step()
    net.eval()
    with torch.no_grad():
        assert (net(bumpy(100)).argmax(1) == label).float().mean() > 0.9


def test_bfloat16_autocast_stays_close():
    net, points = trained(width=0.5), patches(16)
    with torch.no_grad():
        expected = net(points)
        with torch.autocast("cpu", torch.bfloat16):
            found = net(points).float()
    assert torch.corrcoef(torch.stack([found.flatten(), expected.flatten()]))[0, 1] > 0.99
    net.train()
    with torch.autocast("cpu", torch.bfloat16):
        net(points).float().sum().backward()
    assert net.last.weight.grad.isfinite().all()


def test_points_of_the_wrong_shape_are_named():
    with pytest.raises(UserError, match=r"\(2, 64, 4\)"):
        PointNet2(width=0.25)(torch.zeros(2, 64, 4))
