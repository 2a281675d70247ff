"""Stages of E_theta and C_w: forward and input perturbation, in evaluation mode, at the paper's width."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.reference import pointnet2 as reference
from benchmarks.speed.data import surface_patches
from benchmarks.speed.harness import Case, Size, Stage
from threedzal.features.pointnet2 import LEVELS, PointNet2
from threedzal.scoring import perturb

ETA = 0.1


def network_pair(outputs: int) -> tuple[reference.ReferencePointNet2, PointNet2]:
    """A port's network and the package's, of the same weights; batch norms have seen data."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        network = PointNet2(outputs=outputs)
        network(surface_patches(64, seed=1))
        network.eval()
        return reference.ReferencePointNet2(network, LEVELS), network


def flops_of(work: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counter:
        work()
    return float(counter.get_total_flops())


def _agree(slow: Tensor, fast: Tensor) -> str:
    error = float((slow - fast).abs().max() / slow.abs().max())
    assert error < 1e-5, error
    return f"relative difference {error:.0e}, median {float((slow - fast).abs().median()):.0e}"


def _forward(size: Size, outputs: int) -> Case:
    slow, fast = network_pair(outputs)
    patches = surface_patches(784 if size == "full" else 32)
    run = torch.no_grad()
    case = Case(
        work=f"{len(patches)} patches of 64 points",
        reference=run(lambda: slow(patches)),
        fast=run(lambda: fast(patches)),
        agree=_agree,
        repeats=2 if size == "full" else 3,
    )
    case.flops = flops_of(case.fast)
    return case


def encoder(size: Size) -> Case:
    return _forward(size, 32)


def classifier(size: Size) -> Case:
    return _forward(size, 2)


def perturbation(size: Size) -> Case:
    slow, fast = network_pair(2)
    patches = surface_patches(784 if size == "full" else 32)

    def agree(*_) -> str:
        """The gradients, in both precisions: with random weights a step of `ETA` is lost in the digits of a point."""
        some, errors = patches[:32], []
        for dtype in (torch.float32, torch.float64):
            pair = (network.to(dtype) for network in network_pair(2))
            x = some.to(dtype)
            expected, got = (
                way(x, net, eta=1e3) - x for way, net in zip((reference.perturb, perturb), pair, strict=True)
            )
            errors.append(float((expected - got).abs().max() / expected.abs().max()))
        # where two points tie for a maximum, float32's rounding decides which one moves
        assert errors[0] < 1e-2 and errors[1] < 1e-9, errors
        return f"relative difference of the gradient {errors[0]:.0e}, in float64 {errors[1]:.0e}"

    return Case(
        work=f"{len(patches)} patches of 64 points",
        reference=lambda: reference.perturb(patches, slow, eta=ETA),
        fast=lambda: perturb(patches, fast, eta=ETA),
        agree=agree,
        repeats=2 if size == "full" else 3,
        flops=2 * flops_of(torch.no_grad()(lambda: fast(patches))),  # forward, and the gradient of what goes in
    )


STAGES = [
    Stage("E_theta", encoder, ratio=4),
    Stage("C_w", classifier, ratio=4),
    Stage("input perturbation", perturbation, ratio=5, memory=200),
]
