"""Classify rows of numbers as probabilities, log-probabilities, or neither.

The tolerances allow for rounding and for decimals that were typed by hand. Logits don't pass them
by chance: a thousand rows of logits don't all lie in [0, 1] and sum to 1 within a thousandth.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from softxent import ops

__all__ = ["RowKind", "classify_rows", "sum_tolerance"]

# "unit interval": in [0, 1], but the rows don't sum to 1.
RowKind = Literal["probabilities", "log-probabilities", "unit interval", "other"]
Values = npt.NDArray[np.float64]

_EDGE = 1e-6  # how far outside [0, 1] rounding may move a probability


def sum_tolerance(epsilon: float) -> float:
    """How far from 1 the sum of a row of probabilities may be, given the dtype's precision."""
    return max(1e-3, 4 * epsilon)


def classify_rows(rows: Values, tolerance: float) -> RowKind:
    """What (M, C) rows consist of; `tolerance` is how far from 1 probabilities may sum."""
    if not rows.size or np.isnan(rows).any():
        return "other"
    if np.all((rows >= -_EDGE) & (rows <= 1 + _EDGE)):
        sums_to_one = np.all(np.abs(rows.sum(axis=-1) - 1) <= tolerance)
        return "probabilities" if sums_to_one else "unit interval"
    if rows.max() <= _EDGE and np.all(np.abs(ops.logsumexp(rows)) <= tolerance):
        return "log-probabilities"
    return "other"
