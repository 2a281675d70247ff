"""Collects the scans of a test or predict run and lets each class judge itself; see `threedzal.batch`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from threedzal.batch import BatchOptions, BatchReference
from threedzal.batch.expectation import duplicate_sentences, few_scans_sentence
from threedzal.batch.fusion import Scale, blend, excess
from threedzal.batch.image_score import top_score
from threedzal.batch.reference import BatchJudgement
from threedzal.batch.state import absorbed, method_signature, read_state, scan_key, write_state
from threedzal.data.scan import Scan, ScanPreparation, ScanRecord
from threedzal.detector import ScanScores, require_pictures
from threedzal.distributed import gather_objects, gather_rows, process_rank
from threedzal.errors import UserError
from threedzal.maps import foreground_map, realign
from threedzal.module import PatchModule

AT_ONCE = 16  # maps held as a tensor
PIXELS = 2000  # of a scan, at most, that are looked at to scale two kinds of maps to each other


@dataclass
class BatchScan:
    """A scan that its batch has judged: maps (H,W) float32 and scores by name, `batch`, `both` where there is a bank,
    `foreground`; mask and object (H,W) bool."""

    record: ScanRecord
    maps: dict[str, Tensor]
    scores: dict[str, float]
    mask: Tensor
    object: Tensor
    size: tuple[int, int]


@dataclass
class _Seen:
    """What is remembered of a scan until its batch is whole."""

    record: ScanRecord
    mask: Tensor  # (H,W) bool
    object: Tensor  # (H,W) bool
    cells: Tensor  # (P,) bool
    size: tuple[int, int]
    trained: Tensor | None  # (H,W) float16, the fused map of the training bank


class BatchJudge:
    """Each class's scans as one batch, over all processes.

    Args:
        classes: Names of the classes that may come, the same in every process.
        options: How a batch judges itself.
        score: A scan's score from its map: the mean of its `top` pixels, or the `max`.
        blur: Sigma of the maps, in pixels.
        state: File of the scans seen in earlier calls (streaming); None: this call's scans alone.
        state_rows: Most patches that the file holds.
    """

    def __init__(
        self,
        method: PatchModule,
        preparation: ScanPreparation,
        *,
        classes: Sequence[str],
        options: BatchOptions,
        score: Literal["top", "max"] = "top",
        blur: float = 2.0,
        state: str | None = None,
        state_rows: int = 20000,
    ) -> None:
        self.method, self.options, self.score, self.blur = method, options, score, blur
        self.state, self.state_rows = state, state_rows
        self.signature = method_signature(method, preparation) if state else ""
        self.classes = sorted(classes)
        if state and len(self.classes) > 1:
            raise UserError(
                f"{state}: a state is of one kind of part, but these scans are of {len(self.classes)} "
                f"({', '.join(self.classes)}): give them one folder at a time, each with a state of its own"
            )
        self.notes: list[str] = []  # what was said of the batches
        self._batches: dict[str, BatchReference] = {}
        self._seen: dict[str, list[_Seen]] = {name: [] for name in self.classes}
        self._widths: dict[str, int] = {}

    def add(self, scan: Scan, features: Tensor, trained: ScanScores | None = None) -> None:
        """Give prepared scans with their features (B,P,D), and the training bank's scores where both are wanted."""
        require_pictures(self.method, scan.record)
        self._widths = self.method.branch_widths or {"features": features.shape[2]}
        for i, record in enumerate(scan.record):
            batch = self._batch(record.class_name)
            key = scan_key(record.key, record.xyz) if self.state else record.key
            batch.add(features[i], scan.cells[i], key=key)
            self._seen[record.class_name].append(
                _Seen(
                    record=record,
                    mask=scan.mask[i, 0].cpu(),
                    object=scan.object[i].cpu(),
                    cells=scan.cells[i].cpu(),
                    size=tuple(scan.size[i].tolist()),
                    trained=None if trained is None else trained.maps["fused"][i].half().cpu(),
                )
            )

    def judged(self) -> Iterator[BatchScan]:
        """This process's scans, class by class; every process must go through to the end."""
        self._widths = next(filter(None, gather_objects([self._widths])), {})
        for name in self.classes:
            if any(gather_objects([bool(self._seen[name])])):
                batch = self._batch(name)
                judgement = batch.judge()
                for sentence in self._sentences(name, judgement):
                    self.notes.append(sentence)
                    rank_zero_info(sentence)
                yield from self._scored(self._seen[name], judgement)
                self._keep(batch)
                del self._batches[name]
                self._seen[name] = []

    def _batch(self, name: str) -> BatchReference:
        if name not in self._batches:
            width = sum(self._widths.values())
            history = read_state(self.state, width=width, signature=self.signature) if self.state else None
            self._batches[name] = BatchReference(self._widths, self.options, device=self.method.device, history=history)
        return self._batches[name]

    def _sentences(self, name: str, judgement: BatchJudgement) -> list[str]:
        sentences = duplicate_sentences(name, judgement.duplicates)
        if len(judgement.references) == 1:
            sentences.append(
                f"{name}: the first scan has nothing to be compared with, so that its map and its score are 0; give it "
                "again when the state holds others"
            )
        elif few := few_scans_sentence(name, len(judgement.references)):
            sentences.append(few)
        if judgement.recall is not None:
            found = gather_objects([judgement.recall])
            sentences.append(
                f"{name}: batch_index {self.options.index} found the true nearest for {min(found):.1%} of patches"
            )
        return sentences

    def _keep(self, batch: BatchReference) -> None:
        if self.state and process_rank() == 0:
            rows = absorbed(batch.history, batch.everyone, widths=self._widths, most=self.state_rows)
            write_state(self.state, rows, signature=self.signature)

    def _scored(self, seen: list[_Seen], judgement: BatchJudgement) -> Iterator[BatchScan]:
        scales = self._scales(seen, judgement)
        for scans, maps in self._maps(seen, judgement):
            named = {"batch": maps}
            if scales is not None:
                trained = torch.stack([scan.trained for scan in scans]).float()
                named = {"both": blend(excess(maps, scales[0]), excess(trained, scales[1])), **named}
            objects = torch.stack([scan.object for scan in scans])
            scores = {name: self._scan_scores(values, objects) for name, values in named.items()}
            cells = torch.stack([scan.cells for scan in scans])
            named["foreground"] = foreground_map(cells, size=maps.shape[1:], sigma=self.blur)
            scores["foreground"] = torch.zeros(len(scans))
            for i, scan in enumerate(scans):
                yield BatchScan(
                    scan.record,
                    {name: values[i] for name, values in named.items()},
                    {name: float(values[i]) for name, values in scores.items()},
                    scan.mask,
                    scan.object,
                    scan.size,
                )

    def _maps(self, seen: list[_Seen], judgement: BatchJudgement) -> Iterator[tuple[list[_Seen], Tensor]]:
        for at in range(0, len(seen), AT_ONCE):
            scans = seen[at : at + AT_ONCE]
            yield scans, realign(judgement.cells[at : at + AT_ONCE], size=scans[0].mask.shape, sigma=self.blur)

    def _scan_scores(self, maps: Tensor, objects: Tensor) -> Tensor:
        return top_score(maps, objects) if self.score == "top" else maps.flatten(1).amax(1)

    def _scales(self, seen: list[_Seen], judgement: BatchJudgement) -> tuple[Scale, Scale] | None:
        """Scales of the batch's and the training bank's maps, from object pixels of all processes' scans."""
        ours, theirs = [], []
        for scans, maps in self._maps(seen, judgement):
            for scan, values in zip(scans, maps, strict=True):
                if scan.trained is not None:
                    pixels = torch.nonzero(scan.object.flatten()).flatten()
                    pixels = pixels[:: max(1, len(pixels) // PIXELS)]
                    ours.append(values.flatten()[pixels])
                    theirs.append(scan.trained.float().flatten()[pixels])
        pairs = torch.stack([torch.cat(ours), torch.cat(theirs)], 1) if ours else torch.zeros(0, 2)
        pairs = gather_rows(pairs)
        return (Scale.measured(pairs[:, 0]), Scale.measured(pairs[:, 1])) if len(pairs) else None
