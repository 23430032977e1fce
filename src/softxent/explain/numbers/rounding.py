"""The dtypes of logits, and rounding to them."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["EPSILON", "LARGEST", "freeze", "rounded", "working_dtype"]

EPSILON = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
"""The distance from 1 to the next number of each dtype."""

LARGEST = {"float64": "1.8e308", "float32": "3.4e38", "float16": "65504", "bfloat16": "3.4e38"}
"""The largest finite number of each dtype, as text."""


def working_dtype(dtype: str) -> Any:
    """The NumPy dtype in which softxent computes: half precision uses float32."""
    return np.float64 if dtype == "float64" else np.float32


def rounded(values: npt.ArrayLike, dtype: str) -> npt.NDArray[Any]:
    """Numbers rounded to a dtype, ties to even; bfloat16, which NumPy lacks, in float32 arrays."""
    values = np.asarray(values)
    if dtype != "bfloat16":
        with np.errstate(over="ignore"):
            return values.astype(dtype)
    values = values.astype(np.float32)
    bits = np.ascontiguousarray(values).view(np.uint32)
    # bfloat16 is the upper half of float32. Adding half a unit of it, or one bit less where the
    # last kept bit is 0, rounds to the nearest number and ties to even.
    half = ((bits >> 16) & 1) + np.uint32(0x7FFF)
    nearest = ((bits + half) & np.uint32(0xFFFF0000)).view(np.float32)
    return np.where(np.isnan(values), values, nearest.reshape(values.shape))


def freeze(record: Any) -> None:
    """Make the arrays of a dataclass read-only."""
    for field in fields(record):
        value = getattr(record, field.name)
        if isinstance(value, np.ndarray):
            value.setflags(write=False)
