"""From checked NumPy arrays to the compiled kernels: dtypes, layout, buffers; no formula."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from softxent import _native
from softxent.errors import DTypeError, OptionError, ShapeError
from softxent.ops.intake import is_bfloat16
from softxent.ops.spec import Loss, check_count, check_indices, describe

__all__ = [
    "compute_dtype",
    "cross_entropy",
    "empty_cache",
    "fresh",
    "get_num_threads",
    "kernels",
    "logsumexp",
    "product",
    "reduce",
    "set_num_threads",
    "softmax",
]

Array = npt.NDArray[Any]
Value = TypeVar("Value")
# From where the gradient goes, if anywhere, to the rows' sum and what it is to be divided by.
_Reduction = Callable[["Array | None"], tuple[float, float]]
_MOST_THREADS = 1024
_FLOAT32_MAX = 3.4e38

_forced = os.environ.get("SOFTXENT_KERNELS")
if _forced and not _native.select_level(_forced):
    raise OptionError(
        f"[softxent] SOFTXENT_KERNELS is {_forced!r}; this machine can run: "
        f"{', '.join(_native.levels())}."
    )


def kernels() -> str:
    """The instruction set in use: 'x86-64-v4', 'x86-64-v3' or 'baseline'.

    It is the best that the processor has, unless the environment variable SOFTXENT_KERNELS names
    another.

    Example:
        >>> kernels() in ("x86-64-v4", "x86-64-v3", "baseline")
        True
    """
    return str(_native.current_level())


def get_num_threads() -> int:
    """How many threads the kernels use: OMP_NUM_THREADS, else one for each processor we may use."""
    return int(_native.get_num_threads())


def set_num_threads(count: int) -> None:
    """Use this many threads from now on, in every Python thread of the process.

    The results have the same bits whatever the number.

    Args:
        count: 1 to 1024.

    Raises:
        OptionError: count is less or more.
    """
    count = check_count("set_num_threads", "count", count)
    if not 1 <= count <= _MOST_THREADS:
        raise OptionError(f"[set_num_threads] count is {count}: use 1 to {_MOST_THREADS} threads.")
    _native.set_num_threads(count)


_FLOAT32, _FLOAT64, _INT64 = np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int64)


def _is_own(dtype: np.dtype[Any]) -> bool:
    """Whether this is computed as it is: what most calls bring needs no more than a look."""
    return dtype is _FLOAT32 or dtype is _FLOAT64


def compute_dtype(op: str, name: str, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in which numbers of this dtype are computed: float32 or float64.

    Raises:
        DTypeError: they aren't real numbers of at most 64 bits.
    """
    if _is_own(dtype):
        return dtype
    if dtype.kind == "f" and dtype.itemsize in (2, 4):
        return _FLOAT32
    if is_bfloat16(dtype):
        return _FLOAT32
    if dtype.kind in "iub" or (dtype.kind == "f" and dtype.itemsize == 8):
        return _FLOAT64
    raise DTypeError(
        f"[{op}] {name} has dtype {dtype}: pass real numbers of at most 64 bits, e.g. "
        f"{name}.astype(numpy.float64)."
    )


