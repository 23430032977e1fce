"""From losses per row to the caller's result: each, their sum, or their mean."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from softxent.ops.arrays.intake import Array
from softxent.ops.spec import Loss

__all__ = ["reduce", "to_scalar"]

_FLOAT32_MAX = 3.4e38


def reduce(loss: Loss, losses: Array, denominator: float, dtype: np.dtype[Any]) -> Any:
    """Losses per row (float64) as `reduction` says; `mean` divides by the denominator."""
    if loss.options.reduction == "none":
        with np.errstate(over="ignore"):
            rows = losses.astype(dtype, copy=False).reshape(loss.rows)
        return rows if loss.rows else rows[()]
    mean = loss.options.reduction == "mean"
    return to_scalar(float(losses.sum()), denominator if mean else 1.0, dtype)


def to_scalar(total: float, denominator: float, dtype: np.dtype[Any]) -> Any:
    """A sum over its denominator as a scalar of a dtype.

    Over nothing it is NaN; a value beyond the dtype's largest number becomes inf.
    """
    value = total / denominator if denominator else math.nan
    if abs(value) < _FLOAT32_MAX:
        return dtype.type(value)
    with np.errstate(over="ignore"):
        return dtype.type(value)
