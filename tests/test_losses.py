"""Losses against loops over the equations, in float64."""

import math

import pytest
import torch

from threedzal.losses import contrastive_loss, disentanglement_loss, normalcy_loss


def cosine(a, b):
    return float(a @ b) / (math.sqrt(float(a @ a)) * math.sqrt(float(b @ b)))


def contrastive_by_loops(embeddings, abnormal, temperature, denominator, reduction):
    everyone = range(len(embeddings))
    positives = [i for i in everyone if not abnormal[i]]
    terms = []
    for j in positives:
        others = [p for p in positives if p != j]
        below = [n for n in everyone if abnormal[n]] if denominator == "negatives" else [n for n in everyone if n != j]
        total = sum(math.exp(cosine(embeddings[j], embeddings[n]) / temperature) for n in below)
        logs = [math.log(math.exp(cosine(embeddings[j], embeddings[p]) / temperature) / total) for p in others]
        terms.append(-sum(logs) / len(others))
    return sum(terms) / len(terms) if reduction == "mean" else sum(terms)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(3)
    embeddings = torch.randn(11, 5, generator=generator, dtype=torch.float64)
    abnormal = torch.tensor([0, 1, 1, 0, 1, 1, 0, 1, 0, 1, 1]).bool()
    return embeddings, abnormal


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("denominator", ["negatives", "all"])
@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_contrastive_loss_is_equation_1(batch, temperature, denominator, reduction):
    embeddings, abnormal = batch
    expected = contrastive_by_loops(embeddings, abnormal, temperature, denominator, reduction)
    got = contrastive_loss(
        embeddings, abnormal, temperature=temperature, denominator=denominator, reduction=reduction
    )
    assert got.item() == pytest.approx(expected, rel=1e-12)


def test_contrastive_defaults_are_the_paper_s_denominator_and_a_mean(batch):
    embeddings, abnormal = batch
    expected = contrastive_by_loops(embeddings, abnormal, 0.07, "negatives", "mean")
    assert contrastive_loss(embeddings, abnormal).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("denominator", ["negatives", "all"])
def test_contrastive_gradients(batch, denominator):
    embeddings, abnormal = batch
    torch.autograd.gradcheck(
        lambda x: contrastive_loss(x, abnormal, temperature=0.2, denominator=denominator),
        embeddings.clone().requires_grad_(),
    )


def test_contrastive_loss_does_not_overflow_at_a_tiny_temperature(batch):
    embeddings, abnormal = batch
    x = embeddings.float().requires_grad_()
    loss = contrastive_loss(x, abnormal, temperature=1e-4)
    loss.backward()
    assert loss.isfinite() and x.grad.isfinite().all()


@pytest.mark.parametrize(
    ("abnormal", "denominator"),
    [([0, 0, 0, 0], "negatives"), ([0, 1, 1, 1], "negatives"), ([0, 1, 1, 1], "all"), ([1, 1, 1, 1], "negatives")],
)
def test_contrastive_loss_without_a_term_is_zero_with_a_gradient(abnormal, denominator):
    x = torch.randn(4, 3, requires_grad=True)
    loss = contrastive_loss(x, torch.tensor(abnormal).bool(), denominator=denominator)
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(x.grad, torch.zeros_like(x))


def test_contrastive_loss_without_negatives_stands_on_the_other_positives():
    x = torch.randn(4, 3, dtype=torch.float64)
    abnormal = torch.zeros(4, dtype=torch.bool)
    expected = contrastive_by_loops(x, abnormal, 0.07, "all", "mean")
    assert contrastive_loss(x, abnormal, denominator="all").item() == pytest.approx(expected, rel=1e-12)


def test_contrastive_loss_keeps_float32_under_autocast(batch):
    embeddings, abnormal = batch
    x = embeddings.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = contrastive_loss(x, abnormal)
    assert inside.item() == contrastive_loss(x, abnormal).item()


