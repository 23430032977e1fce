"""What rows of numbers look like: probabilities, their logarithms, or neither.

The tolerances leave room for what rounding and hand-typed decimals do, and none for logits: that a
thousand rows of logits lie in [0, 1] and add up to 1 within a thousandth does not happen by chance.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from softxent import ops

__all__ = ["Look", "are_probabilities", "in_unit_interval", "look_of", "tolerance_of"]

Look = Literal["probabilities", "log-probabilities", "unit", "other"]
Values = npt.NDArray[np.float64]

_EDGE = 1e-6  # how far outside [0, 1] rounding may carry a probability


def tolerance_of(epsilon: float) -> float:
    """How far from 1 a row of probabilities may add up, given its dtype's precision."""
    return max(1e-3, 4 * epsilon)


def in_unit_interval(x: Values) -> bool:
    """Whether every number could be a probability."""
    return bool(x.size and np.all((x >= -_EDGE) & (x <= 1 + _EDGE)))


def are_probabilities(x: Values, axis: int, tolerance: float) -> bool:
    """Whether every row along an axis could be probabilities of exclusive classes."""
    return in_unit_interval(x) and bool(np.all(np.abs(x.sum(axis=axis) - 1) <= tolerance))


def look_of(rows: Values, tolerance: float) -> Look:
    """What (M, C) rows look like; `unit` is in [0, 1] without adding up to 1."""
    if not rows.size or np.isnan(rows).any():
        return "other"
    if in_unit_interval(rows):
        return "probabilities" if are_probabilities(rows, -1, tolerance) else "unit"
    if rows.max() <= _EDGE and np.all(np.abs(ops.logsumexp(rows)) <= tolerance):
        return "log-probabilities"
    return "other"
