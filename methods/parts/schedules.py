"""How a number changes over a run, by the share of its global steps that are done."""

from __future__ import annotations

import math


def warm_up(fraction: float, start: float, end: float, share: float) -> float:
    """Go linearly from ``start`` to ``end`` over the first ``share`` of the run, then stay."""
    if fraction >= share:
        return end
    return start + (end - start) * fraction / share


def cosine(fraction: float, start: float, end: float) -> float:
    """Go from ``start`` (fraction 0) to ``end`` (fraction 1) along half a cosine."""
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * fraction))
