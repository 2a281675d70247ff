"""The RGB branch, against timm's own network and plain loops over the picture."""

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from threedzal.errors import UserError
from threedzal.features import rgb as rgb_module
from threedzal.features.grid import to_grid
from threedzal.features.rgb import RGBFeatures

SMALL = {"backbone": "resnet10t", "weights": "random"}


def test_the_grid_is_a_mean_of_three_by_three_then_of_each_cell():
    maps = torch.randn(1, 2, 16, 16, generator=torch.Generator().manual_seed(0))
    smooth = np.empty((2, 16, 16))
    for i in range(16):
        for j in range(16):
            window = maps[0, :, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2]
            smooth[:, i, j] = window.double().numpy().mean((1, 2))
    cells = smooth.reshape(2, 4, 4, 4, 4).mean((2, 4))
    np.testing.assert_allclose(to_grid(maps, grid=4)[0].numpy(), cells, atol=1e-6)
    repeated = smooth.repeat(2, 1).repeat(2, 2)  # a map coarser than the grid
    np.testing.assert_allclose(to_grid(maps, grid=32)[0].numpy(), repeated, atol=1e-6)


def test_features_are_those_of_the_whole_timm_network(tmp_path):
    """The file holds the whole network, the module keeps its trunk; timm runs the whole network."""
    torch.manual_seed(0)
    whole = timm.create_model("resnet18", pretrained=False).eval()
    for module in whole.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.0)
    picture = torch.randn(2, 3, 64, 64)
    save_file(whole.state_dict(), tmp_path / "whole.safetensors")
    torch.save({"state_dict": whole.state_dict()}, tmp_path / "whole.pth")
    with torch.no_grad():
        levels = whole.forward_intermediates(picture, indices=(2, 3), intermediates_only=True)
    assert [level.shape[1:] for level in levels] == [(128, 8, 8), (256, 4, 4)]
    expected = torch.cat([to_grid(level, grid=8) for level in levels], 1)
    for name in ("whole.safetensors", "whole.pth"):
        features = RGBFeatures(backbone="resnet18", weights=str(tmp_path / name), grid=8)
        assert features.width == 384
        torch.testing.assert_close(features(picture), expected)
        assert not any("layer4" in name for name in features.state_dict())  # not held where it is not needed


def test_the_paper_s_branch_is_1536_wide_on_28_by_28():
    features = RGBFeatures(weights="checkpoint")
    features.load_state_dict({name: torch.zeros_like(value) for name, value in features.state_dict().items()})
    assert features.width == 1536
    assert features(torch.zeros(1, 3, 224, 224)).shape == (1, 1536, 28, 28)


def test_real_trunk_weights_load_and_tell_pictures_apart(sample_root):
    path = sample_root / "resnet18_imagenet_to_layer3.safetensors"
    features = RGBFeatures(backbone="resnet18", weights=path)
    reference = timm.create_model("resnet18", pretrained=False, features_only=True, out_indices=(1, 2, 3))
    from safetensors.torch import load_file

    reference.load_state_dict(load_file(path), strict=True)
    picture = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        _, *levels = reference.eval()(picture)
    torch.testing.assert_close(features(picture), torch.cat([to_grid(level, grid=28) for level in levels], 1))
    again = RGBFeatures(backbone="resnet18", weights=path).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in features.state_dict().items())  # nothing left unset


