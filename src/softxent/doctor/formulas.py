"""Formulas that the rules on several subjects use."""

from __future__ import annotations

import math

__all__ = ["double_softmax_floor"]


def double_softmax_floor(classes: int) -> float:
    """The lowest loss that softmax applied twice can reach: ln(1 + (C - 1) / e), in nats.

    The first softmax returns at best 1 for the target and 0 for the other C - 1 classes; the second
    makes e / (e + C - 1) of that.

    Example:
        >>> round(double_softmax_floor(10), 3)
        1.461
    """
    return math.log1p((classes - 1) / math.e)
