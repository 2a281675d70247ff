"""ThreeDZALPlus: z-scores, labels and shading against plain computations; only the MLP learns; fit and test."""

import contextlib
import csv
import math

import numpy as np
import pytest
import torch
import yaml

import threedzal
from threedzal.checkpoint import read_checkpoint
from threedzal.cli import main
from threedzal.data.anomaly_forms import Donor
from threedzal.data.generated import generate
from threedzal.data.readers import read_rgb, read_xyz
from threedzal.data.scan import Scan, ScanPreparation, ScanRecord, collate_scans, prepare_scan
from threedzal.data.scan_anomalies import FORMS, insert_shaded_anomalies
from threedzal.data.shading import Light, fit_light, reshade, surface_normals
from threedzal.errors import UserError
from threedzal.experts import balanced_loss, chosen_patches, patch_labels
from threedzal.features.grid import as_patches
from threedzal.features.instance import instance_normalise, self_similarity
from threedzal.features.relief import relief_features
from threedzal.features.relief import surface_normals as normal_picture
from threedzal.features.views import object_cells
from threedzal.losses import contrastive_loss
from threedzal.mixture import mix
from threedzal.plus import ThreeDZALPlus
from threedzal.pooling import POOLINGS, excess, pool


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "tiny"
    counts = {"train": 2, "validation": 1, "test_good": 1, "test_per_defect": 1, "size": 112}
    generate(folder, classes=["cone", "ring", "rod"], workers=1, progress=False, **counts)
    return folder


@pytest.fixture(scope="module")
def scans(root) -> Scan:
    """Two scans of different classes, as a batch."""
    preparation = ScanPreparation(image_size=112, fpfh=False)
    chosen = []
    for name in ("cone", "ring"):
        folder = root / name / "train" / "good"
        record = ScanRecord(name, "train", "good", "000", folder / "xyz" / "000.tiff", folder / "rgb" / "000.png")
        xyz, rgb = read_xyz(record.xyz), read_rgb(record.rgb)
        chosen.append(prepare_scan(xyz, rgb, None, preparation=preparation, record=record))
    return collate_scans(chosen)


def plane(height=120, width=120, *, tilt=0.0):
    """A plane at 0.6 m, 0.4 mm a pixel, grey, all of it object but a frame."""
    rows, columns = np.indices((height, width))
    x, y = (columns - width / 2) * 4e-4, (rows - height / 2) * 4e-4
    xyz = np.stack([x, y, 0.6 + tilt * x], axis=-1).astype(np.float32)
    foreground = np.zeros((height, width), dtype=bool)
    foreground[10:-10, 10:-10] = True
    return xyz, np.full((height, width, 3), 120, dtype=np.uint8), foreground


# features of a scan against the same scan ----------------------------------------------------------------------------


def test_z_scores_are_those_of_a_loop_over_the_object_s_cells():
    generator = torch.Generator().manual_seed(0)
    features, cells = torch.randn(2, 9, 4, generator=generator) * 3 + 5, torch.rand(2, 9, generator=generator) > 0.4
    got = instance_normalise(features, cells)
    for b in range(2):
        for d in range(4):
            own = [features[b, p, d].item() for p in range(9) if cells[b, p]]
            mean = sum(own) / len(own)
            spread = math.sqrt(sum((v - mean) ** 2 for v in own) / (len(own) - 1))
            width = spread + 1e-3 + 0.02 * sum(map(abs, own)) / len(own)
            for p in range(9):
                expected = (features[b, p, d].item() - mean) / width if cells[b, p] else 0.0
                assert got[b, p, d].item() == pytest.approx(expected, abs=1e-4)


def test_a_scan_with_one_cell_or_none_has_no_z_scores():
    cells = torch.tensor([[True, False, False, False], [False] * 4])
    assert not instance_normalise(torch.randn(2, 4, 3), cells).any()
    assert torch.isfinite(self_similarity(torch.randn(2, 4, 3), cells, reach=1)).all()


def test_a_patch_that_is_alone_is_far_from_the_others_and_one_that_repeats_is_near():
    features = torch.zeros(1, 64, 2)
    features[0, ::2, 0] = 1.0  # two kinds of patch that repeat
    features[0, 27] = torch.tensor([0.0, 4.0])
    similarity = self_similarity(features, torch.ones(1, 64, dtype=torch.bool), reach=1)[0]
    assert similarity[:, 0].argmax() == 27 and similarity[27, 0] == pytest.approx(math.sqrt(16 / 2), abs=1e-5)
    assert similarity[torch.arange(64) != 27, 0].max() == 0


