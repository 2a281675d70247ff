"""A training step at the paper's ratio of 16:1: patches a CPU second, and the share of time that loading takes.

    threedzal data generate data/training --classes ring,cone,bumpy_disc --size 400 --train 6 --validation 2
    python -m benchmarks.training data/training

Both networks at full width, eqs. (1) to (3), Adam's step; the patches of one visit to a scan (32 normal ones and 512
pseudo anomalies). A port's PointNet++ stands beside them. CPU seconds, one thread; loading in the same process.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from benchmarks.reference.pointnet2 import ReferencePointNet2
from threedzal.data.datamodule import ZeroShotDataModule
from threedzal.data.pseudo_anomalies import NORMAL, PatchBatch
from threedzal.features.pointnet2 import LEVELS, PointNet2
from threedzal.losses import contrastive_loss, disentanglement_loss, normalcy_loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    patches = training_patches(options.data)
    visits = len(patches.scans)
    first = cpu_seconds(lambda index: patches[(0, index)], visits)
    later = cpu_seconds(lambda index: patches[(1, index)], visits)
    batch = patches[(1, 0)]
    print(f"{len(batch.kind)} patches a visit; loading takes {1000 * first:.0f} ms first, {1000 * later:.0f} later")
    networks = PointNet2(outputs=32), PointNet2(outputs=2)
    ported = tuple(ReferencePointNet2(network, LEVELS) for network in networks)
    print("| networks | CPU seconds a step | patches a CPU second | share of loading |\n|---|---|---|---|")
    for name, pair, reduced in (
        ("a port's PointNet++, float32", ported, False),
        ("float32", networks, False),
        ("bfloat16 autocast", networks, True),
    ):
        step = training_step(pair, batch, reduced=reduced)
        seconds = cpu_seconds(lambda index, step=step: step(), options.steps)
        print(
            f"| {name} | {seconds:.1f} | {len(batch.kind) / seconds:.0f} | {later / (later + seconds):.1%} |",
            flush=True,
        )


def training_patches(root: Path):
    """The data set that `fit` draws its patches from; its points of interest are found here."""
    data = ZeroShotDataModule(
        str(root), train_classes=["bumpy_disc"], test_classes=["ring"], num_workers=0, batch_size=1
    )
    data.setup("fit")
    return data.train_dataloader().dataset


def training_step(networks: tuple[nn.Module, nn.Module], batch: PatchBatch, *, reduced: bool) -> Callable[[], None]:
    """One step of E_theta and C_w; the networks in bfloat16 where `reduced`."""
    encoder, classifier = (network.train() for network in networks)
    optimizer = torch.optim.Adam([p for network in networks for p in network.parameters()])
    abnormal = batch.kind != NORMAL

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=reduced):
            embeddings, logits = encoder(batch.points).float(), classifier(batch.points).float()
        loss = contrastive_loss(embeddings, abnormal, temperature=0.07) + normalcy_loss(logits, abnormal)
        loss = loss + 100 * disentanglement_loss(embeddings[~abnormal], batch.fpfh[~abnormal])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def cpu_seconds(work: Callable[[int], object], times: int) -> float:
    """CPU seconds of one of `times` calls, which get 0, 1, ..."""
    start = time.process_time()
    for index in range(times):
        work(index)
    return (time.process_time() - start) / times


if __name__ == "__main__":
    main()
