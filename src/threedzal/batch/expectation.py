"""What to expect of a batch of few scans: the measured learning curve, and the sentence made of it."""

from __future__ import annotations

from collections.abc import Sequence

from threedzal.batch.options import FEW_SCANS

# Object-only AUPRO (limit 0.3) of a batch of n scans: docs/batch.md, "How many scans".
CURVE = {4: 0.49, 8: 0.62, 16: 0.72, 32: 0.81, 48: 0.83}


def few_scans_sentence(name: str, scans: int) -> str | None:
    """A sentence for the user where a batch is small; None where it is not."""
    if scans >= FEW_SCANS:
        return None
    below = max((n for n in CURVE if n <= scans), default=min(CURVE))
    measured = ", ".join(f"{value:.2f} with {n}" for n, value in CURVE.items())
    return (
        f"{name}: a batch of {scans} scans is small (on real cable glands the object-only AUPRO was {measured} scans, "
        f"so expect about {CURVE[below]:.2f} here); more scans of the same part help most, defective ones too"
    )


def duplicate_sentences(name: str, pairs: Sequence[tuple[str, str]], *, most: int = 5) -> list[str]:
    """What to say of near-duplicate scans: nothing, or a sentence with the first few pairs."""
    if not pairs:
        return []
    shown = "; ".join(f"{_short(a)} and {_short(b)}" for a, b in pairs[:most]) + ("; ..." if len(pairs) > most else "")
    return [
        f"{name}: {len(pairs)} pair{'s' if len(pairs) > 1 else ''} of scans look like one part scanned twice "
        f"({shown}). Each is the other's twin, so that a defect on both looks normal: give each part once."
    ]


def _short(key: str) -> str:
    return key.split("#", 1)[0]