def test_neighbours_within_reach_do_not_count_as_others():
    """Overlapping patches are alike because they see the same pixels, not because the product repeats."""
    features = torch.arange(64.0).view(8, 8)[..., None].expand(-1, -1, 2).reshape(1, 64, 2) // 1 * 1.0
    own = self_similarity(features, torch.ones(1, 64, dtype=torch.bool), reach=2)[0, :, 0]
    for at in (0, 27, 63):
        others = [p for p in range(64) if max(abs(p // 8 - at // 8), abs(p % 8 - at % 8)) > 2]
        assert own[at] == pytest.approx(min(8.0, min(abs(p - at) for p in others)))


# geometry ------------------------------------------------------------------------------------------------------------


def tensors(xyz, foreground):
    points = torch.from_numpy(xyz * foreground[..., None]).permute(2, 0, 1)[None]
    return points, torch.from_numpy(foreground)[None]


def test_a_plane_has_no_relief_and_a_bump_has_its_own():
    xyz, _, foreground = plane(112, 112)
    flat = relief_features(*tensors(xyz, foreground), tensors(xyz, foreground)[1], grid=14)
    rows, columns = np.indices((112, 112))
    bump = 0.003 * np.exp(-((rows - 60) ** 2 + (columns - 60) ** 2) / (2 * 3.0**2))
    raised = (xyz * (1 - bump / np.linalg.norm(xyz, axis=-1))[..., None]).astype(np.float32)
    points, valid = tensors(raised, foreground)
    relief = relief_features(points, valid, valid, grid=14)
    inner = (slice(None), slice(3, -3), slice(3, -3))
    assert flat[0][inner].abs().max() < 0.1  # millimetres: the sphere about the camera is a little bent
    magnitude = relief[0, 6:10].sum(dim=0)
    assert divmod(int(magnitude.argmax()), 14) == (7, 7)
    assert relief[0, 0:4, 7, 7].sum() < -0.5  # nearer to the camera


def test_normals_of_a_tilted_plane_are_the_plane_s():
    xyz, _, foreground = plane(112, 112, tilt=0.5)
    points, valid = tensors(xyz, foreground)
    expected = torch.tensor([0.5, 0.0, -1.0]) / math.sqrt(1.25)
    normals = normal_picture(points, valid, valid)[0]
    assert (normals[:, 30:80, 30:80] - expected[:, None, None]).abs().max() < 1e-3
    assert not normals[:, ~valid[0]].any()


# pseudo anomalies ----------------------------------------------------------------------------------------------------


def test_the_light_of_a_shaded_ball_is_found():
    rows, columns = np.indices((120, 120))
    u, v = (columns - 60) / 50, (rows - 60) / 50
    inside = u**2 + v**2 < 0.8
    depth = 0.6 - 0.02 * np.sqrt(np.clip(1 - u**2 - v**2, 0, None))
    xyz = np.stack([0.02 * u, 0.02 * v, depth], axis=-1)
    normals = np.stack([u, v, -np.sqrt(np.clip(1 - u**2 - v**2, 0, None))], axis=-1)
    light = np.array([-0.4, -0.5, -0.77]) / np.linalg.norm([-0.4, -0.5, -0.77])
    grey = np.clip(60 + 150 * normals @ light, 0, 255)
    found = fit_light(xyz * inside[..., None], np.repeat(grey[..., None], 3, axis=2), inside)
    assert found @ light > 0.97


def test_the_side_of_a_bump_that_faces_the_light_is_brighter_and_the_other_darker():
    xyz, rgb, _ = plane()
    rows, columns = np.indices((120, 120))
    bump = 0.002 * np.exp(-((rows - 60) ** 2 + (columns - 60) ** 2) / (2 * 6.0**2))
    raised = xyz * (1 - bump / np.linalg.norm(xyz, axis=-1))[..., None]
    light = Light(np.array([-0.6, 0.0, -0.8]), ambient=0.3)  # from the left
    after = reshade(rgb.astype(float), xyz, raised, light=light)[..., 0]
    assert after[60, 54] > 125 and after[60, 66] < 115
    assert np.abs(after[:20] - 120).max() < 0.5  # far from the bump nothing changes
    shade = [0.3 + 0.7 * np.clip(surface_normals(p)[60, 54] @ light.direction, 0, None) for p in (xyz, raised)]
    assert after[60, 54] == pytest.approx(120 * shade[1] / shade[0], rel=1e-5)  # Lambert, by hand


def donor():
    rng = np.random.default_rng(9)
    xyz, _, foreground = plane()
    return Donor(xyz, rng.integers(0, 255, (120, 120, 3)).astype(np.uint8), foreground, (40, 70))


@pytest.mark.parametrize(("kind", "form"), [(kind, form) for kind in FORMS for form in FORMS[kind]])
def test_every_form_changes_points_and_picture_where_the_mask_says(kind, form):
    xyz, rgb, foreground = plane(tilt=0.3)
    rgb = np.random.default_rng(1).integers(60, 180, rgb.shape).astype(np.uint8)
    before = xyz.copy(), rgb.copy()
    for seed in range(3):
        rng = np.random.default_rng(seed)
        options = {"kind": kind, "rng": rng, "donor": donor(), "forms": (form,), "regions": 2}
        new_xyz, new_rgb, mask = insert_shaded_anomalies(xyz, rgb, foreground, **options)
        assert mask.any() and not (mask & ~foreground).any()
        assert not ((new_xyz != xyz).any(axis=-1) & ~mask).any()
        changed = (new_rgb != rgb).any(axis=-1)
        assert (changed & mask).sum() > 0.3 * mask.sum()
        rows, columns = np.nonzero(changed)  # the picture may change by a soft rim beyond it
        assert all(mask[max(r - 5, 0) : r + 6, max(c - 5, 0) : c + 6].any() for r, c in zip(rows, columns, strict=True))
        kept = mask & new_xyz.any(axis=-1)
        assert np.abs(np.cross(xyz[kept], new_xyz[kept])).max(initial=0) < 1e-6  # along the viewing rays
        moved = np.linalg.norm(new_xyz[kept], axis=-1) - np.linalg.norm(xyz[kept], axis=-1)
        if form == "stain":
            assert not moved.any()
        elif form in ("hole", "dent", "cut"):
            assert moved.mean() > 0 if kept.any() else form == "hole"
        elif form in ("bump", "foreign"):
            assert moved.mean() < 0
    assert np.array_equal(before[0], xyz) and np.array_equal(before[1], rgb)


def test_a_scan_without_an_object_is_refused_in_a_sentence():
    xyz, rgb, foreground = plane()
    with pytest.raises(UserError, match="no measured pixel"):
        insert_shaded_anomalies(xyz, rgb, foreground & False, kind="adding", rng=np.random.default_rng(0))


# labels, loss, scores ------------------------------------------------------------------------------------------------


def test_labels_are_the_counted_shares_of_the_mask():
    rng = np.random.default_rng(0)
    mask = rng.random((2, 1, 32, 32)) > 0.75
    mask[:, :, :16] &= rng.random((2, 1, 16, 32)) > 0.9
    mask[0, 0, :8, :8] = False
    cells = rng.random((2, 16)) > 0.2
    abnormal, decided = patch_labels(torch.from_numpy(mask), torch.from_numpy(cells), positive_share=0.25)
    for b in range(2):
        for p in range(16):
            row, column = 8 * (p // 4), 8 * (p % 4)
            count = int(mask[b, 0, row : row + 8, column : column + 8].sum())
            assert bool(abnormal[b, p]) == (count > 16)
            assert bool(decided[b, p]) == (bool(cells[b, p]) and (count == 0 or count > 16))
    assert abnormal.any() and (decided & ~abnormal).any() and (cells & ~decided.numpy()).any()


def test_both_classes_weigh_a_half_in_the_loss():
    logits, abnormal = torch.tensor([0.3, -1.0, 2.0, 0.5]), torch.tensor([True, False, False, False])
    loss = [math.log1p(math.exp(-v)) if a else math.log1p(math.exp(v)) for v, a in zip(logits, abnormal, strict=True)]
    assert balanced_loss(logits, abnormal).item() == pytest.approx(loss[0] / 2 + sum(loss[1:]) / 6, abs=1e-6)
    assert torch.isfinite(balanced_loss(logits, abnormal & False))


def test_the_worst_normal_patches_make_half_of_what_the_normal_ones_weigh():
    logits, abnormal = torch.tensor([0.3, -1.0, 2.0, 0.5, -2.0]), torch.tensor([True, False, False, False, False])
    positive, normal = math.log1p(math.exp(-0.3)), [math.log1p(math.exp(v)) for v in (-1.0, 2.0, 0.5, -2.0)]
    expected = 0.5 * positive + 0.25 * sum(normal) / 4 + 0.25 * (normal[1] + normal[2]) / 2
    assert balanced_loss(logits, abnormal, hard=0.5).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("how", POOLINGS)
def test_a_blob_of_high_probability_raises_every_score(how):
    generator = torch.Generator().manual_seed(0)
    good = 0.3 * torch.rand(1, 64, generator=generator)
    bad = good.clone()
    bad[0, [10, 11, 18]] = 0.95
    cells = torch.ones(1, 64, dtype=torch.bool)
    assert pool(bad, cells, how=how) > pool(good, cells, how=how)
    assert torch.isfinite(pool(good, cells & False, how=how)).all()


@pytest.mark.parametrize("how", ["contrast", "outlier", "tail", "peak", "peaks"])
def test_a_score_does_not_see_what_a_product_makes_the_classifier_say_everywhere(how):
    odds = torch.randn(1, 64, generator=torch.Generator().manual_seed(0))
    cells = torch.ones(1, 64, dtype=torch.bool)
    here, there = (pool((odds + shift).sigmoid(), cells, how=how) for shift in (0.0, 2.0))
    assert here.item() == pytest.approx(there.item(), abs=2e-3)


def test_excess_is_the_log_odds_above_the_object_s_median_and_0_elsewhere():
    probability = torch.tensor([[0.1, 0.2, 0.5, 0.9, 0.99]])
    cells = torch.tensor([[True, True, True, True, False]])
    expected = [0, 0, math.log(0.5 / 0.5) - math.log(0.2 / 0.8), math.log(9) - math.log(0.25), 0]  # lower median: 0.2
    assert excess(probability, cells)[0].tolist() == pytest.approx(expected, abs=1e-5)
    assert not excess(probability, cells & False).any()


def test_a_tail_score_is_in_units_of_the_mean_excess_of_the_scan_s_own_upper_values():
    odds = torch.linspace(-3, 3, 100)[None]
    own = sorted(odds[0].tolist())
    top, tail = sum(own[-3:]) / 3, own[80:98]
    expected = (top - own[80]) / (sum(v - own[80] for v in tail) / len(tail) + 0.3)
    got = pool(odds.sigmoid(), torch.ones(1, 100, dtype=torch.bool), how="tail")
    assert got.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("how", "shares"), [("peak", (5,)), ("peaks", (2, 5, 10, 20))])
def test_a_peak_is_the_mean_of_the_highest_of_the_object_s_cells(how, shares):
    probability = torch.rand(2, 100, generator=torch.Generator().manual_seed(0))
    cells = (torch.arange(100) >= 20).repeat(2, 1)
    cells[1, 23:] = False  # three cells: of so few the highest alone
    peaks = pool(probability, cells, how=how)
    for values, inside, peak in zip(excess(probability, cells), cells, peaks, strict=True):
        own = sorted(values[inside].tolist())
        counts = [max(1, int(share * len(own) / 100)) for share in shares]
        assert peak.item() == pytest.approx(sum(sum(own[-n:]) / n for n in counts) / len(counts), rel=1e-5)


def test_all_anomalous_patches_are_learned_from_and_so_many_others():
    generator = torch.Generator().manual_seed(0)
    decided = torch.rand(3, 100, generator=generator) > 0.2
    abnormal = decided & (torch.rand(3, 100, generator=generator) > 0.9)
    shown = chosen_patches(abnormal, decided, normals=30)
    assert not (shown & ~decided).any() and (shown & abnormal).equal(abnormal)
    assert (shown & ~abnormal).sum(dim=1).tolist() == [30, 30, 30]
    assert chosen_patches(abnormal, decided, normals=1000).equal(decided)


# the method ----------------------------------------------------------------------------------------------------------


def make(**options) -> ThreeDZALPlus:
    torch.manual_seed(0)
    method = ThreeDZALPlus(backbone="resnet18", rgb_weights="random", **options)
    method.load_pretrained()
    return method


def test_only_the_mlp_learns(scans):
    method = make()
    mask = torch.zeros_like(scans.mask)
    mask[:, :, 40:64, 40:64] = True
    batch = Scan(**{**vars(scans), "mask": mask & scans.object[:, None]})
    cells = object_cells(batch)
    abnormal, decided = patch_labels(batch.mask, cells, positive_share=0.25)
    for expert, seen in zip(method.classifiers, method.inputs(batch, cells), strict=True):
        balanced_loss(expert(seen[decided])[:, 0], abnormal[decided]).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in method.classifiers.parameters())
    assert all(p.grad is None and not p.requires_grad for p in method.views.parameters())


def test_e_theta_learns_from_the_classifier_and_from_the_contrastive_loss_alike(scans):
    method = make(experts=(("point_cloud",),), bank_branches=("rgb", "point_cloud"))
    cells = object_cells(scans) & scans.cells
    abnormal = cells & (torch.arange(196) % 7 == 0)
    for loss in (
        lambda: balanced_loss(method.classifiers[0](method.inputs(scans, cells)[0][cells])[:, 0], abnormal[cells]),
        lambda: contrastive_loss(method._embedded(scans, cells)[cells], abnormal[cells]),
    ):
        method.zero_grad()
        loss().backward()
        assert all(p.grad is not None for p in method.encoder.parameters())
    method.eval()
    features = method.features(scans)
    assert features.shape[2] == sum(method.branch_widths.values()) == 128 + 256 + 32
    assert not features[..., -32:][~scans.cells].any()


@pytest.mark.parametrize(
    "experts",
    [
        (("rgb",),),
        (("relief",), ("point_cloud",)),
        (("normals", "similarity"),),
        (("rgb", "symmetry"), ("normals", "symmetry")),
        (("rgb", "normals", "relief", "similarity"),),
        (("rgb", "similarity", "relief"), ("normals", "similarity", "relief")),
    ],
)
def test_any_choice_of_experts_judges_the_object_s_patches_and_no_others(experts, scans):
    method = make(experts=experts).eval()
    with torch.no_grad():
        probability = method.abnormality(scans, eta=0.1)
        alone = method.abnormality(scans._map(lambda t: t[1:]), eta=0.1)
    cells = object_cells(scans)
    assert probability.shape == scans.cells.shape and not probability[~cells].any()
    assert (probability[cells] > 0).all() and (probability <= 1).all()
    assert torch.allclose(probability[1:], alone, atol=1e-5)  # a scan is judged for itself, whatever comes with it


@pytest.mark.parametrize("mixture", ["calm", "equal"])
def test_a_score_expert_has_a_say_in_the_score_of_a_scan_and_none_in_its_map(mixture, scans):
    experts, cells = (("rgb",), ("normals",)), object_cells(scans)
    method = make(experts=experts, score_experts=(("raw_rgb",),), mixture=mixture).eval()
    two = make(experts=experts, mixture=mixture).eval()
    two.load_state_dict({k: v for k, v in method.state_dict().items() if not k.startswith("classifiers.2")})
    with torch.no_grad():
        probability = method.abnormality(scans, eta=0.0)
        assert torch.equal(probability, two.abnormality(scans, eta=0.0))
        inputs = method.inputs(scans, cells)
        odds = torch.stack([c(seen)[..., 0] for c, seen in zip(method.classifiers, inputs, strict=True)], dim=1)
        score, of_two = method.scan_score(probability, scans), two.scan_score(probability, scans)
    assert torch.allclose(probability, odds[:, :2].mean(dim=1).sigmoid() * cells, atol=1e-6)
    mixed = mix(odds, cells) if mixture == "calm" else odds.mean(dim=1)
    expected = pool(mixed.sigmoid() * cells, cells, how="peak")
    assert torch.allclose(score, expected, atol=1e-5) and not torch.allclose(of_two, expected, atol=1e-3)
    assert torch.equal(inputs[2], as_patches(method.views.network(scans.rgb, grid=14)) * cells[..., None])


def test_an_expert_may_see_how_alone_a_patch_is_by_an_image_that_it_does_not_see(scans):
    likeness = [f"{image}_{name}" for image in ("rgb", "normals") for name in ("similarity", "symmetry")]
    by_name, beside = (("raw_rgb", *likeness),), (("rgb", "normals", "similarity", "symmetry"),)
    cells, width = object_cells(scans), 64 + 128 + 256  # of an image, of a ResNet-18's layers 1 to 3
    named, own = (make(experts=experts).eval().inputs(scans, cells)[0] for experts in (by_name, beside))
    rgb, normals = named[..., width:].chunk(2, dim=2)
    similar, symmetric = own[..., 2 * width :].chunk(2, dim=2)
    parts = zip(*(part.chunk(2, dim=2) for part in (rgb, normals)), strict=True)
    for seen, expected in zip(parts, (similar, symmetric), strict=True):
        assert torch.equal(torch.cat(seen, dim=2), expected)


def test_the_bank_holds_the_chosen_layers_of_the_picture(scans):
    method = make(bank_layers=(2, 3))
    features = method.features(scans)
    assert features.shape == (2, 196, 128 + 256) == (2, 196, sum(method.branch_widths.values()))
    expected = as_patches(method.views.network(scans.rgb, grid=14))[:, :, 64:]
    assert torch.equal(features, expected)


@pytest.mark.parametrize(
    "options",
    [
        {"experts": (("similarity",),)},
        {"experts": (("relief", "similarity"),)},
        {"experts": ()},
        {"score_experts": (("raw_rgb", "similarity"),)},
        {"score_experts": (("xyz",),)},
        {"bank_layers": (4,)},
        {"bank_branches": ()},
    ],
)
def test_options_that_cannot_work_are_refused(options):
    with pytest.raises(UserError):
        make(**options)


def test_fit_and_test_through_the_command(root, tmp_path):
    config = {
        "trainer": {"max_epochs": 1, "accelerator": "cpu", "enable_progress_bar": False},
        "model": {
            "class_path": "threedzal.plus.ThreeDZALPlus",
            "init_args": {"backbone": "resnet18", "rgb_weights": "random", "score_experts": [["raw_rgb"]]},
        },
        "report": {"enabled": False},
        "data": {
            "root": str(root),
            "train_classes": ["cone"],
            "test_classes": ["ring"],
            "image_size": 112,
            "training": "scans",
            "scan_anomalies": "shaded",
            "auxiliary_normals": True,
            "pseudo_scans": 1,
            "fpfh": False,
            "num_workers": 0,
        },
    }
    path = tmp_path / "plus.yaml"
    path.write_text(yaml.safe_dump(config))
    with contextlib.chdir(tmp_path):
        assert main(["fit", "--config", str(path)]) == 0
        (fitted,) = tmp_path.rglob("fitted.ckpt")
        assert main(["test", "--config", str(path), "--ckpt_path", str(fitted), "--model.pooling", "max"]) == 0
    with open(fitted.parent / "metrics.csv", newline="") as file:
        validated = next(row for row in csv.DictReader(file) if row.get("val/pseudo_scans/object_aupro_0.3"))
    assert all(0 <= float(validated[f"val/pseudo_scans/image_auroc/{how}"]) <= 1 for how in POOLINGS)
    checkpoint = read_checkpoint(fitted)
    assert checkpoint["hyper_parameters"]["pooling"] == "peak" and checkpoint["method"] == "ThreeDZALPlus"
    prediction = threedzal.load(fitted)(
        read_rgb(root / "ring/test/hole/rgb/000.png"), read_xyz(root / "ring/test/hole/xyz/000.tiff")
    )
    assert prediction.map.shape == (112, 112) and torch.isfinite(prediction.map).all()


def test_an_expert_of_fpfh_without_fpfh_is_refused_before_anything_starts(root, tmp_path, capsys):
    data = ["--data.root", str(root), "--data.train_classes=[cone]", "--data.test_classes=[ring]", "--data.fpfh=false"]
    model = ["--model=ThreeDZALPlus", "--model.init_args.backbone=resnet18", "--model.init_args.rgb_weights=random"]
    with contextlib.chdir(tmp_path):
        assert main(["fit", *model, "--model.init_args.score_experts=[[fpfh]]", *data, "--data.training=scans"]) == 2
    assert "data.fpfh" in capsys.readouterr().err
