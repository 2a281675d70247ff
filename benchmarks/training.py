"""A training step at the paper's ratio of 16:1: patches a CPU second, and the share of time that loading takes.

    threedzal data generate data/training --classes ring,cone,bumpy_disc --size 400 --train 6 --validation 2
    python -m benchmarks.training data/training            # a step's parts, and the networks changed in several ways
    python -m benchmarks.training data/training --fit      # Lightning's whole loop, with worker processes and without

Both networks at full width, eqs. (1) to (3), Adam's step; the patches of one visit to a scan (32 normal ones and 512
pseudo anomalies; fewer with --positives). A port's PointNet++ stands beside them. CPU seconds, one thread a process.
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from lightning import Trainer
from lightning.pytorch.profilers import Profiler
from torch import nn

from benchmarks.reference.pointnet2 import ReferencePointNet2
from threedzal.data.datamodule import ZeroShotDataModule
from threedzal.data.pseudo_anomalies import NORMAL, PatchBatch
from threedzal.features.pointnet2 import LEVELS, PointNet2
from threedzal.losses import contrastive_loss, disentanglement_loss, normalcy_loss
from threedzal.model import ThreeDZAL


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--positives", type=int, default=32, help="normal patches of a visit")
    parser.add_argument("--fit", action="store_true", help="measure Lightning's loop instead")
    parser.add_argument("--compile", action="store_true", help="torch.compile, too: minutes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    (fits if options.fit else parts)(options)


def parts(options: argparse.Namespace) -> None:
    """Loading and the step, each alone."""
    patches = training_patches(options.data, options.positives)
    visits = len(patches.scans)
    first = cpu_seconds(lambda index: patches[(0, index)], visits)
    later = cpu_seconds(lambda index: patches[(1, index)], visits)
    batch = patches[(1, 0)]
    print(f"{len(batch.kind)} patches a visit; loading takes {1000 * first:.0f} ms first, {1000 * later:.0f} later")
    networks = PointNet2(outputs=32), PointNet2(outputs=2)
    ported = tuple(ReferencePointNet2(network, LEVELS) for network in networks)
    print("| networks | CPU seconds a step | patches a CPU second | share of loading |\n|---|---|---|---|")
    ways = [
        ("a port's PointNet++, float32", ported, False),
        ("float32", networks, False),
        ("bfloat16 autocast", networks, True),
    ]
    if options.compile:
        ways.append(("float32, torch.compile", tuple(torch.compile(network) for network in networks), False))
    for name, pair, reduced in ways:
        step = training_step(pair, batch, reduced=reduced)
        first = cpu_seconds(lambda index, step=step: step(), 1)
        if options.compile:
            print(f"{name}: its first step {first:.1f}")
        seconds = cpu_seconds(lambda index, step=step: step(), options.steps)
        print(
            f"| {name} | {seconds:.1f} | {len(batch.kind) / seconds:.0f} | {later / (later + seconds):.1%} |",
            flush=True,
        )


def training_patches(root: Path, positives: int):
    """The data set that `fit` draws its patches from; its points of interest are found here."""
    data = data_module(root, positives_per_scan=positives, num_workers=0)
    data.setup("fit")
    return data.train_dataloader().dataset


def data_module(root: Path, **options) -> ZeroShotDataModule:
    classes = {"train_classes": ["bumpy_disc"], "test_classes": ["ring"]}
    return ZeroShotDataModule(str(root), **classes, batch_size=1, **options)


class Watch(Profiler):
    """(seconds by the clock, CPU seconds of this process) of each action of the trainer, one after another."""

    def __init__(self) -> None:
        super().__init__()
        self.spent: dict[str, list[tuple[float, float]]] = {}
        self._begun: dict[str, tuple[float, float]] = {}

    def start(self, action_name: str) -> None:
        self._begun[action_name] = time.perf_counter(), time.process_time()

    def stop(self, action_name: str) -> None:
        clock, cpu = self._begun[action_name]
        now = time.perf_counter() - clock, time.process_time() - cpu
        self.spent.setdefault(action_name, []).append(now)


def fits(options: argparse.Namespace) -> None:
    """Two epochs of a fit: scans are read and prepared in the first, their points are in memory in the second."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    print("CPU seconds of the process that trains; waiting for patches, share of the time by the clock:\n")
    print("| precision | workers | patches a CPU second | waiting, 1st epoch | 2nd |\n|---|---|---|---|---|")
    for precision, workers in (("32-true", 0), ("32-true", 2), ("bf16-mixed", 0), ("bf16-mixed", 1), ("bf16-mixed", 2)):
        data = data_module(options.data, positives_per_scan=options.positives, num_workers=workers)
        watch = Watch()
        trainer = Trainer(
            accelerator="cpu", precision=precision, max_epochs=2, limit_train_batches=options.steps, profiler=watch,
            limit_val_batches=0, logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, use_distributed_sampler=False,
        )  # fmt: skip
        model = ThreeDZAL(backbone="resnet18", rgb_weights="random")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Lightning's advice on the number of workers
            trainer.fit(model, datamodule=data)
        waits = watch.spent["[_TrainingEpochLoop].train_dataloader_next"]
        steps = watch.spent["run_training_batch"]
        shares = []
        for epoch in (0, 1):
            some = slice(epoch * options.steps, (epoch + 1) * options.steps)
            waited, stepped = (sum(clock for clock, _ in spent[some]) for spent in (waits, steps))
            shares.append(f"{waited / (waited + stepped):.1%}")
        patches = len(steps) * options.positives * (1 + data.hparams.negatives_per_positive)
        rate = patches / sum(cpu for _, cpu in (*waits, *steps))
        print(f"| {precision} | {workers} | {rate:.0f} | {' | '.join(shares)} |", flush=True)


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
