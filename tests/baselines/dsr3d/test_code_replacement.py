"""Replaced codes: only inside the mask, only by codes of the book, at the similarity that was asked for."""

import pytest
import torch

from threedzal.baselines.dsr3d.code_replacement import (
    changed,
    disturb,
    in_cells,
    replace_codes,
    shuffled_patches,
    similar_codes,
)
from threedzal.baselines.dsr3d.dada_network import DADANetwork

EXACT = "donot_use_mm_for_euclid_dist"


def drawn(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def mask():
    mask = torch.zeros(2, 1, 32, 32)
    mask[0, 0, 3:9, 10:20] = 1
    return mask


@pytest.mark.parametrize("seed", range(6))
def test_replacement_stays_inside_the_mask(seed, mask):
    torch.manual_seed(seed)
    features, codebook = torch.randn(2, 5, 8, 8), torch.randn(40, 5)
    codes = torch.cdist(features.permute(0, 2, 3, 1).reshape(-1, 5), codebook).argmin(1).view(2, 8, 8)
    quantised = codebook[codes].permute(0, 3, 1, 2)
    replaced = replace_codes(features, quantised, codebook, mask, generator=drawn(seed))
    touched = torch.nn.functional.max_pool2d(mask, 4)[:, 0] > 0
    changed = (replaced != quantised).any(1)
    assert not (changed & ~touched).any()
    assert changed[0].sum() >= 0.5 * touched[0].sum()  # in the shuffle a code may come back by chance
    vectors = replaced.permute(0, 2, 3, 1).reshape(-1, 5)
    assert torch.cdist(vectors, codebook, compute_mode=EXACT).amin(1).max() < 1e-5


def test_replacements_are_among_the_nearest_but_not_the_very_nearest():
    vectors, codebook = torch.randn(300, 6), torch.randn(100, 6)
    rank = torch.cdist(vectors, codebook).argsort(1).argsort(1)  # of each code for each vector
    for share, last in ((0.1, 10), (0.4, 40), (1.0, 98)):
        chosen = rank.gather(1, similar_codes(vectors, codebook, share=share, generator=drawn(0))[:, None])
        assert chosen.min() == 5 and chosen.max() == last


@pytest.mark.parametrize("shares", [(0.06, 0.06), (0.3, 0.3)])
def test_codes_that_replace_are_as_near_as_asked_for(shares):
    torch.manual_seed(0)
    features, codebook = torch.randn(1, 5, 8, 8), torch.randn(100, 5)
    distances = torch.cdist(features.flatten(2)[0].T, codebook, compute_mode=EXACT)
    codes = codebook[distances.argmin(1)].T.view(1, 5, 8, 8)
    everywhere = torch.ones(1, 1, 32, 32)
    replaced = replace_codes(features, codes, codebook, everywhere, shares=shares, shuffled=0.0, generator=drawn(0))
    chosen = torch.cdist(replaced.flatten(2)[0].T, codebook, compute_mode=EXACT).argmin(1)
    rank = distances.argsort(1).argsort(1).gather(1, chosen[:, None])
    assert rank.min() >= 5 and rank.max() <= 100 * shares[1]
    assert rank.unique().numel() > 20 * (shares[1] - 0.05)


def test_small_codebooks_have_a_replacement():
    assert similar_codes(torch.randn(3, 2), torch.randn(2, 2), share=0.1, generator=drawn(0)).shape == (3,)


def test_shuffled_patches_are_the_same_patches():
    codes = torch.arange(2 * 64.0).view(2, 1, 8, 8)
    moved = 0
    for seed in range(8):
        shuffled = shuffled_patches(codes, generator=drawn(seed))
        assert torch.equal(shuffled.flatten(1).sort(1).values, codes.flatten(1))
        moved += not torch.equal(shuffled, codes)
    assert moved >= 6  # a few large patches may all come back by chance


def test_shuffled_alone_the_codes_are_those_of_the_scan():
    torch.manual_seed(0)
    codes, everywhere = torch.rand(1, 1, 8, 8), torch.ones(1, 1, 32, 32)
    for seed in range(4):
        moved = replace_codes(codes, codes, torch.rand(9, 1), everywhere, shuffled=1.0, generator=drawn(seed))
        assert torch.equal(moved.flatten().sort().values, codes.flatten().sort().values)


def test_the_truth_covers_whole_cells(mask):
    truth = in_cells(mask, torch.zeros(2, 5, 8, 8))
    assert (truth >= mask).all()
    assert truth[0, 0, 0:12, 8:20].all() and truth.sum() == 12 * 12


def test_without_a_mask_nothing_is_disturbed_and_with_one_the_truth_tells_where(mask):
    torch.manual_seed(0)
    network = DADANetwork(hidden=16, layers=1, residual=8, codes=30, width=8).eval()
    image = torch.rand(2, 4, 32, 32)
    for seed in range(8):
        codes = disturb(network, image, mask, generator=drawn(seed))
        assert torch.equal(codes.lo[1], codes.normal_lo[1]) and torch.equal(codes.hi[1], codes.normal_hi[1])
        assert codes.mask[1].sum() == 0 and (codes.mask >= mask).all()
        outside = codes.mask[0, 0, ::8, ::8] == 0  # cells of lo
        changed = (codes.lo[0] != codes.normal_lo[0]).any(0)
        assert not (changed & outside).any()


def test_the_truth_can_leave_out_what_the_drawing_does_not_show(mask):
    """The codes are the same whatever is asked to be visible: only the truth shrinks, to where the drawings differ."""
    torch.manual_seed(0)
    network = DADANetwork(hidden=16, layers=1, residual=8, codes=30, width=8)
    image = torch.rand(2, 4, 32, 32)
    network(image)  # the codebooks start at vectors of this batch: many codes are in use
    network.eval()
    everything = disturb(network, image, mask, generator=drawn(1))
    drawings = [network.decode(*pair) for pair in ((everything.lo, everything.hi), (image_codes(network, image)))]
    difference = (drawings[0] - drawings[1]).abs().amax(1, keepdim=True)
    assert torch.equal(changed(network, everything), difference)
    inside = difference[everything.mask.bool()]
    for share in (0.2, 0.5, 0.9):
        least = inside.quantile(share).item()
        codes = disturb(network, image, mask, visible=least, generator=drawn(1))
        assert torch.equal(codes.lo, everything.lo) and torch.equal(codes.hi, everything.hi)
        assert torch.equal(codes.mask.bool(), everything.mask.bool() & (difference >= least))
        assert 0 < codes.mask.sum() < everything.mask.sum()


def image_codes(network, image):
    """Both levels, quantised, of the picture as it is."""
    quarter, features = network.features_lo(image)
    lo = network.quantizer_lo(features)[0]
    return lo, network.quantizer_hi(network.features_hi(quarter, lo))[0]
