"""The random CNN: determined by its seed alone, blind to the background."""

import pytest
import torch

from threedzal.data.attention import RandomAttention, points_of_interest
from threedzal.errors import UserError


@pytest.fixture(scope="module")
def network():
    return RandomAttention(seed=3)


def scan():
    """A dome with a step: xyz (1, 3, 224, 224), valid (1, 224, 224)."""
    rows, columns = torch.meshgrid(torch.arange(224.0), torch.arange(224.0), indexing="ij")
    height = 0.02 - ((rows - 112) ** 2 + (columns - 112) ** 2) * 4e-6
    height = height + 0.004 * ((rows - 120).abs() < 6) * ((columns - 90).abs() < 6)
    valid = (rows - 112).hypot(columns - 112) < 60
    xyz = torch.stack([columns * 4.5e-4, rows * 4.5e-4, 0.65 - height]) * valid
    return xyz[None], valid[None]


def test_the_soft_mask_has_the_scans_size_and_lies_in_the_unit_range(network):
    mask = network(*scan())
    assert mask.shape == (1, 224, 224)
    assert 0 <= mask.min() < 0.2 and 0.6 < mask.max() <= 1


def test_the_mask_is_the_mean_of_the_three_layers_of_a_plain_resnet(network):
    import torch.nn.functional as F
    from torchvision.models import resnet50

    plain = resnet50(weights=None).eval()
    plain.load_state_dict(_torchvision_names(network.state_dict()), strict=False)
    xyz, valid = scan()
    centred = torch.where(valid[:, None], xyz - xyz[0, :, valid[0]].mean(dim=1)[None, :, None, None], 0.0)
    outputs = {}
    for name in ("layer1", "layer2", "layer3"):
        getattr(plain, name).register_forward_hook(lambda _, __, out, name=name: outputs.update({name: out}))
    with torch.no_grad():
        plain(centred)
    maps = []
    for name, size in (("layer1", 56), ("layer2", 28), ("layer3", 14)):
        response = outputs[name].sum(dim=1, keepdim=True)
        assert response.shape[-1] == size
        response = (response - response.min()) / (response.max() - response.min())
        maps.append(F.interpolate(response, size=(56, 56), mode="bilinear"))
    expected = F.interpolate(sum(maps) / 3, size=(224, 224), mode="bilinear")[:, 0]
    assert torch.allclose(network(xyz, valid), expected, atol=1e-4)


def _torchvision_names(state):
    names = {"stem.0.": "conv1.", "stem.1.": "bn1."}
    return {
        next((new + k[len(old) :] for old, new in names.items() if k.startswith(old)), k): v for k, v in state.items()
    }


def test_the_weights_are_hes_and_come_from_the_seed_alone(network):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    again = RandomAttention(seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    state, other = network.state_dict(), RandomAttention(seed=4).state_dict()
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in state.items())
    assert not torch.equal(state["stem.0.weight"], other["stem.0.weight"])
    weight = state["layer3.2.conv2.weight"]
    fan_in = weight[0].numel()
    assert weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.01)


def test_only_the_trunk_is_kept_frozen_and_in_evaluation_mode(network):
    assert not any(name.startswith(("layer4", "fc")) for name in network.state_dict())
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert not network.train().layer2.training
    mask = network(*scan())
    other = RandomAttention(seed=9)
    other.load_state_dict(network.state_dict())
    assert torch.equal(other(*scan()), mask)


def test_the_place_of_the_scan_and_what_stands_in_the_background_do_not_matter(network):
    xyz, valid = scan()
    moved = xyz + torch.tensor([0.1, -0.2, 0.3])[None, :, None, None]  # also where nothing is measured
    assert torch.allclose(network(moved, valid), network(xyz, valid), atol=1e-3)


def test_a_scan_in_a_batch_is_as_alone(network):
    xyz, valid = scan()
    batch = network(torch.cat([xyz, 2 * xyz.flip(-1)]), torch.cat([valid, valid.flip(-1)]))
    assert torch.allclose(batch[:1], network(xyz, valid), atol=1e-4)


def test_points_of_interest_are_the_top_valid_pixels():
    attention = torch.rand(224, 224, generator=torch.Generator().manual_seed(0))
    valid = torch.zeros(224, 224, dtype=torch.bool)
    valid[50:150, 60:160] = True
    top = points_of_interest(attention, valid, tau=0.001)
    assert len(top) == 50 and top.dtype == torch.int64  # 0.1 % of 50 176
    values = attention.reshape(-1)[top]
    assert valid.reshape(-1)[top].all()
    assert torch.equal(values, attention[valid].sort(descending=True).values[:50])
    valid[:] = False
    assert len(points_of_interest(attention, valid)) == 0
    valid[3, 4] = True
    assert points_of_interest(attention, valid).tolist() == [3 * 224 + 4]


def test_imagenet_weights_come_from_a_file_or_the_user_is_told_the_ways_out(tmp_path, monkeypatch):
    from torchvision.models import ResNet50_Weights, resnet50

    state = resnet50(weights=None).state_dict()
    torch.save(state, tmp_path / "resnet50.pth")
    network = RandomAttention(init="imagenet", weights=tmp_path / "resnet50.pth")
    assert torch.equal(network.layer1[0].conv1.weight, state["layer1.0.conv1.weight"])

    (tmp_path / "broken.pth").write_bytes(b"no weights")
    with pytest.raises(UserError, match=r"broken\.pth.*cnn_weights"):
        RandomAttention(init="imagenet", weights=tmp_path / "broken.pth")

    def no_network(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(ResNet50_Weights, "get_state_dict", no_network)
    with pytest.raises(UserError, match="cnn_weights.*cnn_init he"):
        RandomAttention(init="imagenet")
    with pytest.raises(UserError, match="'he' or 'imagenet'"):
        RandomAttention(init="xavier")
