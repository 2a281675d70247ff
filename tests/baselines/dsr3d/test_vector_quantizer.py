"""Vector quantisation against brute force, the moving averages against their definition."""

import pytest
import torch
import torch.nn.functional as F

from threedzal.baselines.dsr3d.vector_quantizer import VectorQuantizer, nearest_codes, perplexity

EXACT = "donot_use_mm_for_euclid_dist"


def features(seed=0, *, batch=2, width=5, side=4):
    return torch.randn(batch, width, side, side, generator=torch.Generator().manual_seed(seed))


def test_each_vector_gets_its_nearest_code():
    vectors, codebook = torch.randn(50, 6), torch.randn(17, 6)
    assert torch.equal(nearest_codes(vectors, codebook), torch.cdist(vectors, codebook).argmin(1))


def test_in_eval_mode_the_codebook_stays_and_the_output_is_of_it():
    quantizer = VectorQuantizer(9, 5).eval()
    before, x = quantizer.codebook.clone(), features()
    quantised, codes, loss = quantizer(x)
    assert torch.equal(quantizer.codebook, before)
    torch.testing.assert_close(quantised.permute(0, 2, 3, 1), before[codes])
    torch.testing.assert_close(quantizer.lookup(codes), quantised)
    torch.testing.assert_close(loss, F.mse_loss(x, quantised))


def test_the_gradient_goes_straight_through():
    x = features().requires_grad_()
    weight = torch.randn_like(x)
    (VectorQuantizer(9, 5).eval()(x)[0] * weight).sum().backward()
    torch.testing.assert_close(x.grad, weight)


def test_codes_are_smoothed_moving_averages_of_the_vectors_they_stand_for():
    decay, epsilon, codes = 0.9, 1e-3, 4
    quantizer = VectorQuantizer(codes, 5, decay=decay, epsilon=epsilon, revive=0.0)
    quantizer.started.fill_(True)  # from the codes as they are
    book = quantizer.codebook.double().clone()
    counts, sums = torch.ones(codes).double(), book.clone()
    for step in range(5):
        x = features(step)
        quantizer(x)
        vectors = x.permute(0, 2, 3, 1).reshape(-1, 5).double()
        owner = torch.cdist(vectors, book).argmin(1)
        for k in range(codes):
            counts[k] = decay * counts[k] + (1 - decay) * (owner == k).sum()
            sums[k] = decay * sums[k] + (1 - decay) * vectors[owner == k].sum(0)
        total = counts.sum()
        book = sums / ((counts + epsilon) / (total + codes * epsilon) * total)[:, None]
    torch.testing.assert_close(quantizer.codebook.double(), book, atol=1e-5, rtol=1e-4)


def test_a_new_codebook_starts_at_vectors_of_the_first_batch():
    quantizer, x = VectorQuantizer(6, 5, decay=1.0, revive=0.0), features() + 100
    quantizer(x)
    vectors = x.permute(0, 2, 3, 1).reshape(-1, 5)
    assert torch.cdist(quantizer.codebook, vectors, compute_mode=EXACT).amin(1).max() < 1e-2


@pytest.mark.parametrize(("revive", "alive"), [(0.03, 8), (0.0, 1)])
def test_idle_codes_start_again_where_that_is_wanted(revive, alive):
    """All vectors come near one code; with revival the others come to them."""
    quantizer = VectorQuantizer(8, 5, decay=0.5, revive=revive)
    quantizer.started.fill_(True)
    quantizer.codebook[0] = 10.0
    for step in range(40):
        _, codes, _ = quantizer(features(step) + 10)
    assert (len(codes.unique()) >= alive - 2) if alive > 1 else len(codes.unique()) == 1


def test_perplexity_counts_the_codes_in_use():
    assert perplexity(torch.tensor([0, 1, 2, 3]), 10).item() == pytest.approx(4)
    assert perplexity(torch.tensor([5, 5, 5]), 10).item() == pytest.approx(1)
