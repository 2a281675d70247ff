"""Command-line arguments that several commands over jobs have."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from threedzal.errors import UserError


def split_options(rest: Sequence[str]) -> list[tuple[str, str]]:
    """`--name=value` and `--name value`, as (name without dashes, value), in their order.

    Raises:
        UserError: something is no option with a value.
    """
    pairs, rest = [], list(rest)
    while rest:
        first = rest.pop(0)
        name, equals, value = first.partition("=")
        if not name.startswith("--") or (not equals and not rest):
            raise UserError(f"{first}: is no option with a value, as --data.root=mvtec_3d")
        pairs.append((name.removeprefix("--"), value if equals else rest.pop(0)))
    return pairs


def seeds(text: str) -> list[int]:
    """`3` is 0, 1, 2; `4,7` are these two."""
    numbers = [int(part) for part in text.split(",") if part.strip()]
    if not numbers or min(numbers) < 0 or ("," not in text and numbers[0] < 1):
        raise argparse.ArgumentTypeError(f"{text!r}: wanted how many seeds (3), or which (0,1,2)")
    return numbers if "," in text else list(range(numbers[0]))


def names(text: str) -> list[str]:
    """`A,B` is A and B."""
    return [name for name in (part.strip() for part in text.split(",")) if name]


def positive(text: str) -> int:
    """A whole number from 1 on."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: wanted 1 or more")
    return number
