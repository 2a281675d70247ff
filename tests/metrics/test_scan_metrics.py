"""The test table of a class against the metrics taken one by one."""

import pytest
import torch
from torchmetrics.functional.classification import binary_auroc, binary_average_precision, binary_f1_score

from threedzal.metrics import ScanMetrics, aupro, pro_curve

KINDS = ["good", "hole", "cut", "good", "hole", "cut", "cut", "good"]


def scans(seed=0, count=8):
    """Eight scans with a foreground map and a fused one in [0, 1] (torchmetrics takes others for logits)."""
    generator = torch.Generator().manual_seed(seed)
    shape = (count, 16, 12)
    kinds = KINDS[:count]
    label = torch.tensor([kind != "good" for kind in kinds]).long()
    mask = (torch.rand(shape, generator=generator) > 0.9) & label.bool()[:, None, None]
    object = torch.rand(shape, generator=generator) > 0.3
    fused = ((torch.rand(shape, generator=generator) + 0.3 * mask) / 1.3 * 50).round() / 50
    maps = {"fused": fused, "foreground": object.float()}
    scores = {"fused": (torch.rand(count, generator=generator) + 0.4 * label) / 1.4}
    return {"maps": maps, "scores": scores, "mask": mask, "object": object, "label": label, "defects": kinds}


def rows(batch, at):
    """Some of the scans."""
    picked = {key: batch[key][at] for key in ("mask", "object", "label")}
    picked |= {key: {name: values[at] for name, values in batch[key].items()} for key in ("maps", "scores")}
    return {**picked, "defects": [batch["defects"][i] for i in at]}


def table_one_by_one(batch, name="fused"):
    preds, mask, label = batch["maps"][name], batch["mask"], batch["label"]
    scores = batch["scores"].get(name, torch.full(label.shape, 0.5))
    f1 = [binary_f1_score((scores >= t).float(), label) for t in scores.unique()]
    return {
        **{f"aupro_{limit}": aupro(preds, mask, limit) for limit in (0.3, 0.05, 0.01)},
        **{f"object_aupro_{limit}": aupro(preds, mask, limit, roi=batch["object"]) for limit in (0.3, 0.05)},
        "pixel_auroc": binary_auroc(preds.flatten(), mask.flatten().long()),
        "pixel_ap": binary_average_precision(preds.flatten(), mask.flatten().long()),
        "image_auroc": binary_auroc(scores, label),
        "image_ap": binary_average_precision(scores, label),
        "best_f1": torch.stack(f1).max(),
    }


@pytest.mark.parametrize("name", ["fused", "foreground"])
def test_the_table_is_every_metric_taken_by_itself(name):
    batch = scans()
    metric = ScanMetrics(defects=["cut", "hole"])
    metric.update(**rows(batch, [0, 1, 2]))
    metric.update(**rows(batch, [3]))
    metric.update(**rows(batch, [4, 5, 6, 7]))
    got = metric.compute()
    expected = {f"{name}/{key}": value for key, value in table_one_by_one(batch, name).items()}
    for kind in ("hole", "cut"):
        part = rows(batch, [i for i, k in enumerate(KINDS) if k in ("good", kind)])
        expected |= {f"{name}/defect/{kind}/{key}": value for key, value in table_one_by_one(part, name).items()}
    mine = {key: value for key, value in got.items() if key.startswith(f"{name}/")}
    assert mine.keys() == expected.keys()
    for key, value in mine.items():
        assert value.ndim == 0 and value.item() == pytest.approx(expected[key].item(), abs=1e-6), key


def test_a_constant_image_score_is_chance_and_scores_that_never_come_have_no_row():
    metric = ScanMetrics(defects=["cut", "hole"])
    metric.update(**scans())
    got = metric.compute()
    assert got["foreground/image_auroc"] == 0.5
    assert {key.split("/")[0] for key in got} == {"fused", "foreground"}