def result_dtype(op: str, name: str, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype of what has the shape of the input: the input's own, float64 for integers."""
    if _is_own(dtype):
        return dtype
    computed = compute_dtype(op, name, dtype)
    if dtype.kind in "iub":
        return computed
    return dtype if dtype.isnative else dtype.newbyteorder("=")


def _readable(op: str, name: str, x: Array) -> Array:
    """The array as the kernels read it: its own memory wherever that can be.

    Any strides will do. Copied are integers, another byte order, and numbers that don't lie a whole
    number of elements apart.
    """
    if _is_own(x.dtype) and x.flags.c_contiguous and x.ndim <= 9:
        return x
    dtype = result_dtype(op, name, x.dtype)
    if x.dtype != dtype or not _in_elements(x):
        x = x.astype(dtype)
    elif x.ndim > 9:  # the kernels walk 8 batch dimensions
        x = np.ascontiguousarray(x)
    return _bits(x)


def _in_elements(x: Array) -> bool:
    """Whether the numbers lie a whole number of elements apart."""
    return x.flags.c_contiguous or not any(stride % x.itemsize for stride in x.strides)


def product(shape: tuple[int, ...]) -> int:
    """How many elements an array of this shape has."""
    result = 1
    for length in shape:
        result *= length
    return result


_POOLED_BYTES = 1 << 20  # smaller arrays cost NumPy less than the detour


def fresh(shape: tuple[int, ...], dtype: np.dtype[Any], *, keep: bool = True) -> Array:
    """An uninitialised array; a large one in memory that earlier ones have given back.

    With `keep=False` a large one comes from the system, and goes back there when it is gone.
    """
    size = product(shape) * dtype.itemsize
    if size < _POOLED_BYTES:
        return np.empty(shape, dtype)
    return np.ndarray(shape, dtype, _native.empty(size, keep))


def empty_cache() -> None:
    """Give the memory of results that are no longer in use back to the system.

    A fresh array costs its pages, which takes longer than a softmax over it. So results of 1 MiB
    and more live in memory that is kept for the next one when their arrays are gone: at most
    512 MiB in all, or as many bytes as the environment variable SOFTXENT_CACHE_BYTES says (0 keeps
    none). Arrays in use are not touched.

    Example:
        >>> empty_cache()
    """
    _native.release_memory()


def _fill(
    op: str, x: Array, out: Array | None, kernel: Callable[[Array], Value]
) -> tuple[Value, Array]:
    """A kernel's value, and its result of the input's shape: in a fresh array, or in `out`.

    Where `out` can't be written directly (it lies on an input, its numbers aren't a whole number of
    elements apart, or it has more dimensions than the kernels walk), a buffer is, and copied.
    """
    dtype = result_dtype(op, "x", x.dtype)
    if out is None:
        result = fresh(x.shape, dtype)
        return kernel(_bits(result)), result
    _check_out(op, out, x.shape, dtype)
    if out.ndim <= 9 and _in_elements(out):
        try:
            return kernel(_bits(out)), out
        except BufferError:  # it lies on an input, and not on the very elements that it replaces
            pass
    buffer = np.empty(x.shape, dtype)
    value = kernel(_bits(buffer))
    out[...] = buffer
    return value, out


def _bits(x: Array) -> Array:
    """Numbers as the kernels take them: bfloat16, which NumPy doesn't know, as its bits."""
    return x.view(np.uint16) if is_bfloat16(x.dtype) else x


def _check_out(op: str, out: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if not isinstance(out, np.ndarray):
        raise DTypeError(f"[{op}] out is a {type(out).__name__}: pass a NumPy array.")
    if out.shape != shape:
        raise ShapeError(
            f"[{op}] out has shape {describe(out.shape)}, but the result has shape "
            f"{describe(shape)}."
        )
    if out.dtype != dtype:
        raise DTypeError(f"[{op}] out has dtype {out.dtype}, but the result has dtype {dtype}.")
    if not out.flags.writeable:
        raise OptionError(f"[{op}] out is read-only: pass an array that can be written.")
    if not out.flags.c_contiguous and _lies_on_itself(out):
        raise OptionError(
            f"[{op}] out has several elements in one place: pass an array whose elements lie "
            "apart, e.g. numpy.empty_like(x)."
        )


def _lies_on_itself(out: Array) -> bool:
    """Whether a step along one dimension ends within what the shorter ones reach."""
    reach = 0
    for stride, size in sorted(
        (abs(stride), size) for stride, size in zip(out.strides, out.shape, strict=True) if size > 1
    ):
        if stride < reach + out.itemsize:
            return out.size > 0
        reach += stride * (size - 1)
    return False


def softmax(op: str, x: Array, axis: int, out: Array | None, *, log: bool) -> Array:
    """Softmax, or its logarithm, over one axis."""
    readable = _readable(op, "x", x)
    return _fill(op, x, out, lambda to: _native.softmax(readable, to, axis=axis, log=log))[1]


def logsumexp(op: str, x: Array, axis: int) -> Array:
    """Logsumexp over one axis, which the result lacks."""
    shape = x.shape[:axis] + x.shape[axis + 1 :]
    result = np.empty(shape, np.float64)
    _native.logsumexp(_readable(op, "x", x), result, axis=axis)
    with np.errstate(over="ignore", under="ignore"):
        return result.astype(result_dtype(op, "x", x.dtype), copy=False)


def cross_entropy(
    spec: Loss,
    logits: Array,
    target: Array,
    weight: Array | None,
    *,
    with_grad: bool,
    out: Array | None = None,
) -> tuple[Any, Array | None]:
    """The reduced loss and, if asked for, its gradient with respect to the logits.

    Signed class indices need no check before: the kernels refuse those out of range, and only then
    is the position looked for.
    """
    dtype = compute_dtype(spec.op, "logits", logits.dtype)
    losses = np.empty(product(spec.rows), np.float64) if spec.reduction == "none" else None
    reduce_rows = (
        _by_adjacent_rows(spec, logits, target)
        if weight is None and _are_adjacent(spec, logits, target, out)
        else _by_any_rows(spec, logits, target, weight, losses)
    )
    grad = None
    try:
        if with_grad:
            (total, denominator), grad = _fill(spec.op, logits, out, reduce_rows)
        else:
            total, denominator = reduce_rows(None)
    except IndexError:  # a class index out of range; nothing was written
        check_indices(spec.op, target, spec.classes, spec.ignore_index)
        raise
    if losses is None:
        return _conclude(total, denominator, dtype), grad
    return reduce(spec, losses, denominator, dtype), grad


def _are_adjacent(spec: Loss, logits: Array, target: Array, out: Array | None) -> bool:
    """Whether it is what most calls are: class indices of rows one after another, one number out.

    They need not be told to the kernels dimension by dimension, which takes as long as the loss of
    64 rows of 10 classes.
    """
    return (
        spec.is_plain_mean_or_sum
        and spec.axis == len(spec.rows)
        and _is_own(logits.dtype)
        and target.dtype is _INT64
        and logits.flags.c_contiguous
        and target.flags.c_contiguous
        and target.flags.aligned
        and (out is None or (type(out) is np.ndarray and out.flags.c_contiguous))
    )


def _by_adjacent_rows(spec: Loss, logits: Array, target: Array) -> _Reduction:
    assert spec.ignore_index is not None
    ignore, smoothing = spec.ignore_index, spec.label_smoothing
    mean = spec.reduction == "mean"

    def reduce_rows(grad: Array | None) -> tuple[float, float]:
        return _native.reduced_cross_entropy(logits, target, grad, ignore, smoothing, mean), 1.0

    return reduce_rows


def _by_any_rows(
    spec: Loss, logits: Array, target: Array, weight: Array | None, losses: Array | None
) -> _Reduction:
    readable = _readable(spec.op, "logits", logits)
    index = probabilities = None
    if spec.target_kind == "index":
        index = _contiguous(target, _INT64)
    else:
        probabilities = _readable(spec.op, "target", target)
    if weight is not None:
        weight = _contiguous(weight, compute_dtype(spec.op, "logits", logits.dtype))
    mean = spec.reduction == "mean"

    def reduce_rows(grad: Array | None) -> tuple[float, float]:
        total, denominator = _native.cross_entropy(
            readable,
            axis=spec.axis,
            index=index,
            probabilities=probabilities,
            weight=weight,
            ignore_index=-1 if spec.ignore_index is None else spec.ignore_index,
            label_smoothing=spec.label_smoothing,
            z_loss=spec.z_loss,
            softcap=spec.softcap or 0.0,
            temperature=spec.temperature,
            loss=losses,
            mean=mean,
            grad=grad,
        )
        return total, denominator if mean else 1.0

    return reduce_rows


def binary_cross_entropy(
    spec: Loss, logits: Array, target: Array, positive_weight: Array | None, weight: Array | None
) -> Any:
    """The reduced loss of two classes, of logits and checked targets of one shape."""
    dtype = compute_dtype(spec.op, "logits", logits.dtype)
    losses = np.empty(logits.size, np.float64) if spec.reduction == "none" else None

    def elements(name: str, x: Array | None) -> Array | None:
        if x is None:
            return None
        x = x if x.dtype.kind in "fV" else x.astype(dtype)
        return np.ascontiguousarray(_readable(spec.op, name, x)).reshape(-1)

    x, y = elements("logits", logits), elements("target", target)
    assert x is not None
    assert y is not None
    total = _native.binary_cross_entropy(
        x,
        y,
        positive_weight=elements("pos_weight", positive_weight),
        weight=elements("weight", weight),
        loss=losses,
    )
    if losses is not None:
        return reduce(spec, losses, 1.0, dtype)
    return _conclude(total, float(logits.size) if spec.reduction == "mean" else 1.0, dtype)


def _contiguous(x: Array, dtype: np.dtype[Any]) -> Array:
    if x.dtype == dtype and x.flags.c_contiguous and x.flags.aligned:
        return x
    return np.require(x, dtype, ["C", "A"])


def reduce(spec: Loss, losses: Array, denominator: float, dtype: np.dtype[Any]) -> Any:
    """Losses a row as the caller wants them: each, their sum, or the sum over a denominator."""
    if spec.reduction == "none":
        with np.errstate(over="ignore"):
            rows = losses.astype(dtype, copy=False).reshape(spec.rows)
        return rows if spec.rows else rows[()]
    return _conclude(float(losses.sum()), denominator if spec.reduction == "mean" else 1.0, dtype)


def _conclude(total: float, denominator: float, dtype: np.dtype[Any]) -> Any:
    """A sum over its denominator as a scalar; a loss beyond the dtype's largest number is inf."""
    value = total / denominator if denominator else math.nan
    if abs(value) < _FLOAT32_MAX:
        return dtype.type(value)
    with np.errstate(over="ignore"):
        return dtype.type(value)
