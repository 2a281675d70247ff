"""The networks of 3DSR: what is kept apart, sizes, parameter counts, the focal loss."""

import pytest
import torch
from torch import nn
from torchvision.ops import sigmoid_focal_loss

from threedzal.baselines.dsr3d.dada_network import DADANetwork, by_modality
from threedzal.baselines.dsr3d.detection_networks import (
    ObjectDecoder,
    SegmentationUNet,
    SubspaceRestriction,
    focal_loss,
)
from threedzal.baselines.dsr3d.layers import keep_variance

EXACT = "donot_use_mm_for_euclid_dist"

TINY = {"hidden": 16, "layers": 1, "residual": 8, "codes": 12, "width": 8}


@pytest.fixture
def network():
    torch.manual_seed(0)
    return DADANetwork(**TINY).eval()


def test_the_encoders_keep_depth_and_colour_apart(network):
    image = torch.rand(1, 4, 32, 32)
    quarter, lo = network.features_lo(image)
    hi = network.features_hi(quarter, lo)
    for changed, untouched in ((slice(0, 1), 1), (slice(1, 4), 0)):
        other = image.clone()
        other[:, changed] = torch.rand_like(other[:, changed])
        other_quarter, other_lo = network.features_lo(other)
        other_hi = network.features_hi(other_quarter, other_lo)
        for before, after in ((quarter, other_quarter), (lo, other_lo), (hi, other_hi)):
            same, different = (before.chunk(2, 1)[i] - after.chunk(2, 1)[i] for i in (untouched, 1 - untouched))
            assert same.abs().max() == 0
            assert different.abs().max() > 0


def test_the_decoder_keeps_depth_and_colour_apart(network):
    lo, hi = torch.randn(1, 8, 4, 4), torch.randn(1, 8, 8, 8)
    drawn = network.decode(lo, hi)
    for half, untouched, changed in ((slice(0, 4), slice(1, 4), slice(0, 1)), (slice(4, 8), slice(0, 1), slice(1, 4))):
        other_lo, other_hi = lo.clone(), hi.clone()
        other_lo[:, half] += 1
        other_hi[:, half] += 1
        other = network.decode(other_lo, other_hi)
        assert torch.equal(other[:, untouched], drawn[:, untouched])
        assert not torch.allclose(other[:, changed], drawn[:, changed])


def test_parts_of_a_modality_are_brought_together():
    one, other = torch.arange(4.0).view(1, 4, 1, 1), torch.arange(10.0, 12).view(1, 2, 1, 1)
    assert by_modality(one, other, groups=2).flatten().tolist() == [0, 1, 10, 2, 3, 11]
    assert by_modality(one, other, groups=1).flatten().tolist() == [0, 1, 2, 3, 10, 11]


@pytest.mark.parametrize("colour", [True, False])
def test_sizes_of_codes_and_pictures(colour):
    network = DADANetwork(colour=colour, **TINY)
    image = torch.rand(2, network.channels, 64, 32)
    drawn, loss, (lo, hi) = network(image)
    assert drawn.shape == image.shape and loss.shape == ()
    assert lo.shape == (2, 8, 4) and hi.shape == (2, 16, 8)


def test_the_autoencoder_learns_a_picture():
    torch.manual_seed(0)
    network = DADANetwork(**TINY)
    network.quantizer_lo.decay = network.quantizer_hi.decay = 0.8
    image = torch.rand(2, 4, 1, 1).expand(-1, -1, 32, 32)
    optimizer, errors = torch.optim.Adam(network.parameters(), 3e-3), []
    for _ in range(40):
        drawn, commitment, _ = network(image)
        errors.append((drawn - image).abs().mean())
        (errors[-1] + 0.25 * commitment).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert errors[-1] < 0.5 * errors[0]


def test_drawn_from_features_a_picture_has_no_codes_and_the_codebooks_stay():
    torch.manual_seed(0)
    network, image = DADANetwork(**TINY), torch.rand(2, 4, 32, 32)
    drawn, loss, codes = network(image, quantise=False)
    assert not network.quantizer_lo.started and not network.quantizer_hi.started
    assert loss == 0 and [c.shape for c in codes] == [(2, 4, 4), (2, 8, 8)] and not any(c.any() for c in codes)
    quarter, lo = network.features_lo(image)
    torch.testing.assert_close(drawn, network.decode(lo, network.features_hi(quarter, lo)))


@pytest.mark.parametrize("layer", [nn.Conv2d(16, 64, 3, padding=1, groups=2), nn.ConvTranspose2d(16, 64, 4, 2, 1)])
def test_a_relu_and_a_layer_keep_the_size_of_a_signal(layer):
    torch.manual_seed(0)
    keep_variance(layer)
    signal = torch.randn(4, 16, 64, 64).relu()
    assert layer(signal)[..., 4:-4, 4:-4].square().mean().item() == pytest.approx(1, rel=0.2)


def millions(*modules):
    return sum(p.numel() for module in modules for p in module.parameters()) / 1e6


@pytest.mark.parametrize(("colour", "dada", "detector"), [(False, 7.674, 54.616), (True, 4.033, 54.624)])
def test_parameters_in_the_paper_s_setting(colour, dada, detector):
    """As the layers of the released code give; docs/baselines_3dsr.md has them beside the paper's 38 M."""
    network = DADANetwork(colour=colour)
    restriction = SubspaceRestriction(256)
    decoder = ObjectDecoder(512, 256, network.channels, layers=2, residual=128)
    segmentation = SegmentationUNet(2 * network.channels)
    assert millions(network) == pytest.approx(dada, abs=1e-3)
    assert millions(restriction, restriction, decoder, segmentation) == pytest.approx(detector, abs=1e-3)
    assert sum(q.codebook.numel() for q in (network.quantizer_lo, network.quantizer_hi)) == 2 * 2048 * 256


def test_the_detector_s_networks_fit_together():
    network = DADANetwork(**TINY).eval()
    lo, hi = torch.randn(1, 8, 8, 8), torch.randn(1, 8, 16, 16)
    restored, quantised = SubspaceRestriction(8)(hi, network.quantizer_hi)
    assert restored.shape == quantised.shape == hi.shape
    codebook = network.quantizer_hi.codebook
    assert torch.cdist(quantised[0].flatten(1).T, codebook, compute_mode=EXACT).amin(1).max() < 1e-5
    decoder = ObjectDecoder(16, 16, 4, layers=1, residual=8, bottleneck=8)
    picture = decoder(torch.cat([network.upsample(lo), quantised], 1))
    assert picture.shape == (1, 4, 64, 64)
    assert SegmentationUNet(8, 4)(torch.cat([picture, picture], 1)).shape == (1, 2, 64, 64)


def test_focal_loss_is_torchvision_s_of_the_difference_of_the_logits():
    logits, target = 3 * torch.randn(2, 2, 5, 5), torch.randint(2, (2, 1, 5, 5)).float()
    theirs = sigmoid_focal_loss(logits[:, 1:] - logits[:, :1], target, alpha=-1, gamma=2, reduction="mean")
    torch.testing.assert_close(focal_loss(logits, target), theirs)
