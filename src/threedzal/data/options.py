"""Every option of the data, and what follows from the options alone, before a file is looked at."""

from __future__ import annotations

from typing import Literal

from lightning import LightningDataModule

from threedzal.data.datasets import PatchOptions, ScanAnomalies
from threedzal.data.scan import ScanPreparation
from threedzal.data.scan_anomalies import AnomalySize
from threedzal.data.selection import Classes
from threedzal.features.cache import ArrayCache


class DataOptions(LightningDataModule):
    """What a user may say about the data; `ZeroShotDataModule` does it.

    Args:
        root: A data set in the layout of MVTec 3D-AD or Eyecandies, or CLASS folders of good scans (docs/own_scans.md).
        train_classes: Classes whose good scans are learned and stored in the memory bank.
        test_classes: Classes to find defects on, never seen before.
        auxiliary_classes: The task-irrelevant classes of section 3.2. None: all the rest of `root`. A method that
            learns from no pseudo anomalies needs none: its threshold is then the largest score of a validation scan.
        protocol: `zero_shot` forbids a class on both sides; `in_class` is the classical setting (train and test on
            the same class), which the baselines' published numbers are about.
        background: `remove` the table (plane and largest cluster), or `keep` it.
        image_size: Side of the network's input in pixels.
        rgb_size: Side of the picture that the RGB branch sees; None: image_size. Twice that shows it finer patches.
        fpfh_size: FPFH is computed on the points at the scan's own size, but no finer than this; None: image_size.
        patch_size: Side of a patch in pixels.
        points_per_patch: K, the points of a patch.
        min_valid_points: A cell with fewer measured pixels is background.
        pad_to_square: Zero-pad a non-square scan before the resize; False stretches it.
        nearest: Which point of the scan a resized pixel takes: at its `centre`, or at its upper left `corner`.
        smoothing: The 3x3 average of a branch's maps: `padded`, or as BTF's released code has it, `unpadded`.
        patch_source: `neighbours` cuts every patch as the nearest points of an anchor; `grid` is the paper's letter.
        patch_scale: Divide a patch by its own radius (`unit`), the scan's median radius (`scan`), or a constant length.
        normals: `oriented` towards the camera, or `raw` as BTF has them.
        fpfh: Compute FPFH (a method without that branch saves the time).
        fpfh_backend: `torch`, or the reference in `open3d`.
        fpfh_radius: Search radius of FPFH in metres.
        fpfh_neighbours: Most neighbours of FPFH.
        batch_size: Scans a step.
        positives_per_scan: Normal patches drawn from a scan at a visit.
        negatives_per_positive: Pseudo anomalies for each of them.
        visits: How often an epoch visits each scan.
        pseudo_anomalies: Which kinds (Table 4).
        training: Train on `patches`, as in the paper, on whole `scans` with pseudo anomalies in them, on whole
            `good_scans` as they are, or on `simulated` depth and pictures, for which no data set is needed.
        simulated_samples: Pairs of simulated depth and a picture in an epoch.
        pictures: Folder of the pictures beside simulated depth, any natural ones; None: procedural textures.
        textures: The procedural ones: `natural`, or `levelled` as 3DSR sees scans with `model.levelled`.
        scan_anomalies: What is done to a whole scan: `relief` moves points and tints them; `shaded` changes points and
            picture together (bumps, foreign bodies, pasted pieces, stains; dents, holes, cuts, scrapes).
        regions_per_scan: Most pseudo anomalies in a training scan (`training: scans`).
        anomaly_place: Where in a scan (`shaded`): likelier where the random CNN attends (`attention`), or `anywhere`.
        anomaly_radius: Radius of a region (`shaded`), evenly in the logarithm between two numbers of `anomaly_unit`.
        anomaly_unit: The paper's `patches`, 8 pixels of 224 wide, or `millimetres`.
        anomaly_relief: Millimetres that bumps rise and dents sink (`shaded`).
        scan_variation: Training scans as they might have been, too (`training: scans`): some of `pose` (turned,
            mirrored), `light` (exposure, contrast, tint, sharpness) and `sensor` (noise, missing points).
        scan_fittings: Most regular features that a training scan gets and that are normal (`training: scans`): bosses,
            recesses, bands, print, so that what a part has once is not taken for a defect.
        removal: `hole` takes a contiguous hole out of a neighbourhood, `random` points at random.
        interest: `local` takes the points around one of the top pixels, `global` the top pixels themselves.
        interest_draws: Sets of points of interest drawn for a visit.
        tau: Share of the pixels that are points of interest.
        jitter: Rotate and scale attached points.
        cnn_init: Weights of the CNN that attends (Table 5).
        cnn_weights: A local file for `cnn_init: imagenet` where there is no network.
        auxiliary_normals: Draw normal patches from those scans too, so that C_w learns what is normal on more than one
            product; the paper draws them from the training classes alone.
        auxiliary_scans_per_class: Cap on the task-irrelevant scans that points of interest are taken from; None: all.
        pseudo_scans: Validation scans that are shown whole, as they are and with each kind of pseudo anomaly, to choose
            weights and thresholds without a defect.
        pseudo_scan_classes: Whose validation scans those are: `auxiliary` (a class the bank does not know, as the test
            class will be) or `training`.
        num_workers: Worker processes of each loader.
        cache_dir: Where masks and descriptors of scans are kept between runs (docs/protocol.md); None: nowhere.
        cache_rgb: Keep what the frozen image network says of a scan there, too: 4.8 MB a scan in the paper's setting.
        cache_gigabytes: What the folder may grow to, about; what was not used for longest goes. None: no limit.
        predict_path: A scan, a folder of scans or a data set for `predict`.
        units: Of the lengths in files that do not say it: `m`, `mm`, or how many metres one unit is. `auto`: metres in
            a TIFF of points, as in MVTec 3D-AD; in other formats a guess between m and mm, with a warning.
        camera: Intrinsics of depth images: a file (JSON of MVTec 3D-AD, Open3D, RealSense, or fx fy cx cy), or the four
            numbers. None: looked for beside the scans. Given, unorganised clouds are seen through it too.
        seed: Of everything that is drawn.
    """

    def __init__(
        self,
        root: str | None = None,
        train_classes: list[str] | str | None = None,
        test_classes: list[str] | str | None = None,
        auxiliary_classes: list[str] | None = None,
        protocol: Literal["zero_shot", "in_class"] = "zero_shot",
        background: Literal["remove", "keep"] = "remove",
        image_size: int = 224,
        rgb_size: int | None = None,
        fpfh_size: int | None = None,
        patch_size: int = 8,
        points_per_patch: int = 64,
        min_valid_points: int = 16,
        pad_to_square: bool = True,
        nearest: Literal["centre", "corner"] = "centre",
        smoothing: Literal["padded", "unpadded"] = "padded",
        patch_source: Literal["neighbours", "grid"] = "neighbours",
        patch_scale: Literal["unit", "scan", "metric"] = "unit",
        normals: Literal["oriented", "raw"] = "oriented",
        fpfh: bool = True,
        fpfh_backend: Literal["torch", "open3d"] = "torch",
        fpfh_radius: float = 0.25,
        fpfh_neighbours: int = 100,
        batch_size: int = 4,
        positives_per_scan: int = 32,
        negatives_per_positive: int = 16,
        visits: int = 1,
        pseudo_anomalies: tuple[Literal["adding", "removing"], ...] = ("adding", "removing"),
        training: Literal["patches", "scans", "good_scans", "simulated"] = "patches",
        simulated_samples: int = 64000,
        pictures: str | None = None,
        textures: Literal["natural", "levelled"] = "natural",
        scan_anomalies: Literal["relief", "shaded"] = "relief",
        regions_per_scan: int = 3,
        anomaly_place: Literal["attention", "anywhere"] = "anywhere",
        anomaly_radius: tuple[float, float] = (0.5, 1.75),
        anomaly_unit: Literal["patches", "millimetres"] = "patches",
        anomaly_relief: tuple[float, float] = (1.0, 5.0),
        scan_variation: tuple[Literal["pose", "light", "sensor"], ...] = (),
        scan_fittings: int = 0,
        removal: Literal["hole", "random"] = "hole",
        interest: Literal["local", "global"] = "local",
        interest_draws: int = 8,
        tau: float = 0.001,
        jitter: bool = True,
        cnn_init: Literal["he", "imagenet"] = "he",
        cnn_weights: str | None = None,
        auxiliary_normals: bool = False,
        auxiliary_scans_per_class: int | None = 16,
        pseudo_scans: int = 12,
        pseudo_scan_classes: Literal["auxiliary", "training"] = "auxiliary",
        num_workers: int = 2,
        cache_dir: str | None = None,
        cache_rgb: bool = True,
        cache_gigabytes: float | None = 50.0,
        predict_path: str | None = None,
        units: Literal["auto", "m", "mm"] | float = "auto",
        camera: str | list[float] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.classes = Classes(_as_list(train_classes), _as_list(test_classes), auxiliary_classes, protocol)
        self.preparation = ScanPreparation.of(self.hparams)
        self.patch_options = PatchOptions(
            positives_per_scan=positives_per_scan,
            negatives_per_positive=negatives_per_positive,
            kinds=tuple(pseudo_anomalies),
            removal=removal,
            jitter=jitter,
            interest_draws=interest_draws,
        )
        self.scan_anomalies = ScanAnomalies(
            style=scan_anomalies,
            kinds=tuple(pseudo_anomalies),
            regions=regions_per_scan,
            size=AnomalySize(tuple(anomaly_radius), anomaly_unit, tuple(anomaly_relief)),
            place=anomaly_place,
            variation=tuple(scan_variation),
            fittings=scan_fittings,
        )
        self.cache = ArrayCache(cache_dir, limit=None if cache_gigabytes is None else 1e9 * cache_gigabytes)
        self.rgb_cache = self.cache if cache_rgb else ArrayCache(None)


def _as_list(classes: list[str] | str | None) -> list[str]:
    if classes is None:
        return []
    return [classes] if isinstance(classes, str) else list(classes)
