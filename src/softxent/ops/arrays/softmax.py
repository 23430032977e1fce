"""Softmax, logsumexp, top-k and one-hot of arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from softxent import _native
from softxent.errors import DTypeError
from softxent.ops import checks, spec
from softxent.ops.arrays.intake import receive
from softxent.ops.arrays.output import fill, readable
from softxent.ops.dtypes import result_dtype

__all__ = ["logsumexp", "one_hot", "softmax", "top_k"]


def softmax(op: str, x: Any, axis: int, out: Any, *, log: bool) -> Any:
    """Softmax, or its logarithm, over one axis."""
    array, export = receive(op, "x", x)
    axis = spec.check_axis(op, axis, array.ndim)
    source = readable(op, "x", array)
    _, result = fill(op, array, out, lambda to: _native.softmax(source, to, axis=axis, log=log))
    return export(result)


def logsumexp(op: str, x: Any, axis: int, keepdims: bool) -> Any:
    """Logsumexp over one axis."""
    array, export = receive(op, "x", x)
    axis = spec.check_axis(op, axis, array.ndim)
    sums = np.empty(array.shape[:axis] + array.shape[axis + 1 :], np.float64)
    _native.logsumexp(readable(op, "x", array), sums, axis=axis)
    with np.errstate(over="ignore", under="ignore"):
        result = sums.astype(result_dtype(op, "x", array.dtype), copy=False)
    return export(np.expand_dims(result, axis) if keepdims else result[()])


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
