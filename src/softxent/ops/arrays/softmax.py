"""Softmax, logsumexp, top-k and one-hot of arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from softxent import _native
from softxent.errors import DTypeError
from softxent.ops import checks, spec
from softxent.ops.arrays.intake import Array, receive
from softxent.ops.arrays.output import fill, readable
from softxent.ops.dtypes import result_dtype
from softxent.ops.types import Axes

__all__ = ["logsumexp", "one_hot", "softmax", "top_k"]


def softmax(op: str, x: Any, axis: Axes, out: Any, *, log: bool) -> Any:
    """Softmax, or its logarithm, over one or several axes."""
    array, export = receive(op, "x", x)
    axes = spec.check_axes(op, axis, array.ndim)
    if len(axes) == 1:
        source = readable(op, "x", array)

        def kernel(to: Array) -> None:
            _native.softmax(source, to, axis=axes[0], log=log)
    else:
        rows = readable(op, "x", _joined(array, axes))

        def kernel(to: Array) -> None:
            result = np.empty(rows.shape, rows.dtype)
            _native.softmax(rows, result, axis=-1, log=log)
            to[...] = _apart(result, array.shape, axes)

    _, result = fill(op, array, out, kernel)
    return export(result if out is not None or result.ndim else result[()])


def logsumexp(op: str, x: Any, axis: Axes, keepdims: bool) -> Any:
    """Logsumexp over one or several axes."""
    array, export = receive(op, "x", x)
    axes = spec.check_axes(op, axis, array.ndim)
    rows, last = (array, axes[0]) if len(axes) == 1 else (_joined(array, axes), -1)
    sums = np.empty([n for i, n in enumerate(array.shape) if i not in axes], np.float64)
    _native.logsumexp(readable(op, "x", rows), sums, axis=last)
    with np.errstate(over="ignore", under="ignore"):
        result = sums.astype(result_dtype(op, "x", array.dtype), copy=False)
    return export(np.expand_dims(result, axes) if keepdims else result[()])


def _joined(x: Array, axes: tuple[int, ...]) -> Array:
    """The array with these axes, any number of them, as one axis at the end."""
    moved = np.moveaxis(x, axes, range(-len(axes), 0))
    rest = moved.shape[: x.ndim - len(axes)]
    return moved.reshape(*rest, spec.size_of(moved.shape[len(rest) :]))


def _apart(x: Array, shape: tuple[int, ...], axes: tuple[int, ...]) -> Array:
    """The inverse of `_joined`, for an array that had this shape."""
    rest = [n for i, n in enumerate(shape) if i not in axes]
    apart = x.reshape((*rest, *(shape[i] for i in axes)))
    return np.moveaxis(apart, range(-len(axes), 0), axes)


def top_k(op: str, x: Any, k: int, axis: int) -> tuple[Any, Any]:
    """The k largest values and their indices; the lower of two equal indices comes first."""
    array, export = receive(op, "x", x)
    axis = spec.check_axis(op, axis, array.ndim)
    k = spec.check_k(op, k, array.shape[axis])
    # A stable sort of the reversed axis, reversed, puts the lower of two equal indices first.
    backwards = np.flip(array, axis)
    order = array.shape[axis] - 1 - np.flip(np.argsort(backwards, axis, kind="stable"), axis)
    indices = np.take(order, range(k), axis)
    return export(np.take_along_axis(array, indices, axis)), export(indices)


def one_hot(op: str, target: Any, classes: int) -> Any:
    """Zeros with a one at each index."""
    array, export = receive(op, "target", target)
    if array.size == 0 and array.dtype.kind == "f":
        array = array.astype(np.int64)  # an empty list
    if array.dtype.kind not in "iu":
        raise DTypeError(f"[{op}] target has dtype {array.dtype}: class indices are integers.")
    checks.check_indices(op, array, classes, None)
    result = np.zeros((*array.shape, classes), np.int64)
    np.put_along_axis(result, array[..., None].astype(np.int64), 1, axis=-1)
    return export(result)
