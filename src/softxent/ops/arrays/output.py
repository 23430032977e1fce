"""Where a result in the input's shape goes: a fresh array, or the caller's `out`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from softxent.errors import DTypeError, OptionError, ShapeError
from softxent.ops.arrays.intake import Array
from softxent.ops.arrays.memory import uninitialized
from softxent.ops.dtypes import is_bfloat16, is_native_float, result_dtype
from softxent.ops.spec import describe

__all__ = ["fill", "readable"]

Value = TypeVar("Value")
_MOST_DIMENSIONS = 9  # the class axis and the 8 batch dimensions that the kernels walk


def _bits_of(x: Array) -> Array:
    """The array as the kernels take it: bfloat16, which NumPy doesn't know, as uint16."""
    return x.view(np.uint16) if is_bfloat16(x.dtype) else x


def _has_element_strides(x: Array) -> bool:
    """Whether all strides are multiples of the element size."""
    return x.flags.c_contiguous or not any(stride % x.itemsize for stride in x.strides)


def readable(op: str, name: str, x: Array) -> Array:
    """The array as the kernels read it: its own memory wherever possible.

    Copied are integers, foreign byte order, strides that aren't multiples of the element size, and
    arrays with more dimensions than the kernels walk.
    """
    if is_native_float(x.dtype) and x.flags.c_contiguous and x.ndim <= _MOST_DIMENSIONS:
        return x
    dtype = result_dtype(op, name, x.dtype)
    if x.dtype != dtype or not _has_element_strides(x):
        x = x.astype(dtype)
    elif x.ndim > _MOST_DIMENSIONS:
        x = np.ascontiguousarray(x)
    return _bits_of(x)


def fill(
    op: str, x: Array, out: Array | None, kernel: Callable[[Array], Value]
) -> tuple[Value, Array]:
    """Run a kernel whose result has the input's shape, into a fresh array or into `out`.

    Where the kernel can't write to `out` directly (it overlaps an input, its strides aren't
    multiples of the element size, or it has too many dimensions), the result is copied there.

    Returns:
        What the kernel returned, and the result.
    """
    dtype = result_dtype(op, "x", x.dtype)
    if out is None:
        result = uninitialized(x.shape, dtype)
        return kernel(_bits_of(result)), result
    _check_out(op, out, x.shape, dtype)
    if out.ndim <= _MOST_DIMENSIONS and _has_element_strides(out):
        try:
            return kernel(_bits_of(out)), out
        except BufferError:  # it overlaps an input without being the same elements
            pass
    buffer = np.empty(x.shape, dtype)
    value = kernel(_bits_of(buffer))
    out[...] = buffer
    return value, out


def _check_out(op: str, out: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if not isinstance(out, np.ndarray):
        raise DTypeError(f"[{op}] out is a {type(out).__name__}: pass a NumPy array.")
    if isinstance(out, np.ma.MaskedArray):
        raise DTypeError(
            f"[{op}] out is a masked array, whose mask would hide results: pass out.data."
        )
    if out.shape != shape:
        raise ShapeError(
            f"[{op}] out has shape {describe(out.shape)}, but the result has shape "
            f"{describe(shape)}."
        )
    if out.dtype != dtype:
        raise DTypeError(f"[{op}] out has dtype {out.dtype}, but the result has dtype {dtype}.")
    if not out.flags.writeable:
        raise OptionError(f"[{op}] out is read-only: pass an array that can be written.")
    if not out.flags.c_contiguous and _overlaps_itself(out):
        raise OptionError(
            f"[{op}] out has several elements in one place: pass an array whose elements lie "
            "apart, e.g. numpy.empty_like(x)."
        )


def _overlaps_itself(out: Array) -> bool:
    """Whether a step along one dimension ends within the memory that the shorter steps cover."""
    reach = 0
    for stride, size in sorted(
        (abs(stride), size) for stride, size in zip(out.strides, out.shape, strict=True) if size > 1
    ):
        if stride < reach + out.itemsize:
            return out.size > 0
        reach += stride * (size - 1)
    return False
