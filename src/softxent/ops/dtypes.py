"""Which dtype is computed in which: the rules for NumPy, and the names that torch shares.

Half precision is computed in float32, everything else in its own dtype; integers and booleans count
as float64. `softxent.ops.tensors.dtypes` derives torch's table from the names here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from softxent.errors import DTypeError

__all__ = [
    "COMPUTED_IN",
    "FLOAT32",
    "FLOAT64",
    "INT64",
    "compute_dtype",
    "epsilon",
    "is_bfloat16",
    "is_native_float",
    "kind_of",
    "result_dtype",
]

# Floating-point dtypes by name, each with the dtype in which it is computed.
COMPUTED_IN = {
    "float16": "float32",
    "bfloat16": "float32",
    "float32": "float32",
    "float64": "float64",
}

FLOAT32, FLOAT64, INT64 = np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int64)


def is_native_float(dtype: np.dtype[Any]) -> bool:
    """Whether this is float32 or float64 in native byte order: nothing has to be converted."""
    return dtype is FLOAT32 or dtype is FLOAT64


def is_bfloat16(dtype: np.dtype[Any]) -> bool:
    """Whether this is ml_dtypes' bfloat16. `isbuiltin` spares the name for NumPy's own dtypes."""
    return dtype.isbuiltin != 1 and dtype.name == "bfloat16"


def kind_of(dtype: np.dtype[Any]) -> str:
    """NumPy's letter for the kind of a dtype; bfloat16, which NumPy doesn't know, counts as "f"."""
    return dtype.kind if dtype.isbuiltin == 1 or not is_bfloat16(dtype) else "f"


def compute_dtype(op: str, name: str, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in which numbers of this dtype are computed: float32 or float64.

    Raises:
        DTypeError: they aren't real numbers of at most 64 bits.
    """
    if is_native_float(dtype):
        return dtype
    if dtype.kind == "f" and dtype.itemsize in (2, 4):
        return FLOAT32
    if is_bfloat16(dtype):
        return FLOAT32
    if dtype.kind in "iub" or (dtype.kind == "f" and dtype.itemsize == 8):
        return FLOAT64
    raise DTypeError(
        f"[{op}] {name} has dtype {dtype}: pass real numbers of at most 64 bits, e.g. "
        f"{name}.astype(numpy.float64)."
    )


def result_dtype(op: str, name: str, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype of a result in the input's shape: the input's own, float64 for integers."""
    if is_native_float(dtype):
        return dtype
    computed = compute_dtype(op, name, dtype)
    if dtype.kind in "iub":
        return computed
    return dtype if dtype.isnative else dtype.newbyteorder("=")


def epsilon(dtype: np.dtype[Any]) -> float:
    """The distance from 1 to the next larger number; that of float64 for integers."""
    if is_bfloat16(dtype):
        return 2.0**-7
    return float(np.finfo(dtype if dtype.kind == "f" else np.float64).eps)
