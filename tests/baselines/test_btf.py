"""BTF's features against their definition, and parity against the released code's steps by Open3D, Pillow and torch."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import ImageFilter
from torch import nn
from torchvision.transforms import functional as pictures

from threedzal.baselines.btf import BTF, PARITY
from threedzal.data.scan import Scan, ScanPreparation, ScanRecord, collate_scans, prepare_scan
from threedzal.errors import UserError
from threedzal.memory import MemoryBank
from threedzal.memory.released import farthest_first_in_half
from threedzal.memory.rows import BankRows, RowOptions
from threedzal.scoring import distance_scores

SMALL = {"backbone": "resnet10t", "rgb_weights": "random"}


@pytest.fixture(scope="module")
def scans() -> Scan:
    """Two bumpy plates, prepared as parity has it, with more rows than columns."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:60, 0:40].astype(np.float32) / 1000
    prepared = []
    for i in range(2):
        z = (0.6 + 0.002 * np.sin(400 * x + i) * np.cos(300 * y) + rng.normal(0, 1e-4, x.shape)).astype(np.float32)
        xyz = np.stack([x + 0.01, y + 0.01, z], 2)
        xyz[rng.random(x.shape) < 0.2] = 0
        rgb = rng.integers(0, 255, (60, 40, 3), dtype=np.uint8)
        record = ScanRecord("plate", "test", "good", str(i), Path("x.tiff"), Path("x.png"))
        options = {k: v for k, v in PARITY["data"].items() if k not in ("image_size", "patch_size")}
        preparation = ScanPreparation(image_size=56, patch_size=8, **options)
        prepared.append((xyz, prepare_scan(xyz, rgb, None, preparation=preparation, record=record)))
    batch = collate_scans([scan for _, scan in prepared])
    batch.raw = [xyz for xyz, _ in prepared]
    return batch


def module(**options) -> BTF:
    made = BTF(**{**SMALL, **options}).eval()
    made.load_pretrained()
    return made


def test_a_patch_of_btf_has_1569_numbers_and_patchcore_1536():
    both = BTF(branches=("rgb", "fpfh"))  # the networks' weights are not needed to count
    assert sum(both.branch_widths.values()) == 1569
    assert sum(BTF(branches=("rgb",)).branch_widths.values()) == 1536
    assert not any(p.requires_grad for p in both.parameters())


def test_the_branches_stand_side_by_side_as_they_are(scans):
    parts = [module(branches=(name,)).features(scans) for name in ("depth", "fpfh", "rgb")]
    whole = module(branches=("depth", "fpfh", "rgb"))
    assert torch.equal(whole.features(scans), torch.cat(parts, 2))
    assert list(whole.branch_widths) == ["depth", "fpfh", "rgb"]


def test_depth_is_what_the_network_makes_of_three_equal_channels_of_metres(scans):
    made = module(branches=("depth",))
    depth = scans.xyz[:, 2]
    expected = made.network(torch.stack([depth, depth, depth], 1), grid=7)
    assert torch.equal(made.features(scans), expected.flatten(2).transpose(1, 2))
    assert not made.uses_rgb and not made.uses_fpfh


def released_fpfh(xyz: np.ndarray) -> torch.Tensor:
    """(49,33) float64: the released code's steps, written out."""
    open3d = pytest.importorskip("open3d")
    resized = F.interpolate(torch.tensor(xyz).permute(2, 0, 1)[None], size=(56, 56), mode="nearest")[0]
    points = resized.permute(1, 2, 0).reshape(-1, 3).numpy()
    there = np.nonzero((points != 0).all(1))[0]
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points[there]))
    cloud.estimate_normals(open3d.geometry.KDTreeSearchParamHybrid(radius=0.1, max_nn=30))
    search = open3d.geometry.KDTreeSearchParamHybrid(radius=0.25, max_nn=100)
    full = np.zeros((len(points), 33))
    full[there] = np.asarray(open3d.pipelines.registration.compute_fpfh_feature(cloud, search).data).T
    maps = torch.from_numpy(full).T.reshape(1, 33, 56, 56)
    return nn.AdaptiveAvgPool2d(7)(nn.AvgPool2d(3, stride=1)(maps))[0].flatten(1).T


