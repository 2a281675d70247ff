"""Size, place and shadows of pseudo anomalies in whole scans, measured on what was inserted."""

import numpy as np
import pytest
import torch

from threedzal import ZeroShotDataModule
from threedzal.data.attention import RandomAttention
from threedzal.data.generated import generate
from threedzal.data.scan_anomalies import AnomalySize, insert_shaded_anomalies
from threedzal.data.shading import hidden_behind
from threedzal.errors import UserError


def plane(side: int, *, distance: float = 0.6, width: float = 0.1):
    """A level square of `width` metres, `side` pixels a side, facing the camera; grey, all of it object."""
    steps = (np.arange(side) - side / 2) * width / side
    x, y = np.meshgrid(steps, steps)
    xyz = np.stack([x, y, np.full_like(x, distance)], axis=-1).astype(np.float32)
    return xyz, np.full((side, side, 3), 120, dtype=np.uint8), np.ones((side, side), dtype=bool)


def radii(scan, size: AnomalySize, *, count: int = 15) -> np.ndarray:
    """Radii in pixels of the discs that are as large as the regions: stains, which cast no shadow into the mask."""
    rng = np.random.default_rng(0)
    masks = [
        insert_shaded_anomalies(*scan, kind="adding", forms=("stain",), size=size, rng=rng)[2] for _ in range(count)
    ]
    return np.sqrt([mask.sum() / np.pi for mask in masks])


# size ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "patches"), [(112, 2.0), (224, 0.75)])
def test_a_radius_in_patches_is_a_share_of_the_picture_however_fine_and_however_near(side, patches):
    size = AnomalySize((patches, patches), "patches")
    wanted = patches * 8 * side / 224
    for width in (0.05, 0.2):
        assert np.median(radii(plane(side, width=width), size)) == pytest.approx(wanted, rel=0.15)


@pytest.mark.parametrize(("side", "width"), [(112, 0.1), (224, 0.05)])
def test_a_radius_in_millimetres_is_one_on_the_surface(side, width):
    on_surface = radii(plane(side, width=width), AnomalySize((3.0, 3.0), "millimetres")) * 1000 * width / side
    assert np.median(on_surface) == pytest.approx(3.0, rel=0.15)


def test_radii_are_drawn_evenly_in_the_logarithm_between_the_two_given():
    found = np.log2(radii(plane(112), AnomalySize((0.75, 3.0)), count=100) / (8 * 1.5 * 112 / 224))
    assert abs(np.median(found)) < 0.25 and abs(np.percentile(found, [25, 75]) - [-0.5, 0.5]).max() < 0.3
    assert -1.5 < found.min() < -0.7 and 0.7 < found.max() < 1.5


@pytest.mark.parametrize(("form", "sign"), [("bump", -1), ("dent", 1)])
def test_relief_is_the_millimetres_that_bumps_rise_and_dents_sink(form, sign):
    xyz, rgb, foreground = plane(112)
    kind = "adding" if form == "bump" else "removing"

    def distance(millimetres: float, seed: int) -> np.ndarray:
        size = AnomalySize((2.0, 2.0), "patches", (millimetres, millimetres))
        rng = np.random.default_rng(seed)
        moved, _, _ = insert_shaded_anomalies(xyz, rgb, foreground, kind=kind, forms=(form,), size=size, rng=rng)
        return np.linalg.norm(moved, axis=-1)

    for seed in range(3):  # the same draws but for the relief: roughness falls out of the difference
        low, high = distance(1.0, seed), distance(2.5, seed)
        both = (low > 0) & (high > 0)
        change = 1000 * sign * (high - low)[both]
        assert change.max() == pytest.approx(1.5, abs=0.01) and change.min() > -0.01


@pytest.mark.parametrize("option", ["radius", "relief"])
@pytest.mark.parametrize("pair", [(0.0, 1.0), (2.0, 1.0)])
def test_a_size_that_cannot_be_is_refused_by_name(option, pair):
    with pytest.raises(UserError, match=f"anomaly_{option}"):
        AnomalySize(**{option: pair})


# place ---------------------------------------------------------------------------------------------------------------


def test_regions_lie_where_the_random_cnn_attends_in_proportion_to_it():
    xyz, rgb, foreground = plane(112)
    rows, columns = np.indices(foreground.shape)
    xyz[..., 2] -= 0.01 * np.exp(-((rows - 30) ** 2 + (columns - 75) ** 2) / 75)  # a bump to attend to
    foreground &= np.hypot(rows - 56, columns - 56) < 50
    points = torch.from_numpy(xyz * foreground[..., None]).permute(2, 0, 1)
    attention = RandomAttention(seed=0)(points[None], torch.from_numpy(foreground)[None])[0].numpy()
    weight, means, draws = attention**8, {}, 150  # of an untrained network alone it differs little from place to place
    for place, given in (("attention", weight), ("anywhere", None)):
        options = {"kind": "adding", "forms": ("stain",), "size": AnomalySize((0.1, 0.1)), "attention": given}
        rng = np.random.default_rng(1)
        masks = [insert_shaded_anomalies(xyz, rgb, foreground, rng=rng, **options)[2] for _ in range(draws)]
        means[place] = np.mean([attention[mask].mean() for mask in masks])
    error = 4 * float(attention[foreground].std()) / draws**0.5  # of a mean over as many places
    attended = float(np.average(attention[foreground], weights=weight[foreground]))
    assert means["anywhere"] == pytest.approx(float(attention[foreground].mean()), abs=error)
    assert means["attention"] == pytest.approx(attended, abs=error) and attended > means["anywhere"] + 2 * error


