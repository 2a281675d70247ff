"""Perlin noise against its definition, pixel by pixel, and the properties that define it."""

import math

import numpy as np
import pytest
import torch

from threedzal.data.perlin import octaves_of, perlin_mask, perlin_noise, random_perlin


def by_definition(size, cells, seed):
    """The noise of an unturned lattice, one pixel after another."""
    nodes = (2 * cells[0] + 2, 2 * cells[1] + 2)
    angles = 2 * math.pi * torch.rand(*nodes, generator=torch.Generator().manual_seed(seed)).double().numpy()
    noise = np.zeros(size)
    for i in range(size[0]):
        for j in range(size[1]):
            y, x = i * cells[0] / size[0], j * cells[1] / size[1]
            row, column = math.floor(y), math.floor(x)
            total = 0.0
            for down in (0, 1):
                for right in (0, 1):
                    dy, dx = y - row - down, x - column - right
                    angle = angles[(row + down) % nodes[0], (column + right) % nodes[1]]
                    weight = 1.0
                    for distance in (abs(dy), abs(dx)):
                        t = 1 - distance
                        weight *= 6 * t**5 - 15 * t**4 + 10 * t**3
                    total += weight * (math.cos(angle) * dy + math.sin(angle) * dx)
            noise[i, j] = math.sqrt(2) * total
    return noise


@pytest.mark.parametrize(("size", "cells"), [((12, 18), (3, 4)), ((10, 7), (1, 2))])
def test_the_noise_is_what_the_definition_says(size, cells):
    noise = perlin_noise(size, cells, generator=torch.Generator().manual_seed(5))
    np.testing.assert_allclose(noise.numpy(), by_definition(size, cells, 5), atol=2e-5)


def test_the_noise_is_zero_at_the_nodes_and_within_one_everywhere():
    noise = perlin_noise((64, 64), (8, 4), generator=torch.Generator().manual_seed(0))
    assert noise[::8, ::16].abs().max() < 1e-5
    assert 0.3 < noise.abs().max() <= 1


@pytest.mark.parametrize("angle", [0.0, 0.6])
def test_the_noise_is_smooth_across_cells(angle):
    fine = perlin_noise((512, 512), (4, 4), angle=angle, generator=torch.Generator().manual_seed(1))
    slope = torch.maximum(fine.diff(dim=0).abs().max(), fine.diff(dim=1).abs().max()) * 512 / 4  # a lattice cell
    assert slope < 4  # sqrt(2) times the greatest slope of the interpolation, which a jump would pass by far


def test_a_turned_lattice_is_the_same_noise_turned():
    """A quarter turn about the centre carries rows to columns."""
    draw = {"size": (32, 32), "cells": (4, 4)}
    noise = perlin_noise(**draw, generator=torch.Generator().manual_seed(2))
    turned = perlin_noise(**draw, angle=math.pi / 2, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(turned[:, 1:], noise.rot90(-1)[:, :-1], atol=1e-4, rtol=0)


def test_masks_shrink_as_the_threshold_rises():
    shares = []
    for threshold in (0.0, 0.3, 0.6, 1.0):
        generator = torch.Generator().manual_seed(3)
        masks = [perlin_mask((32, 32), thresholds=(threshold, threshold), generator=generator) for _ in range(20)]
        shares.append(torch.stack(masks).float().mean().item())
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0.9 and shares[-1] == 0


def test_the_same_generator_gives_the_same_noise():
    one, other = (random_perlin((16, 16), generator=torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(one, other)


@pytest.mark.parametrize(("side", "cells"), [(8, 1), (16, 2), (64, 8), (96, 8), (128, 16), (256, 32), (384, 32)])
def test_the_finest_cells_of_a_small_picture_are_eight_pixels_or_more(side, cells):
    assert 2 ** (octaves_of((side, side)) - 1) == cells
    assert octaves_of((side, 2 * side)) == octaves_of((side, side))