def released_score(patch: torch.Tensor, bank: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Score and map (56,56) of one scan, likewise."""
    nearest = torch.cdist(patch, bank).min(1)
    worst = nearest.values.argmax()
    around = torch.cdist(bank[nearest.indices[worst]][None], bank).topk(3, largest=False).indices[0, 1:]
    to_around = torch.linalg.norm(patch[worst] - bank[around], dim=1)
    root = torch.sqrt(torch.tensor(patch.shape[1]))
    weight = 1 - torch.exp(nearest.values[worst] / root) / torch.exp(to_around / root).sum()
    resized = F.interpolate(nearest.values.view(1, 1, 7, 7), size=(56, 56), mode="bilinear")[0]
    blurred = pictures.to_pil_image(resized / resized.max()).filter(ImageFilter.GaussianBlur(radius=4))
    return weight * nearest.values[worst], pictures.to_tensor(blurred)[0] * resized.max()


def test_parity_gives_the_released_code_s_features_maps_and_scores(scans):
    features = module(branches=("fpfh",), parity=True).features(scans)
    expected = [released_fpfh(xyz) for xyz in scans.raw]
    torch.testing.assert_close(features.double(), torch.stack(expected), rtol=1e-6, atol=1e-5)
    bank = expected[0][::2]
    maps, scores = distance_scores(
        features[1:],
        MemoryBank.build(bank),
        size=(56, 56),
        neighbours=PARITY["memory_bank"]["neighbours"],
        reweight_temperature=PARITY["memory_bank"]["reweight_temperature"],
        reweight_nearest=PARITY["memory_bank"]["reweight_nearest"],
        sigma=PARITY["memory_bank"]["blur"],
        precision=PARITY["memory_bank"]["map_precision"],
    )
    score, expected_map = released_score(expected[1], bank)
    assert float(scores[0]) == pytest.approx(float(score), rel=1e-4)
    step = float(expected_map.max()) / 255  # a grey level: float32 may round down where float64 does not
    torch.testing.assert_close(maps[0].double(), expected_map.double(), rtol=0, atol=1.01 * step)


def test_parity_changes_the_pooling_of_the_picture_too(scans):
    maps = module(branches=("rgb",)).network.network(scans.rgb)
    pooled = [nn.AdaptiveAvgPool2d(7)(F.avg_pool2d(m, 3, 1)) for m in maps]
    expected = torch.cat(pooled, 1).flatten(2).transpose(1, 2)
    got = module(branches=("rgb",), parity=True).features(scans)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_the_released_coreset_is_the_half_precision_loop():
    rows = 100 * torch.rand(400, 33, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z, chosen = rows.half(), [0]
    distance = torch.linalg.norm(rows - rows[:1], dim=1).half()
    for _ in range(59):
        distance = torch.minimum(distance, torch.linalg.norm(z - z[chosen[-1]], dim=1))
        chosen.append(int(distance.argmax()))
        distance[chosen[-1]] = 0
    coreset = farthest_first_in_half(rows.float(), 60)
    assert coreset.chosen.tolist() == chosen
    assert coreset.radius == pytest.approx(float(torch.cdist(rows, rows[chosen]).amin(1).max()), rel=2e-3)


def test_the_released_coreset_takes_no_row_twice_where_all_are_equal():
    assert sorted(farthest_first_in_half(torch.ones(9, 4), 9).chosen.tolist()) == list(range(9))


def test_the_bank_of_parity_is_chosen_so_from_the_first_row_on():
    features = torch.rand(405, 33, generator=torch.Generator().manual_seed(0))
    with BankRows(RowOptions(mode="released"), expected=405, device=torch.device("cpu")) as rows:
        for part in features.split(100):
            rows.add(part)
        chosen = rows.choose()
    assert torch.equal(chosen.rows, features[farthest_first_in_half(features, 40).chosen])  # 40.5, cut


def test_parity_brings_its_options_and_a_method_without_fpfh_saves_the_time():
    assert BTF.brings({"branches": ["fpfh"], "parity": True}) == PARITY
    assert BTF.brings({"branches": ["rgb"], "parity": False}) == {"data": {"fpfh": False}}
    assert BTF.brings({"branches": ["rgb", "fpfh"]}) == {}


@pytest.mark.parametrize("branches", [(), ("rgb", "rgb")])
def test_branches_that_cannot_be_are_refused(branches):
    with pytest.raises(UserError, match=r"model\.branches"):
        BTF(branches=branches)


def test_an_8_bit_blur_of_an_empty_map_is_empty():
    from threedzal.maps import blur_in_8_bits

    maps = torch.stack([torch.zeros(20, 20), torch.rand(20, 20)])
    blurred = blur_in_8_bits(maps)
    expected = np.asarray(pictures.to_pil_image(maps[1] / maps[1].max()).filter(ImageFilter.GaussianBlur(4)))
    assert not blurred[0].any()
    torch.testing.assert_close(blurred[1], torch.from_numpy(expected / 255).float() * maps[1].max())
