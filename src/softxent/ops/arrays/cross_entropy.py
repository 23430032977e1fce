"""Cross-entropy of logits in arrays, with its gradient: the calls of the compiled kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from softxent import _native
from softxent.ops import checks
from softxent.ops.arrays.intake import Array, receive_loss
from softxent.ops.arrays.output import fill, readable
from softxent.ops.arrays.reductions import reduce, to_scalar
from softxent.ops.dtypes import INT64, compute_dtype, is_native_float
from softxent.ops.options import LossOptions
from softxent.ops.spec import Loss, size_of

__all__ = ["cross_entropy", "cross_entropy_with_grad"]

# From the array for the gradient, or None, to the sum of the losses and what divides it.
_Kernel = Callable[["Array | None"], tuple[float, float]]


def cross_entropy(op: str, logits: Any, target: Any, options: LossOptions, axis: int) -> Any:
    """The reduced loss."""
    array, target, weight, loss, export = receive_loss(op, logits, target, options, axis)
    value, _ = _compute(loss, array, target, weight, with_grad=False)
    return export(value)


def cross_entropy_with_grad(
    op: str, logits: Any, target: Any, options: LossOptions, axis: int, out: Any
) -> tuple[Any, Any]:
    """The reduced loss and its gradient with respect to the logits."""
    array, target, weight, loss, export = receive_loss(op, logits, target, options, axis)
    value, grad = _compute(loss, array, target, weight, with_grad=True, out=out)
    assert grad is not None
    return export(value), export(grad)


def _compute(
    loss: Loss,
    logits: Array,
    target: Array,
    weight: Array | None,
    *,
    with_grad: bool,
    out: Array | None = None,
) -> tuple[Any, Array | None]:
    dtype = compute_dtype(loss.op, "logits", logits.dtype)
    per_row = loss.options.reduction == "none"
    losses = np.empty(size_of(loss.rows), np.float64) if per_row else None
    kernel = (
        _plain_kernel(loss, logits, target)
        if weight is None and _is_plain(loss, logits, target, out)
        else _general_kernel(loss, logits, target, weight, losses)
    )
    grad = None
    try:
        if with_grad:
            (total, denominator), grad = fill(loss.op, logits, out, kernel)
        else:
            total, denominator = kernel(None)
    except IndexError:  # a class index out of range, found before anything was written
        checks.check_indices(loss.op, target, loss.classes, loss.options.ignore_index)
        raise
    if losses is None:
        return to_scalar(total, denominator, dtype), grad
    return reduce(loss, losses, denominator, dtype), grad


def _is_plain(loss: Loss, logits: Array, target: Array, out: Array | None) -> bool:
    """Whether this is the usual call: int64 indices, contiguous rows, a reduced loss.

    Describing dimensions to the kernels would take as long as the loss of 64 rows of 10 classes.
    """
    return (
        loss.is_plain
        and loss.axis == len(loss.rows)
        and is_native_float(logits.dtype)
        and target.dtype is INT64
        and logits.flags.c_contiguous
        and target.flags.c_contiguous
        and target.flags.aligned
        and (out is None or (type(out) is np.ndarray and out.flags.c_contiguous))
    )


def _plain_kernel(loss: Loss, logits: Array, target: Array) -> _Kernel:
    options = loss.options
    ignore, smoothing = options.ignore_index, options.label_smoothing
    mean = options.reduction == "mean"
    assert ignore is not None

    def kernel(grad: Array | None) -> tuple[float, float]:
        return _native.reduced_cross_entropy(logits, target, grad, ignore, smoothing, mean), 1.0

    return kernel


def _general_kernel(
    loss: Loss, logits: Array, target: Array, weight: Array | None, losses: Array | None
) -> _Kernel:
    source = readable(loss.op, "logits", logits)
    index = probabilities = None
    if loss.target_kind == "index":
        index = _contiguous(target, INT64)
    else:
        probabilities = readable(loss.op, "target", target)
    if weight is not None:
        weight = _contiguous(weight, compute_dtype(loss.op, "logits", logits.dtype))
    mean = loss.options.reduction == "mean"

    def kernel(grad: Array | None) -> tuple[float, float]:
        total, denominator = _native.cross_entropy(
            source,
            axis=loss.axis,
            index=index,
            probabilities=probabilities,
            weight=weight,
            loss=losses,
            mean=mean,
            grad=grad,
            **loss.kernel_options,
        )
        return total, denominator if mean else 1.0

    return kernel


def _contiguous(x: Array, dtype: np.dtype[Any]) -> Array:
    """The array in a dtype, aligned and in C order; itself where it already is."""
    if x.dtype == dtype and x.flags.c_contiguous and x.flags.aligned:
        return x
    return np.require(x, dtype, ["C", "A"])
