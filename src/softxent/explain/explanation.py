"""`explain`: the arguments, checked, and their trace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from softxent.errors import DTypeError, ShapeError
from softxent.explain.numbers import EPSILON
from softxent.explain.trace import Trace
from softxent.ops import checks, spec
from softxent.ops.arrays.intake import is_tensor, receive
from softxent.ops.dtypes import epsilon, kind_of
from softxent.ops.options import LossOptions, Reduction

__all__ = ["explain"]


def explain(
    logits: Any,
    target: Any = None,
    weight: Any = None,
    *,
    ignore_index: int | None = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    temperature: float = 1.0,
    classes: Sequence[str] | None = None,
) -> Trace:
    """Explain a loss: every number from the logits to the gradient.

        u = softcap(logits / temperature),  lse = log sum_j exp(u_j),  p_j = exp(u_j - lse)
        loss = s lse - sum_j t_j u_j + z_loss lse^2,  with the target distribution t and its sum s

    Args:
        logits: (C,) or (N, C), any real dtype; an array, a sequence or a torch tensor.
        target: a class index, or (N,) of them; or class probabilities of the logits' shape; or None
            for the probabilities alone.
        weight: (C,) class weights, or None for ones.
        ignore_index: the class index of rows that are left out; None to keep every row.
        reduction: "mean", "sum" or "none".
        label_smoothing: 0 to 1, the share of the target spread evenly over the classes.
        z_loss: the factor of lse^2.
        softcap: u = softcap tanh(logits / (temperature softcap)); None for none.
        temperature: divides the logits, > 0.
        classes: (C,) class names for the text; None for their indices.

    Returns:
        A `Trace`: print it, or read its numbers, which are in nats where they are losses.

    Raises:
        ShapeError, DTypeError, TargetError, OptionError: as `softxent.cross_entropy`; ShapeError
            also for logits of more than two axes and for a number of names other than C.

    Rows that hold NaN or +inf, or only -inf, have NaN probabilities, and the text says why.

    Cost: about ten float64 arrays of the logits' shape. Meant for reading, not for speed.

    Example:
        >>> trace = explain([2, -1, 0.1], 2)
        >>> round(trace.value, 4)
        2.0818
        >>> trace.probabilities.round(4)
        array([[0.8338, 0.0415, 0.1247]])

    See Also:
        softxent.cross_entropy_with_grad: the loss and its gradient alone, fast.
    """
    dtype = _dtype_of(logits)
    given = _numbers("logits", logits)
    if given.ndim not in (1, 2) or given.shape[-1] == 0:
        raise ShapeError(
            f"[explain] logits has shape {given.shape}: pass one row (C,) or a batch of rows "
            "(N, C), with at least one class."
        )
    count = given.shape[-1]
    names = tuple(map(str, range(count) if classes is None else classes))
    if len(names) != count:
        raise ShapeError(
            f"[explain] classes has {len(names)} names, but a row has {count} logits: "
            "pass one name per class."
        )
    y = None if target is None else _target(target)
    w = None if weight is None else _numbers("weight", weight)
    if y is not None and y.dtype.kind == "f" and y.ndim < given.ndim:
        checks.check_not_missing("explain", y)
        y = y.astype(np.int64) if y.size == 0 else y  # NumPy makes an empty list an array of floats
    # The options are checked even without a target.
    checked = np.zeros(given.shape[:-1], np.int64) if y is None else y
    loss = spec.Loss.of(
        "explain",
        given.shape,
        checked.shape,
        checked.dtype.kind,
        axis=-1,
        options=LossOptions(
            ignore_index=ignore_index,
            reduction=reduction,
            label_smoothing=label_smoothing,
            z_loss=z_loss,
            softcap=softcap,
            temperature=temperature,
        ),
    )
    if loss.target_kind == "probabilities":
        checks.check_soft_target("explain", checked, loss.axis, epsilon(checked.dtype))
    elif y is not None:
        checks.check_indices("explain", checked, count, loss.options.ignore_index)
    if w is not None:
        checks.check_weight("explain", w.shape, w, count)
    if y is not None:
        index = loss.target_kind == "index"
        y = np.atleast_1d(y).astype(np.int64) if index else np.atleast_2d(y)
        y = y if index or y.dtype.kind == "f" else y.astype(np.float64)
    weights = None if w is None else w.astype(np.float64)
    options = loss.options._replace(weight=weights)
    return Trace.of(
        np.atleast_2d(given).astype(np.float64),
        y,
        options,
        dtype=dtype,
        classes=names,
        named=classes is not None,
    )


def _dtype_of(logits: Any) -> str:
    """The name of the logits' dtype; float64 for what isn't floating point."""
    if is_tensor(logits):
        name = str(logits.dtype).removeprefix("torch.") if logits.is_floating_point() else "float64"
    else:
        dtype = receive("explain", "logits", logits)[0].dtype
        name = dtype.name if kind_of(dtype) == "f" else "float64"
    if name not in EPSILON:
        raise DTypeError(f"[explain] logits has dtype {name}: pass one of {', '.join(EPSILON)}.")
    return name


def _target(target: Any) -> npt.NDArray[Any]:
    """A copy as an array of its own dtype, whose precision says what may be rounding."""
    array = receive("explain", "target", target)[0]
    return array.astype(np.float32) if array.dtype.kind == "V" else array.copy()  # bfloat16


def _numbers(name: str, values: Any) -> npt.NDArray[Any]:
    """A copy as an array; floating-point numbers as float64."""
    if is_tensor(values) and values.is_floating_point():
        values = values.detach().cpu().double()  # NumPy has no bfloat16
    array = receive("explain", name, values)[0]
    return array.astype(np.float64) if kind_of(array.dtype) == "f" else array.copy()