def test_attention_of_zero_everywhere_leaves_all_places_alike():
    scan = plane(112)
    options = {"kind": "adding", "forms": ("stain",), "size": AnomalySize((0.2, 0.2))}
    one, other = (
        insert_shaded_anomalies(*scan, **options, rng=np.random.default_rng(3), attention=attention)[2]
        for attention in (None, np.zeros((112, 112)))
    )
    assert one.any() and np.array_equal(one, other)


def test_a_run_places_pseudo_anomalies_by_the_attention_to_each_of_its_scans(tmp_path):
    generate(tmp_path, classes=("ring", "rod"), size=112, train=1, validation=2, test_good=1, workers=1, progress=False)
    options = {"scan_anomalies": "shaded", "anomaly_place": "attention", "anomaly_radius": (0.1, 0.2)}
    data = ZeroShotDataModule(
        str(tmp_path), ["ring"], image_size=112, num_workers=0, fpfh=False, pseudo_scan_classes="training", **options
    )
    data.setup("fit")
    scans = data.pseudo_scan_dataloader().dataset
    assert {record.key for record in data.pseudo_records} <= set(data.pool.masks)
    for side in (slice(None, 56), slice(56, None)):  # as if the CNN attended to one half of the picture
        for record in data.pseudo_records:
            data.pool.masks[record.key] = torch.zeros(112, 112, dtype=torch.half)
            data.pool.masks[record.key][side] = 1.0
        for index in (1, 2, 4, 5):  # 0 and 3 are the scans as they are
            rows = scans[index].mask[0].nonzero()[:, 0].float()
            assert len(rows) and side.indices(112)[0] - 4 < rows.median() < side.indices(112)[1] + 4


# what a change hides -------------------------------------------------------------------------------------------------


def hidden_by_ray_casting(away: np.ndarray, towards: tuple[int, int], slope: float, pitch: float) -> np.ndarray:
    """Every pixel's ray against every stretch of the surface beyond it, which is straight from pixel to pixel."""
    lines = away if towards[1] else away.T
    lines = lines if sum(towards) > 0 else lines[:, ::-1]
    hidden = np.zeros(lines.shape, dtype=bool)
    for i, height in enumerate(-lines):
        height = np.pad(height, (0, 200))  # level on and on, so that every ray comes out in the end
        for x in range(lines.shape[1]):
            above = (height[x:] - height[x] - slope * pitch * np.arange(len(height) - x))[1:]
            hidden[i, x] = ((above[:-1] > 0) & (above[1:] <= 0)).any()  # there the ray crosses the surface
    hidden = hidden if sum(towards) > 0 else hidden[:, ::-1]
    return hidden if towards[1] else hidden.T


@pytest.mark.parametrize("towards", [(0, 1), (0, -1), (1, 0), (-1, 0)])
@pytest.mark.parametrize("slope", [0.3, 1.0, 4.0])
def test_what_a_change_hides_is_what_ray_casting_finds(towards, slope):
    from scipy import ndimage

    rng, pitch = np.random.default_rng(0), 4e-4
    away = np.zeros((48, 60))
    away[10:-10, 10:-10] = ndimage.gaussian_filter(rng.normal(size=(28, 40)), 2) * 0.02  # bumps and dents
    expected = hidden_by_ray_casting(away, towards, slope, pitch)
    got = hidden_behind(away, towards=np.array(towards, dtype=float), slope=slope, pitch=pitch)
    assert expected.any() and np.array_equal(got, expected)


@pytest.mark.parametrize("degrees", [0, 30, 75, 160, 250])
def test_a_pillar_hides_the_ground_that_geometry_says(degrees):
    """The ground is hidden where its ray enters the pillar below the pillar's top: a disc moved along by its shadow."""
    radius, pitch, slope, height = 12, 1e-3, 0.5, 0.015
    rows, columns = np.indices((120, 120)) - 60
    pillar = np.hypot(rows, columns) < radius
    towards = np.array([np.sin(np.radians(degrees)), np.cos(np.radians(degrees))])
    along, across = rows * towards[0] + columns * towards[1], rows * towards[1] - columns * towards[0]

    def shadow(grown: float) -> np.ndarray:
        """The places from which a disc, greater by `grown` pixels, is met within the length of the shadow."""
        moved = np.clip(-along, 0, height / slope / pitch + grown)
        return (np.hypot(along + moved, across) < radius + grown) & ~pillar

    got = hidden_behind(np.where(pillar, -height, 0.0), towards=towards, slope=slope, pitch=pitch)
    assert not (got & pillar).any()
    assert not (got & ~shadow(1.5)).any()  # pixels are whole: a pixel at the rim may go either way
    assert not (shadow(-1.5) & ~got).any() and got.sum() > 500


def test_nothing_is_hidden_where_nothing_changed_or_by_what_has_sunk():
    dent = np.zeros((40, 40))
    options = {"towards": np.array([0.0, 1.0]), "slope": 0.5, "pitch": 1e-3}
    assert not hidden_behind(dent, **options).any()
    dent[15:25, 15:25] = 0.004
    hidden = hidden_behind(dent, **options)
    assert hidden.any() and not (hidden & (dent == 0)).any()  # the wall of a dent hides its own ground alone
    assert hidden[15:25, 18:25].all() and not hidden[15:25, :17].any()
