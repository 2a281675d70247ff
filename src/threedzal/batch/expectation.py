"""What to expect of a batch of few scans: the measured learning curve, and the sentence made of it."""

from __future__ import annotations

from collections.abc import Sequence

from threedzal.batch.options import FEW_SCANS

# Object-only AUPRO (limit 0.3) of a batch of n scans: docs/batch.md, "How many scans".
CURVE = {4: 0.0, 8: 0.0, 16: 0.0, 32: 0.0, 55: 0.0}


def few_scans_sentence(name: str, scans: int) -> str | None:
    """A sentence for the user where a batch is small; None where it is not."""
    if scans >= FEW_SCANS:
        return None
    below = max((n for n in CURVE if n <= scans), default=min(CURVE))
    measured = ", ".join(f"{value:.2f} with {n}" for n, value in CURVE.items())
    return (
        f"{name}: a batch of {scans} scans is small; expect an object-only AUPRO of about {CURVE[below]:.2f} (measured "
        f"on real cable glands: {measured} scans). More scans of the same part help most, defective ones too."
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
