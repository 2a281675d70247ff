"""What the frozen image network makes of a picture is computed once, while it is said that pictures will come again."""

import pytest
import torch

from threedzal.features.cache import ArrayCache, kept_files
from threedzal.features.rgb import RGBFeatures, kept_features


@pytest.fixture(scope="module")
def network() -> RGBFeatures:
    return RGBFeatures(backbone="resnet18", weights="random", grid=7)


@pytest.fixture
def cache(tmp_path) -> ArrayCache:
    return ArrayCache(tmp_path / "cache")


@pytest.fixture
def pictures() -> torch.Tensor:
    return torch.randn(3, 3, 56, 56, generator=torch.Generator().manual_seed(0))


def never(*args, **options):
    raise AssertionError("computed although it was kept")


def test_a_second_pass_computes_nothing_and_gives_the_same(network, cache, pictures, monkeypatch):
    plain = network(pictures)
    with kept_features(network, cache):
        first = network(pictures)
        monkeypatch.setattr(network, "_describe", never)
        assert torch.equal(network(pictures), first)
        assert torch.equal(network(pictures[[2, 0]]), first[[2, 0]])
    assert torch.equal(first, plain)
    assert len(kept_files(cache.folder)) == 3


def test_only_the_pictures_that_are_new_are_computed(network, cache, pictures, monkeypatch):
    with kept_features(network, cache):
        network(pictures[:2])
        seen, describe = [], network._describe
        monkeypatch.setattr(network, "_describe", lambda rgb, **o: seen.append(rgb) or describe(rgb, **o))
        found = network(pictures)
    assert torch.equal(torch.cat(seen), pictures[2:])
    torch.testing.assert_close(found, describe(pictures, grid=7, smoothing="padded"))


def test_other_weights_grids_and_averages_are_kept_apart(network, cache, pictures):
    other = RGBFeatures(backbone="resnet18", weights="random", grid=7, seed=1)
    for each in (network, other):
        for options in ({}, {"grid": 14}, {"smoothing": "unpadded"}):
            plain = each(pictures[:1], **options)
            with kept_features(each, cache):
                assert torch.equal(each(pictures[:1], **options), plain)
    assert len(kept_files(cache.folder)) == 6
    before = other.fingerprint
    other.load_state_dict(network.state_dict())
    assert other.fingerprint == network.fingerprint != before


def test_nothing_is_kept_outside_the_block_or_without_a_folder(network, cache, pictures):
    model = torch.nn.ModuleDict({"rgb": network})
    with kept_features(model, cache):
        assert network.cache is cache
    network(pictures)
    with kept_features(model, ArrayCache(None)):
        network(pictures)
    assert not kept_files(cache.folder)