def test_random_weights_come_from_the_seed_and_leave_the_random_state_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = RGBFeatures(**SMALL, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    again, other = RGBFeatures(**SMALL, seed=1), RGBFeatures(**SMALL, seed=2)
    picture = torch.randn(1, 3, 64, 64)
    assert torch.equal(first(picture), again(picture))
    assert not torch.allclose(first(picture), other(picture))
    norms = [module for module in first.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert all(norm.weight.abs().min() > 0 for norm in norms)  # no branch is switched off


def test_it_is_frozen_and_in_eval_mode_whatever_the_trainer_asks():
    features = RGBFeatures(**SMALL).train()
    parent = torch.nn.Sequential(features).train()
    assert not any(module.training for module in parent[0].modules())
    picture = torch.randn(2, 3, 64, 64, requires_grad=True)
    state = {name: value.clone() for name, value in features.state_dict().items()}
    assert not features(picture).requires_grad
    assert not any(parameter.requires_grad for parameter in features.parameters())
    assert all(torch.equal(value, state[name]) for name, value in features.state_dict().items())


def test_bfloat16_autocast_stays_close():
    features, picture = RGBFeatures(**SMALL), torch.randn(1, 3, 64, 64)
    with torch.autocast("cpu", torch.bfloat16):
        found = features(picture).float()
    expected = features(picture)
    assert torch.corrcoef(torch.stack([found.flatten(), expected.flatten()]))[0, 1] > 0.99


def test_weights_of_a_checkpoint_need_no_network_and_must_arrive(monkeypatch):
    monkeypatch.setattr(rgb_module, "_pretrained", lambda *_: pytest.fail("asked for weights"))
    source, target = RGBFeatures(**SMALL, seed=3), RGBFeatures(backbone="resnet10t", weights="checkpoint")
    picture = torch.randn(1, 3, 64, 64)
    with pytest.raises(RuntimeError, match="no state has been loaded"):
        target(picture)
    torch.nn.ModuleDict({"rgb": target}).load_state_dict(torch.nn.ModuleDict({"rgb": source}).state_dict())
    assert torch.equal(target(picture), source(picture))


@pytest.mark.parametrize("unreachable", ["name", "server"])
def test_without_network_one_sentence_names_the_two_ways_out(monkeypatch, unreachable):
    import huggingface_hub

    def refuse(*_, **__):
        raise ConnectionError("refused")

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: None)
    monkeypatch.setattr(rgb_module, "_can_be_resolved", lambda _: unreachable == "server")
    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(UserError, match=r"wide_resnet50_2 could not be fetched.*local weights file.*random") as caught:
        RGBFeatures()
    assert "\n" not in str(caught.value)


def test_pretrained_weights_in_the_hub_s_cache_are_taken_without_asking(monkeypatch, tmp_path):
    import huggingface_hub

    whole = timm.create_model("resnet18", pretrained=False)
    save_file(whole.state_dict(), tmp_path / "model.safetensors")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: str(tmp_path / "model.safetensors"))
    monkeypatch.setattr(rgb_module, "_can_be_resolved", lambda _: pytest.fail("asked the network"))
    features = RGBFeatures(backbone="resnet18", weights="pretrained")
    assert torch.equal(features.network.conv1.weight, whole.conv1.weight)


def test_files_that_do_not_fit_are_named(tmp_path):
    save_file(timm.create_model("resnet18", pretrained=False).state_dict(), tmp_path / "r18.safetensors")
    state = timm.create_model("resnet10t", pretrained=False).state_dict()
    torch.save({**state, "discriminator.weight": torch.zeros(1)}, tmp_path / "foreign.pth")
    torch.save({**state, "layer1.0.conv1.weight": torch.zeros(1)}, tmp_path / "shape.pth")
    (tmp_path / "noise.pth").write_bytes(b"no weights")
    for name, message in {
        "r18.safetensors": "lacks",
        "foreign.pth": "discriminator",
        "shape.pth": "size mismatch",
        "noise.pth": "cannot be read",
        "absent.pth": "no file",
    }.items():
        with pytest.raises(UserError, match=message) as caught:
            RGBFeatures(backbone="resnet10t", weights=str(tmp_path / name))
        assert name in str(caught.value) and "\n" not in str(caught.value)


def test_a_backbone_or_layer_that_is_not_there_is_named():
    with pytest.raises(UserError, match="resnet1x"):
        RGBFeatures(backbone="resnet1x", weights="random")
    with pytest.raises(UserError, match="layers"):
        RGBFeatures(backbone="resnet10t", layers=(2, 9), weights="random")
