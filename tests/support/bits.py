"""Half-precision numbers as the kernels take them, and comparison bit by bit.

bfloat16 is a uint16 that holds the upper half of a float32's bits: NumPy has no such dtype.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def to_bfloat16(x: Array) -> Array:
    """The nearest bfloat16 numbers, ties to even."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(x), 0x7FC0, rounded).astype(np.uint16)


def from_bfloat16(x: Array) -> Array:
    """The same numbers in float32."""
    return (x.astype(np.uint32) << 16).view(np.float32)


def to_half(x: Array, name: str) -> Array:
    """The nearest numbers of "float16" or "bfloat16"."""
    return x.astype(np.float32).astype(np.float16) if name == "float16" else to_bfloat16(x)


def from_half(x: Array) -> Array:
    """The same numbers in float32."""
    return x.astype(np.float32) if x.dtype == np.float16 else from_bfloat16(x)


def same_bits(a: Array, b: Array) -> bool:
    """The same bits, except that all NaNs are the same: the processor chooses their sign."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    bits = f"u{a.itemsize}"
    if np.array_equal(a.view(bits), b.view(bits)):
        return True
    if a.dtype == np.uint16:
        a, b = from_bfloat16(a), from_bfloat16(b)
    if a.dtype.kind == "f":
        a, b = (np.where(np.isnan(v), v.dtype.type(np.nan), v) for v in (a, b))
    return a.tobytes() == b.tobytes()
