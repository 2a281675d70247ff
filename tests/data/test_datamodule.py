"""Who may be seen when, on a generated data set."""

from types import SimpleNamespace

import pytest
import torch

from threedzal import ZeroShotDataModule
from threedzal.data.generated import generate
from threedzal.data.pseudo_anomalies import ADDING, NORMAL, REMOVING
from threedzal.errors import UserError

CLASSES = ("ring", "rod", "cone", "porous_block")
SMALL = {"image_size": 112, "num_workers": 0, "fpfh": False, "positives_per_scan": 4, "pseudo_scans": 3}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "generated"
    generate(
        folder,
        classes=CLASSES,
        size=112,
        train=2,
        validation=2,
        test_good=1,
        test_per_defect=1,
        workers=1,
        progress=False,
    )
    return str(folder)


@pytest.fixture(scope="module")
def data(root):
    module = ZeroShotDataModule(root, ["ring"], ["cone"], **SMALL)
    module.setup("fit")
    return module


def test_auxiliary_classes_are_all_the_rest(data):
    assert sorted(data.classes.auxiliary) == ["porous_block", "rod"]


def test_no_scan_of_a_test_class_is_in_anything_that_training_sees(data):
    seen = [*data.train_records, *data.validation_records, *data.auxiliary_records, *data.pseudo_records]
    assert {record.class_name for record in seen} == {"ring", "rod", "porous_block"}
    assert all("cone" not in str(record.xyz) for record in seen)


@pytest.mark.parametrize("where", ["train_classes", "auxiliary_classes"])
def test_a_test_class_on_another_side_is_refused(root, where):
    with pytest.raises(UserError, match="cone"):
        ZeroShotDataModule(root, **{"train_classes": ["ring"], "test_classes": ["cone"], **SMALL, where: ["cone"]})


def test_in_class_is_allowed_by_name(root):
    ZeroShotDataModule(root, ["ring"], ["ring"], protocol="in_class", **SMALL)


def test_a_data_set_of_one_class_serves_a_method_that_learns_from_no_pseudo_anomalies(root, tmp_path):
    (tmp_path / "ring").symlink_to(f"{root}/ring")
    module = ZeroShotDataModule(str(tmp_path), ["ring"], ["ring"], protocol="in_class", **SMALL)
    with pytest.raises(UserError, match="auxiliary_classes"):
        module.setup("fit")
    method = SimpleNamespace(uses_rgb=True, uses_pseudo_anomalies=False)
    module.trainer = SimpleNamespace(lightning_module=method, is_global_zero=True, global_rank=0, world_size=1)
    module.setup("fit")
    assert len(module.bank_dataloader()) == 1 and not len(module.pseudo_scan_dataloader())


def test_patches_are_sixteen_to_one_and_both_kinds_alike(data):
    batch = next(iter(data.train_dataloader()))
    counts = [int((batch.kind == kind).sum()) for kind in (NORMAL, ADDING, REMOVING)]
    assert counts == [8, 64, 64]  # 2 scans of 4 positives
    assert batch.points.shape == (136, 64, 3)
    radius = batch.points.norm(dim=2).amax(dim=1)
    torch.testing.assert_close(radius, torch.ones(136))


def test_pseudo_anomalies_are_drawn_anew_each_epoch_and_again_for_the_same_one(data):
    loader = data.train_dataloader()
    epochs = []
    for epoch in (0, 1, 0):
        loader.sampler.set_epoch(epoch)
        epochs.append(torch.cat([batch.points for batch in loader]))
    assert torch.equal(epochs[0], epochs[2]) and not torch.equal(epochs[0], epochs[1])


def test_pseudo_anomalous_scans_have_their_own_truth_and_good_ones_none(data):
    scans = data.pseudo_scan_dataloader().dataset
    assert len(scans) == 9
    for i in range(9):
        scan = scans[i]
        assert bool(scan.mask.any()) == (scan.record.defect != "good")
        assert scan.record.class_name != "cone"


def test_the_random_cnn_travels_with_the_checkpoint(data, root):
    _ = data.pool
    other = ZeroShotDataModule(root, ["ring"], ["cone"], seed=5, **SMALL)
    other.setup("fit")
    other.load_state_dict(data.state_dict())
    _ = other.pool
    for name, value in data.attention.state_dict().items():
        assert torch.equal(value, other.attention.state_dict()[name])


def test_predict_without_a_path_is_named(root):
    with pytest.raises(UserError, match="predict_path"):
        ZeroShotDataModule(root).setup("predict")