def test_scans_of_different_sizes_and_scores_far_beyond_one_are_fine():
    metric = ScanMetrics(defects=["cut", "hole"], names=["fused", "foreground"])
    first, second = scans(0), scans(1)
    second = {**second, "mask": second["mask"][:, :9], "object": second["object"][:, :9]}
    second["maps"] = {name: values[:, :9] for name, values in second["maps"].items()}
    before = {}
    for factor in (1.0, 1000.0):
        metric.reset()
        for batch in (first, second):
            scaled = {key: {n: v * factor for n, v in batch[key].items()} for key in ("maps", "scores")}
            metric.update(**{**batch, **scaled})
        after = metric.compute()
        assert not before or before == after
        before = after
    holes = [i for i, k in enumerate(KINDS) if k in ("good", "hole")]
    preds = torch.cat([first["maps"]["fused"][holes].flatten(), second["maps"]["fused"][holes].flatten()])
    mask = torch.cat([first["mask"][holes].flatten(), second["mask"][holes].flatten()])
    expected = binary_auroc(preds, mask.long()).item()
    assert after["fused/defect/hole/pixel_auroc"].item() == pytest.approx(expected, abs=1e-6)


def test_good_scans_alone_have_no_table_but_no_crash():
    metric = ScanMetrics(defects=[])
    metric.update(**rows(scans(), [0, 3, 7]))
    got = metric.compute()
    assert all(value.isnan() for value in got.values()) and "fused/aupro_0.3" in got


def test_the_curves_are_those_of_the_fused_map_and_of_the_floor():
    batch = scans()
    metric = ScanMetrics(defects=["cut", "hole"])
    metric.update(**batch)
    got = metric.curves(points=100_000)
    assert set(got) == {"pro", "object_pro", "roc", "floor_pro", "floor_object_pro"}
    expected = {
        "pro": pro_curve(batch["maps"]["fused"], batch["mask"]),
        "object_pro": pro_curve(batch["maps"]["fused"], batch["mask"], roi=batch["object"]),
        "floor_pro": pro_curve(batch["maps"]["foreground"], batch["mask"]),
    }
    for key, (x, y) in expected.items():
        torch.testing.assert_close(got[key], (x, y))
    x, y = got["roc"]
    assert torch.trapezoid(y, x).item() == pytest.approx(metric.compute()["fused/image_auroc"].item(), abs=1e-6)


def test_a_thinned_curve_keeps_its_ends_and_lies_on_the_full_one():
    metric = ScanMetrics(defects=["cut", "hole"])
    metric.update(**scans())
    full, thin = metric.curves(points=100_000)["pro"], metric.curves(points=10)["pro"]
    assert len(thin[0]) == 10 and (thin[0][0], thin[1][-1]) == (0.0, 1.0)
    corners = set(zip(full[0].tolist(), full[1].tolist(), strict=True))
    assert set(zip(thin[0].tolist(), thin[1].tolist(), strict=True)) <= corners


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"defects": ["bent"] * 8}, "defect kinds"),
        ({"defects": ["good"] * 7}, "as many of each"),
        ({"maps": {"total": torch.rand(8, 16, 12)}}, "wanted"),
        ({"mask": torch.zeros(8, 16, 11)}, "one shape"),
        ({"scores": {"fused": torch.full((8,), torch.nan)}}, "NaN"),
    ],
)
def test_wrong_scans_get_a_sentence(change, sentence):
    metric = ScanMetrics(defects=["cut", "hole"])
    with pytest.raises(ValueError, match=sentence):
        metric.update(**{**scans(), **change})


def test_a_map_that_comes_only_sometimes_is_refused():
    metric = ScanMetrics(defects=["cut", "hole"])
    metric.update(**scans())
    batch = scans()
    del batch["maps"]["foreground"]
    with pytest.raises(ValueError, match="the same every time"):
        metric.update(**batch)
