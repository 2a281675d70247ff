"""The detector's own steps: turning, masking, judging."""

import pytest
import torch
import torch.nn.functional as F

from threedzal.baselines.dsr3d import DSR3D
from threedzal.baselines.dsr3d.resampling import turned
from threedzal.data.scan import Scan
from threedzal.errors import UserError

TINY = {"hidden": 16, "layers": 1, "residual": 8, "codes": 16, "width": 8}


@pytest.fixture
def method():
    torch.manual_seed(0)
    return DSR3D(architecture={"colour": True, **TINY}, segmentation_width=4, bottleneck=8, window=5, good=0.0)


@pytest.fixture
def scan():
    """Two scans of a dome."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 64), indexing="ij")
    inside = (x**2 + y**2 < 0.6).expand(2, -1, -1)
    depth = (0.6 + 0.05 * (x**2 + y**2)).expand(2, -1, -1) * inside
    return Scan(
        rgb=torch.randn(2, 3, 64, 64),
        xyz=depth[:, None].expand(-1, 3, -1, -1),
        valid=inside,
        object=inside,
        mask=torch.zeros(2, 1, 64, 64, dtype=torch.bool),
        label=torch.zeros(2),
        patches=torch.zeros(2, 64, 64, 3),
        cells=torch.zeros(2, 64, dtype=torch.bool),
        fpfh=None,
        size=torch.tensor([[64, 64]] * 2),
        record=[],
    )


def test_not_turned_is_as_it_was():
    image, inside = torch.rand(2, 4, 12, 12), (torch.rand(2, 1, 12, 12) > 0.5).float()
    same = turned(image, inside, most=0.0, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(same, (image, inside))


def test_depth_is_turned_without_being_mixed():
    image = torch.zeros(3, 4, 24, 24)
    image[:, 0, 6:18, 6:18] = 0.7
    inside = (image[:, :1] > 0).float()
    depth, moved = turned(image, inside, most=40.0, generator=torch.Generator().manual_seed(0))
    assert torch.equal(depth[:, :1] > 0, moved > 0)  # scan and mask turn together
    assert depth[:, 0].unique().tolist() == pytest.approx([0.0, 0.7])
    assert not torch.equal(moved, inside)
    assert moved.sum().item() == pytest.approx(inside.sum().item(), rel=0.05)


def test_anomalies_are_drawn_on_measured_pixels_alone(method, scan):
    inside = scan.valid[:, None].float()
    masks = torch.cat([method._mask(inside, torch.Generator().manual_seed(s)) for s in range(20)])
    assert masks.sum() > 0 and not (masks.bool() & ~scan.valid[:1, None]).any()
    method.hparams.good = 1.0
    assert method._mask(inside, torch.Generator().manual_seed(0)).sum() == 0


def test_a_map_is_the_mean_of_the_probability_and_the_score_its_maximum(method, scan):
    method.eval()
    smooth, score = method.anomaly(scan)
    assert smooth.shape == (2, 64, 64) and (smooth >= 0).all() and (smooth <= 1).all()
    torch.testing.assert_close(score, smooth.flatten(1).amax(1))
    method.hparams.window = 1
    sharp, _ = method.anomaly(scan)
    torch.testing.assert_close(smooth[:, 32, 32], sharp[:, 30:35, 30:35].mean((1, 2)))
    torch.testing.assert_close(smooth, F.avg_pool2d(sharp[:, None], 5, stride=1, padding=2)[:, 0])


def test_on_the_object_nothing_beside_it_adds_to_a_map(method, scan):
    method.eval()
    method.hparams.window = 1
    everywhere, _ = method.anomaly(scan)
    method.hparams.on_object = True
    alone, score = method.anomaly(scan)
    assert everywhere[~scan.object].amin() > 0
    torch.testing.assert_close(alone, everywhere * scan.object)
    torch.testing.assert_close(score, everywhere.masked_fill(~scan.object, 0).flatten(1).amax(1))


@pytest.mark.parametrize("colour", [True, False])
def test_a_closer_picture_is_judged_and_its_map_laid_back(scan, colour):
    torch.manual_seed(0)
    options = {"segmentation_width": 4, "bottleneck": 8, "window": 5, "on_object": True}
    method = DSR3D(architecture={"colour": colour, **TINY}, closeup=96, **options).eval()
    image, inside, object, _ = method._seen(scan)
    assert image.shape == (2, 4 if colour else 1, 96, 96) and inside.shape == object.shape == (2, 1, 96, 96)
    assert (object.mean((1, 2, 3)) > scan.object.float().mean((1, 2))).all()
    maps, score = method.anomaly(scan)
    assert maps.shape == (2, 64, 64) and score.shape == (2,)
    assert (maps.flatten(1).amax(1) <= score + 1e-6).all() and (maps.flatten(1).amax(1) > 0.5 * score).all()
    method.train()
    method.log_dict = lambda *_, **__: None  # no trainer
    assert method._loss(scan, "train", torch.Generator().manual_seed(0)).isfinite()


@pytest.mark.parametrize("side", [32, 104])
def test_a_closer_picture_that_no_network_takes_is_refused(side):
    with pytest.raises(UserError, match="model.closeup"):
        DSR3D(architecture={"colour": True, **TINY}, closeup=side)


def test_training_moves_the_detector_and_not_the_autoencoder(method, scan):
    method.train()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.1)
    method.log_dict = lambda *_, **__: None  # no trainer
    method._loss(scan, "train", torch.Generator().manual_seed(0)).backward()
    optimizer.step()
    moved = {name.split(".")[0] for name, value in method.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"restrict_lo", "restrict_hi", "decoder", "segmentation"}


def test_a_step_draws_the_same_whenever_it_is_taken(method, scan):
    method.train()
    method.log_dict = lambda *_, **__: None
    losses = [method._loss(scan, "train", torch.Generator().manual_seed(7)) for _ in range(2)]
    assert losses[0] == losses[1] != method._loss(scan, "train", torch.Generator().manual_seed(8))