def test_disentanglement_loss_is_the_mean_cosine_with_a_padded_embedding():
    embeddings = torch.randn(6, 32, dtype=torch.float64)
    fpfh = torch.rand(6, 33, dtype=torch.float64)
    padded = torch.cat([embeddings, torch.zeros(6, 1, dtype=torch.float64)], 1)
    expected = sum(cosine(a, b) for a, b in zip(padded, fpfh, strict=True)) / 6
    assert disentanglement_loss(embeddings, fpfh).item() == pytest.approx(expected, rel=1e-12)
    torch.autograd.gradcheck(lambda x: disentanglement_loss(x, fpfh), embeddings.clone().requires_grad_())


def test_patches_without_fpfh_do_not_dilute_the_disentanglement():
    embeddings, fpfh = torch.randn(6, 32), torch.rand(6, 33)
    expected = disentanglement_loss(embeddings[:2], fpfh[:2])
    fpfh[2:] = 0.0
    torch.testing.assert_close(disentanglement_loss(embeddings, fpfh), expected)


def test_disentanglement_without_any_fpfh_is_zero_with_a_gradient():
    x = torch.randn(3, 32, requires_grad=True)
    loss = disentanglement_loss(x, torch.zeros(3, 33))
    loss.backward()
    assert loss.item() == 0.0 and torch.equal(x.grad, torch.zeros_like(x))


def test_normalcy_loss_is_equation_3():
    logits = torch.randn(7, 2, dtype=torch.float64)
    abnormal = torch.tensor([1, 1, 0, 1, 1, 1, 0]).bool()
    terms = []
    for (l0, l1), y in zip(logits.tolist(), abnormal.tolist(), strict=True):
        p = math.exp(l1) / (math.exp(l0) + math.exp(l1))
        terms.append(-(y * math.log(p) + (1 - y) * math.log(1 - p)))
    assert normalcy_loss(logits, abnormal, class_balance=False).item() == pytest.approx(sum(terms) / 7, rel=1e-12)
    weights = [7 / (2 * 5) if y else 7 / (2 * 2) for y in abnormal]
    balanced = sum(w * t for w, t in zip(weights, terms, strict=True)) / 7
    assert normalcy_loss(logits, abnormal).item() == pytest.approx(balanced, rel=1e-12)
    torch.autograd.gradcheck(lambda x: normalcy_loss(x, abnormal), logits.clone().requires_grad_())


def test_balanced_normalcy_loss_does_not_change_when_the_negatives_are_repeated():
    logits = torch.randn(4, 2, dtype=torch.float64)
    abnormal = torch.tensor([0, 0, 1, 1]).bool()
    repeated = torch.cat([logits[:2], logits[2:].repeat(16, 1)])
    flags = torch.cat([abnormal[:2], abnormal[2:].repeat(16)])
    torch.testing.assert_close(normalcy_loss(repeated, flags), normalcy_loss(logits, abnormal))


def test_normalcy_loss_of_one_class_is_its_mean():
    logits = torch.randn(5, 2)
    abnormal = torch.ones(5, dtype=torch.bool)
    torch.testing.assert_close(normalcy_loss(logits, abnormal), normalcy_loss(logits, abnormal, class_balance=False))


def test_normalcy_loss_of_huge_logits_is_finite():
    logits = torch.tensor([[1e4, -1e4], [-1e4, 1e4]], requires_grad=True)
    loss = normalcy_loss(logits, torch.tensor([True, True]))
    loss.backward()
    assert loss.item() == pytest.approx(1e4) and logits.grad.isfinite().all()


@pytest.mark.parametrize(
    "call",
    [
        lambda: contrastive_loss(torch.rand(3, 4), torch.zeros(2).bool()),
        lambda: contrastive_loss(torch.rand(3, 4), torch.zeros(3).bool(), denominator="positives"),
        lambda: contrastive_loss(torch.rand(3, 4), torch.zeros(3).bool(), reduction="none"),
        lambda: disentanglement_loss(torch.rand(3, 32), torch.rand(2, 33)),
        lambda: normalcy_loss(torch.rand(3, 3), torch.zeros(3).bool()),
    ],
)
def test_wrong_arguments_get_a_sentence(call):
    with pytest.raises(ValueError, match="wanted"):
        call()
