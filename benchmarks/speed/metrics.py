"""Stages of the metrics: AUPRO and pixel AUROC."""

from torch import Tensor

from benchmarks.reference import metrics as reference
from benchmarks.speed.data import anomaly_maps
from benchmarks.speed.harness import Case, Size, Stage
from threedzal.metrics import aupro
from threedzal.metrics.aupro import rank_regions, split_pixels
from threedzal.metrics.ranking import area, auroc, curve, rank, sorted_scores

LIMIT = 0.3


def _work(maps: Tensor) -> str:
    return f"{len(maps)} maps of {maps.shape[1]} x {maps.shape[2]}"


def _agree(slow: tuple[float, ...], fast: tuple[float, ...]) -> str:
    error = max(abs(a - b) for a, b in zip(slow, fast, strict=True))
    assert error < 1e-6, error
    return f"difference {error:.0e}"


def both(size: Size) -> Case:
    """As a test run has them: what both need is found once."""
    maps, truth = anomaly_maps(100 if size == "full" else 5, 224)

    def fast() -> tuple[float, float]:
        normal, defective, sizes = split_pixels(maps, truth)
        normal = sorted_scores(normal)
        pro = curve(rank_regions(normal, defective, sizes))
        return float(area(*pro, limit=LIMIT)), float(auroc(rank(normal, defective)))

    def slow() -> tuple[float, float]:
        arrays = maps.numpy(), truth.numpy()
        return reference.aupro(*arrays, max_fpr=LIMIT), reference.pixel_auroc(*arrays)

    return Case(work=_work(maps), reference=slow, fast=fast, agree=_agree, traffic=maps.nbytes + truth.nbytes)


def alone(size: Size) -> Case:
    maps, truth = anomaly_maps(*((100, 800) if size == "full" else (2, 400)))
    return Case(
        work=_work(maps),
        reference=lambda: (reference.aupro(maps.numpy(), truth.numpy(), max_fpr=LIMIT),),
        fast=lambda: (float(aupro(maps, truth, LIMIT)),),
        agree=_agree,
        traffic=maps.nbytes + truth.nbytes,
        repeats=1,
    )


STAGES = [
    Stage("AUPRO and pixel AUROC", both, ratio=20),
    Stage("AUPRO alone", alone, ratio=4),
]
