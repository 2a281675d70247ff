"""The model against the paper's sizes, and the joint loss against its parts."""

from importlib import import_module
from pathlib import Path

import pytest
import torch
import yaml

from threedzal import ThreeDZAL
from threedzal.data.pseudo_anomalies import ADDING, NORMAL, REMOVING, PatchBatch
from threedzal.data.scan import Scan, ScanRecord
from threedzal.losses import contrastive_loss, disentanglement_loss, normalcy_loss

CONFIGS = Path(__file__).parents[1] / "configs"
SMALL = {"backbone": "resnet18", "rgb_weights": "random", "width": 0.125}


def random_scan(batch: int = 2, size: int = 224, grid: int = 28) -> Scan:
    cells = torch.zeros(batch, grid * grid, dtype=torch.bool)
    cells[:, 300:320] = True
    return Scan(
        rgb=torch.randn(batch, 3, size, size),
        xyz=torch.rand(batch, 3, size, size),
        valid=torch.ones(batch, size, size, dtype=torch.bool),
        object=torch.ones(batch, size, size, dtype=torch.bool),
        mask=torch.zeros(batch, 1, size, size, dtype=torch.bool),
        label=torch.zeros(batch, dtype=torch.long),
        patches=torch.randn(batch, grid * grid, 64, 3) * cells[..., None, None],
        cells=cells,
        fpfh=torch.rand(batch, 33, grid, grid),
        size=torch.tensor([[size, size]] * batch),
        record=[ScanRecord("a", "test", "good", "0", Path("a.tiff"), Path("a.png"))] * batch,
    )


def from_config(name: str, **options):
    """The method that a config of the paper describes."""
    model = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())["model"]
    module, _, kind = model["class_path"].rpartition(".")
    return getattr(import_module(module), kind)(**{**model["init_args"], **options}).eval()


@pytest.mark.parametrize(("config", "width"), [("3dzal", 1601), ("btf", 1569)])
def test_a_patch_has_as_many_numbers_as_in_the_paper(config, width):
    model = from_config(config, rgb_weights="random")
    model.load_pretrained()
    with torch.no_grad():
        assert model.features(random_scan(1)).shape == (1, 784, width)
    assert sum(model.branch_widths.values()) == width


def test_both_networks_have_the_paper_s_size():
    model = from_config("3dzal")
    for network in (model.encoder, model.classifier):
        assert 1.65e6 < sum(p.numel() for p in network.parameters()) < 1.75e6  # 6.8 MB of float32 each


@pytest.mark.parametrize("branches", [("rgb",), ("fpfh",), ("point_cloud",), ("rgb", "point_cloud")])
def test_any_subset_of_branches_in_the_paper_s_order(branches):
    model = ThreeDZAL(branches=branches, **SMALL).eval()
    model.load_pretrained()
    scan = random_scan()
    with torch.no_grad():
        whole = model.features(scan)
        parts = []
        for branch in ("rgb", "fpfh", "point_cloud"):
            if branch == "rgb" and "rgb" in branches:
                parts.append(model.rgb(scan.rgb).flatten(2).transpose(1, 2))
            if branch == "fpfh" and "fpfh" in branches:
                parts.append(scan.fpfh.flatten(2).transpose(1, 2))
        width = sum(part.shape[2] for part in parts)
    for part, piece in zip(parts, whole.split([p.shape[2] for p in parts] + [whole.shape[2] - width], 2), strict=False):
        torch.testing.assert_close(piece, part)


def test_background_cells_score_zero_and_have_no_embedding():
    model = ThreeDZAL(branches=("point_cloud",), width=0.125).eval()
    scan = random_scan()
    probabilities = model.abnormality(scan, eta=0.1)
    assert (probabilities[~scan.cells] == 0).all() and (probabilities[scan.cells] > 0).all()
    with torch.no_grad():
        assert (model.features(scan)[~scan.cells] == 0).all()


def test_the_loss_is_the_weighted_sum_of_the_three():
    torch.manual_seed(0)
    model = ThreeDZAL(branches=("point_cloud",), width=0.125, w_con=0.5, w_rd=3.0).eval()
    model.log = lambda *_, **__: None
    kind = torch.tensor([NORMAL] * 3 + [ADDING] * 4 + [REMOVING] * 4)
    batch = PatchBatch(torch.randn(11, 64, 3), kind, torch.rand(11, 33))
    loss, probability = model._losses(batch, "val")
    embeddings, logits, abnormal = model.encoder(batch.points), model.classifier(batch.points), kind != NORMAL
    expected = 0.5 * contrastive_loss(embeddings, abnormal) + normalcy_loss(logits, abnormal)
    expected = expected + 3.0 * disentanglement_loss(embeddings[:3], batch.fpfh[:3])
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(probability, logits.detach().softmax(1)[:, 1])


def test_gradients_reach_both_networks_and_not_the_frozen_one():
    model = ThreeDZAL(**SMALL)
    model.load_pretrained()
    model.log = lambda *_, **__: None
    kind = torch.tensor([NORMAL] * 3 + [ADDING] * 4 + [REMOVING] * 4)
    loss, _ = model._losses(PatchBatch(torch.randn(11, 64, 3), kind, torch.rand(11, 33)), "train")
    loss.backward()
    assert all(p.grad is not None for n in (model.encoder, model.classifier) for p in n.parameters())
    assert all(p.grad is None for p in model.rgb.parameters())
