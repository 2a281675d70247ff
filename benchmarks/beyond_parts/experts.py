"""The experts of `beyond.py`: what a row of its table is, how its classifiers learn, and what they say of scans."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from beyond_parts.scans import CLOUDS, SHIFTS, Maker
from torch import Tensor, nn

from threedzal.data.generated.products import PREFIX
from threedzal.data.index import list_classes
from threedzal.experts import balanced_loss, chosen_patches, make_classifier
from threedzal.features.instance import instance_normalise
from threedzal.features.pointnet2 import PointNet2
from threedzal.losses import contrastive_loss
from threedzal.progress import track

PICTURE = ("rgb", "rgb_similarity", "rgb_symmetry")
SURFACE = ("normals", "normals_similarity", "normals_symmetry")
RAW = ("raw",)
CLOUD_NORMALS = 100  # normal patches of a scan that a step of E_theta sees: each takes a millisecond of a CPU


@dataclass(frozen=True)
class Row:
    """A line of the table: a method, and how its maps are made."""

    experts: tuple[tuple[str, ...], ...] = (PICTURE, SURFACE)
    score_experts: tuple[tuple[str, ...], ...] = ()
    mixture: str = "calm"
    scale: str = "448, 56 x 56"
    anomalies: str = "fitted"
    visits: int = 4  # of a training scan, each with other pseudo anomalies
    products: bool = False  # learned from, too
    kinds: tuple[str, ...] = ("adding", "removing")
    hard: float = 0.25
    w_con: float = 0.0
    overlap: bool = False
    cells: str = "excess"
    blur: float = 2.0


class HalfDropout(nn.Module):
    """Dropout of a half by single random bits: on a CPU PyTorch's takes longer than all the products of a step."""

    def forward(self, values: Tensor) -> Tensor:
        if not self.training:
            return values
        bits = torch.empty(-(-values.numel() // 8), dtype=torch.int64).random_().view(torch.uint8) & 1
        return values * (2 * bits[: values.numel()].view_as(values))


class Expert(nn.Module):
    """A classifier of patches on some of their views; `CLOUDS` are seen through E_theta, which learns with it.

    In the package E_theta learns with all experts at once. The others share nothing with its own, so that learning it
    apart is the same.
    """

    def __init__(self, scan: dict[str, Any], names: tuple[str, ...], *, dropout: float) -> None:
        super().__init__()
        self.frozen, self.clouds = [n for n in names if n not in CLOUDS], [n for n in names if n in CLOUDS]
        self.encoders = nn.ModuleDict({name: PointNet2(outputs=32, width=0.25) for name in self.clouds})
        width = sum(scan["views"][name].shape[1] for name in self.frozen) + 32 * len(self.clouds)
        self.classifier = make_classifier(width, hidden=128, dropout=0.5, input_dropout=dropout)
        for i, layer in enumerate(self.classifier):
            if isinstance(layer, nn.Dropout) and layer.p == 0.5:
                self.classifier[i] = HalfDropout()

    def forward(self, scan: dict[str, Any], shown: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log-odds of the patches `shown` (n,) bool; E_theta of those with points (m,32), and which these are."""
        parts = [scan["views"][name][shown].float() for name in self.frozen]
        embeddings, measured = torch.zeros(0, 32), torch.zeros(int(shown.sum()), dtype=torch.bool)
        for name, encoder in self.encoders.items():
            measured = scan["measured"][shown]
            embeddings = encoder(scan[name][shown[scan["measured"]]].float())
            whole = embeddings.new_zeros(len(measured), 32).index_put((measured,), embeddings)
            parts.append(instance_normalise(whole[None], measured[None])[0])
        return self.classifier(torch.cat(parts, dim=1))[:, 0], embeddings, measured


def learn(
    scans: list[dict[str, Any]], names: tuple[str, ...], row: Row, *, seed: int, epochs: int, dropout: float
) -> Expert:
    """An expert: AdamW, cosine, two scans a step, as `ThreeDZALPlus` learns."""
    torch.manual_seed(seed)
    expert = Expert(scans[0], names, dropout=dropout)
    order = np.concatenate([np.random.default_rng([seed, e]).permutation(len(scans)) for e in range(epochs)])
    optimizer = torch.optim.AdamW(expert.parameters(), lr=1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=len(order) // 2)
    normals = CLOUD_NORMALS if expert.clouds else 2000
    for pair in order[: len(order) // 2 * 2].reshape(-1, 2):
        optimizer.zero_grad()
        logits, truths, contrast = [], [], []
        for scan in (scans[i] for i in pair):
            abnormal = scan["abnormal"]
            shown = chosen_patches(abnormal[None], scan["decided"][None], normals=normals)[0]
            odds, embeddings, measured = expert(scan, shown)
            logits.append(odds)
            truths.append(abnormal[shown])
            contrast.append((embeddings, abnormal[shown][measured]))
        loss = balanced_loss(torch.cat(logits), torch.cat(truths), hard=row.hard)
        if row.w_con and expert.clouds:
            embeddings, abnormal = (torch.cat(parts) for parts in zip(*contrast, strict=True))
            loss = loss + row.w_con * contrastive_loss(embeddings, abnormal)
        loss.backward()
        optimizer.step()
        schedule.step()
    return expert.eval()


@dataclass
class Experts:
    """Log-odds of every expert on every scan that it did not learn from, once."""

    maker: Maker
    folds: int
    epochs: int
    dropout: float
    where: tuple[str, ...]

    def tests(self, fold: list[str], row: Row) -> list[str]:
        """What the experts of a fold judge: `real`, or all other kinds of scans of the classes left out."""
        places = [place for place in ("built-in", "pseudo", "fresh", "last") if place in self.where]
        there = {place: list_classes(self.maker.roots.get(place, self.maker.root)) for place in places}  # some, or all
        tests = [f"{place}|{name}" for name in fold for place in places if name in there[place]]
        tests = fold if fold == ["real"] else tests
        moves = [f"@{down},{right}" for down, right in SHIFTS[1:]] if row.overlap else []
        return [test + move for test in tests for move in ("", *moves)]

    def log_odds(self, names: tuple[str, ...], row: Row, seed: int) -> dict[str, Tensor]:
        """{test: (B,P)}, -20 outside the object."""
        classes = list_classes(self.maker.root)
        folds = [["real"]] if "real" in self.where else []
        folds += [classes[i :: self.folds] for i in range(self.folds)] if set(self.where) - {"real"} else []
        anomalies = row.anomalies if row.visits == 4 else f"{row.anomalies}, {row.visits} visits"
        anomalies += ", products" if row.products else ""
        how = f"{'+'.join(names)}-{row.scale}-{anomalies}-{'+'.join(row.kinds)}-{row.hard}"
        how += f"-{row.w_con}" if set(names) & set(CLOUDS) else ""
        odds, training = {}, None
        for fold in track(folds, "+".join(names)):
            for test in self.tests(fold, row):
                of = "" if fold == ["real"] else f"-{self.folds}"
                path = self.maker.cache / "log_odds" / f"{how}{of}-{seed}" / f"{test.replace('|', '-')}.pt"
                if not path.is_file():
                    training = training or self._training(names, row)
                    self._learn(training, fold, names, row, seed, path.parent)
                odds[test] = torch.load(path, weights_only=True)
        return odds

    def _training(self, names: tuple[str, ...], row: Row) -> list[dict[str, Any]]:
        scans = []
        more = list_classes(self.maker.roots["products"]) if row.products else []
        for name in (*list_classes(self.maker.root), *(name for name in more if name.startswith(PREFIX))):
            scans += self._seen(names, self.maker.training, name, row.scale, row.anomalies, row.visits)
        return [scan for scan in scans if scan["defect"] in row.kinds]

    def _seen(self, names: tuple[str, ...], look, *which) -> list[dict[str, Any]]:
        scans = look(*which)
        for more, needed in (("points", set(names) & set(CLOUDS)), ("fpfh", "fpfh" in names)):
            for scan, extra in zip(scans, look(*which, more=more), strict=True) if needed else ():
                scan["views"] |= extra.pop("views", {})
                scan |= extra
        for scan in scans:
            scan["views"] = {name: view for name, view in scan["views"].items() if name in names}
        return scans

    def _learn(self, training: list, fold: list[str], names: tuple[str, ...], row: Row, seed: int, out: Path) -> None:
        mine = [scan for scan in training if not {scan["class"], scan["donor"]} & set(fold)]
        own = zlib.crc32("+".join(names).encode())  # experts of one method start apart
        expert = learn(mine, names, row, seed=seed + own, epochs=self.epochs, dropout=self.dropout)
        for test in self.tests(fold, row):
            path = out / f"{test.replace('|', '-')}.pt"
            if path.is_file():
                continue
            scans = self._seen(names, self.maker.judged, test, row.scale)
            values = torch.full((len(scans), len(scans[0]["cells"])), -20.0)
            with torch.no_grad():
                for i, scan in enumerate(scans):
                    values[i, scan["cells"]] = expert(scan, torch.ones(int(scan["cells"].sum())).bool())[0]
            out.mkdir(parents=True, exist_ok=True)
            torch.save(values, path)
