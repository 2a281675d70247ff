"""Who may be seen when: the classes on each side of a run, and the scans of theirs that training sees.

Leave one out (section 4): no scan of a test class is a normal scan, the stuff of pseudo anomalies, or a part of any
choice of weight or threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

from threedzal.data.record import ScanRecord
from threedzal.errors import UserError


@dataclass(frozen=True)
class Classes:
    """The classes of a run by what they are for; `auxiliary` is None as long as it means all the rest.

    Raises:
        UserError: zero-shot, and a test class is among those that are seen.
    """

    train: list[str]
    test: list[str]
    auxiliary: list[str] | None
    protocol: Literal["zero_shot", "in_class"] = "zero_shot"

    def __post_init__(self) -> None:
        shared = set(self.test) & {*self.train, *(self.auxiliary or [])}
        if self.protocol == "zero_shot" and shared:
            raise UserError(
                f"{names(shared)}: among test_classes and among train_classes or auxiliary_classes, but zero-shot "
                "means that no scan of a test class is seen: take it out of one of them (or set protocol: in_class)"
            )

    def completed(self, available: Iterable[str]) -> Classes:
        """The same with all classes of the data set that are not named otherwise as `auxiliary`, where none are."""
        rest = [name for name in available if name not in {*self.train, *self.test}]
        return replace(self, auxiliary=self.auxiliary or rest)

    def __str__(self) -> str:
        unseen = set(self.test) - set(self.train)
        return (
            f"{'In-class' if self.protocol == 'in_class' else 'Zero-shot'}: learning {names(self.train)}; "
            f"pseudo anomalies from {names(self.auxiliary) or 'no class'}; "
            f"never seen: {names(unseen) or ('none' if self.test else 'no class named')}"
        )


@dataclass(frozen=True)
class TrainingScans:
    """All scans that are seen before the test."""

    train: list[ScanRecord]  # learned, and stored in the memory bank
    validation: list[ScanRecord]  # of the same classes
    auxiliary: list[ScanRecord]  # what pseudo anomalies are made of
    pseudo: list[ScanRecord]  # shown whole, as they are and with pseudo anomalies

    @property
    def seen(self) -> list[ScanRecord]:
        """Every one of them; a scan may stand there twice."""
        return [*self.train, *self.validation, *self.auxiliary, *self.pseudo]


def select_training(
    classes: Classes,
    index: Callable[[list[str], str], list[ScanRecord]],
    *,
    auxiliary_per_class: int | None,
    pseudo_scans: int,
    pseudo_classes: Literal["auxiliary", "training"],
) -> TrainingScans:
    """The scans that training sees.

    Args:
        classes: with `auxiliary` completed.
        index: from class names and a split to the scans there.
        auxiliary_per_class: at most so many of an auxiliary class; None: all.
        pseudo_scans: at most so many to be shown whole.
        pseudo_classes: whose these are; `training` needs an auxiliary class all the same, which gives what is inserted.
    """
    auxiliary = index(classes.auxiliary, "train")
    shown = classes.train if pseudo_classes == "training" and classes.auxiliary else classes.auxiliary
    scans = TrainingScans(
        train=index(classes.train, "train"),
        validation=index(classes.train, "validation"),
        auxiliary=[
            record
            for name in classes.auxiliary
            for record in evenly([r for r in auxiliary if r.class_name == name], auxiliary_per_class)
        ],
        pseudo=evenly(index(shown, "validation"), pseudo_scans),
    )
    if classes.protocol == "zero_shot" and {record.class_name for record in scans.seen} & set(classes.test):
        raise AssertionError("a scan of a test class reached training")
    return scans


def expected_splits(classes: Classes, scans: TrainingScans) -> list[tuple[str, str]]:
    """Every (class, split) in which training looks for scans."""
    return [
        *((name, split) for name in classes.train for split in ("train", "validation")),
        *((name, "train") for name in classes.auxiliary),
        *((record.class_name, "validation") for record in scans.pseudo),
    ]


def evenly(records: list[ScanRecord], most: int | None) -> list[ScanRecord]:
    """At most `most` records, spread over the list."""
    if most is None or len(records) <= most:
        return records
    return [records[i * len(records) // most] for i in range(most)]


def names(classes: Iterable[str], *, most: int = 12) -> str:
    """Class names as a sentence has them: `cone, ring`; of more than `most` the first ones."""
    listed = sorted(classes)
    rest = len(listed) - most
    return ", ".join(listed[:most]) + (f" and {rest} more" if rest > 0 else "")
