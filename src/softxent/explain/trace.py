"""The trace of one loss: every number between the logits and the loss, then the gradient.

The results are the library's own (`softxent.ops`), in float64; beside them is what they are made
of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from softxent.errors import ShapeError
from softxent.explain.batch import tell_batch
from softxent.explain.steps import tell_row
from softxent.ops.api import (
    cross_entropy,
    cross_entropy_with_grad,
    log_softmax,
    logsumexp,
    softmax,
)
from softxent.ops.intake import is_tensor, kind_of, receive
from softxent.ops.mean import Mean
from softxent.ops.reference import target_mass
from softxent.ops.spec import Reduction

__all__ = ["Trace", "explain"]

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Trace:
    """Every value on the way from N rows of C logits to a loss and its gradient.

    `print(trace)` tells it step by step. Arrays are float64 unless said otherwise, read-only, and
    always have a row axis: one row of logits is a batch of one. Losses are in nats. What belongs to
    a target is None where no target was given.

    Attributes:
        logits: (N, C), as given.
        scaled: (N, C) u, the logits after the temperature and the softcap.
        maximum: (N,) the largest u of a row.
        shifted: (N, C) u - maximum.
        exponentials: (N, C) exp(u); may overflow to inf.
        exponential_sum: (N,) their sum; may overflow to inf.
        shifted_exponentials: (N, C) exp(u - maximum), at most 1.
        shifted_sum: (N,) their sum, from 1 to C.
        lse: (N,) log of the sum of exp(u), without overflow.
        log_probabilities: (N, C) u - lse.
        probabilities: (N, C) p, exp(u - lse).
        target: (N,) int64 class indices, or (N, C) class probabilities, as given.
        ignored: (N,) bool, the rows whose target is `ignore_index`.
        mass: (N, C) t, the target as a mass over the classes; 0 in ignored rows.
        mass_sum: (N,) s, the sum of t.
        target_probability: (N,) p of the target's class, NaN in ignored rows; None where the target
            is class probabilities.
        losses: (N,) each row's loss, s lse - sum_j t_j u_j + z_loss lse^2.
        row_gradient: (N, C) each row's loss derived by its logits.
        mean: the sum of the losses with the denominator of their mean.
        value: what `reduction` makes of the losses; None for "none".
        gradient: (N, C) `value` derived by the logits; for "none" the same as `row_gradient`.
        classes: (C,) class names; their numbers where none were given.
        named: whether names were given.
        weight: (C,) class weights, or None for ones.
        ignore_index, reduction, label_smoothing, z_loss, softcap, temperature: as given.
    """

    logits: Float64
    scaled: Float64
    maximum: Float64
    shifted: Float64
    exponentials: Float64
    exponential_sum: Float64
    shifted_exponentials: Float64
    shifted_sum: Float64
    lse: Float64
    log_probabilities: Float64
    probabilities: Float64
    target: npt.NDArray[Any] | None = None
    ignored: npt.NDArray[np.bool_] | None = None
    mass: Float64 | None = None
    mass_sum: Float64 | None = None
    target_probability: Float64 | None = None
    losses: Float64 | None = None
    row_gradient: Float64 | None = None
    mean: Mean | None = None
    value: float | None = None
    gradient: Float64 | None = None
    classes: tuple[str, ...]
    named: bool
    weight: Float64 | None
    ignore_index: int
    reduction: Reduction
    label_smoothing: float
    z_loss: float
    softcap: float | None
    temperature: float

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                value.setflags(write=False)

    def text(self) -> str:
        """In words and numbers, as plain text: one row step by step, or a batch row by row."""
        lines = tell_row(self) if len(self.logits) == 1 else tell_batch(self)
        return "\n".join(line.rstrip() for line in lines)

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        rows, classes = self.logits.shape
        loss = "" if self.value is None else f", {self.reduction}={self.value!r}"
        return f"<Trace of {rows} x {classes} logits{loss}>"


def explain(
    logits: Any,
    target: Any = None,
    weight: Any = None,
    *,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    temperature: float = 1.0,
    classes: Sequence[str] | None = None,
) -> Trace:
    """Show how a loss comes about: every number from the logits to the gradient.

        u = softcap(logits / temperature),  lse = log sum_j exp(u_j),  p_j = exp(u_j - lse)
        loss = s lse - sum_j t_j u_j + z_loss lse^2,  with the target's mass t and its sum s

    Args:
        logits: (C,) or (N, C), any real dtype; an array, a sequence or a torch tensor.
        target: a class index, or (N,) of them; or class probabilities of the logits' shape; or None
            for the probabilities alone.
        weight: (C,) class weights, or None for ones.
        ignore_index: the class index of rows that don't count.
        reduction: "mean", "sum" or "none".
        label_smoothing: from 0 to 1, the share of the target spread evenly over the classes.
        z_loss: the factor of lse^2.
        softcap: u = softcap tanh(logits / (temperature softcap)); None for none.
        temperature: what the logits are divided by, > 0.
        classes: (C,) class names for the text.

    Returns:
        A `Trace`: print it, or read its numbers.

    Raises:
        ShapeError, DTypeError, TargetError, OptionError: as `softxent.cross_entropy`; ShapeError
            also for logits of more than two axes and for names that aren't C.

    Cost: about ten float64 arrays of the logits' shape. Meant for rows to look at, not for speed.

    Example:
        >>> trace = explain([2, -1, 0.1], 2)
        >>> round(trace.value, 4)
        2.0818
        >>> trace.probabilities.round(4)
        array([[0.8338, 0.0415, 0.1247]])
    """
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
            "pass one name a class."
        )
    options: dict[str, Any] = {
        "weight": None if weight is None else _numbers("weight", weight),
        "ignore_index": ignore_index,
        "label_smoothing": label_smoothing,
        "z_loss": z_loss,
        "softcap": softcap,
        "temperature": temperature,
    }
    # The loss checks the target and every option, so it comes first, even where none is asked for.
    y = np.zeros(given.shape[:-1], np.int64) if target is None else _numbers("target", target)
    value = cross_entropy(given, y, reduction=reduction, **options)

    z = np.atleast_2d(given).astype(np.float64)
    with np.errstate(all="ignore"):  # inf and NaN are shown, not warned about
        u = z / temperature
        if softcap is not None:
            u = softcap * np.tanh(u / softcap)
        maximum = u.max(axis=1)
        shifted = u - maximum[:, None]
        exponentials = np.exp(u)
        shifted_exponentials = np.exp(shifted)
        exponential_sum = exponentials.sum(axis=1)
    probabilities = softmax(u)
    about_target: dict[str, Any] = {}
    if target is not None:
        _, gradient = cross_entropy_with_grad(given, y, reduction=reduction, **options)
        about_target = {
            **_about_target(given, y, probabilities, options),
            "value": None if reduction == "none" else float(value),
            "gradient": np.atleast_2d(gradient),
        }
    return Trace(
        logits=z,
        scaled=u,
        maximum=maximum,
        shifted=shifted,
        exponentials=exponentials,
        exponential_sum=exponential_sum,
        shifted_exponentials=shifted_exponentials,
        shifted_sum=shifted_exponentials.sum(axis=1),
        lse=logsumexp(u),
        log_probabilities=log_softmax(u),
        probabilities=probabilities,
        **about_target,
        classes=names,
        named=classes is not None,
        reduction=reduction,
        **options,
    )


def _numbers(name: str, values: Any) -> npt.NDArray[Any]:
    """A copy as an array, floating point as float64."""
    if is_tensor(values) and values.is_floating_point():
        values = values.detach().cpu().double()  # NumPy has no bfloat16
    array = receive("explain", name, values)[0]
    return array.astype(np.float64) if kind_of(array.dtype) == "f" else array.copy()


def _about_target(
    logits: npt.NDArray[Any],
    y: npt.NDArray[Any],
    probabilities: Float64,
    options: dict[str, Any],
) -> dict[str, Any]:
    """What a trace has only with a target: its mass, the losses and their gradient."""
    rows, count = probabilities.shape
    weight, smoothing = options["weight"], options["label_smoothing"]
    target_probability = None
    if y.ndim < logits.ndim:
        target = np.atleast_1d(y).astype(np.int64)
        ignored = target == options["ignore_index"]
        kept, classes = np.flatnonzero(~ignored), target[~ignored]
        target_probability = np.full(rows, np.nan)
        target_probability[kept] = probabilities[kept, classes]
        denominator = float(len(kept) if weight is None else weight[classes].sum())
    else:
        target = np.atleast_2d(y).astype(np.float64)
        ignored = np.zeros(rows, np.bool_)
        denominator = float(rows)
    mass = target_mass(target, count, weight, smoothing)
    mass[ignored] = 0
    losses = cross_entropy(logits, y, reduction="none", **options)
    # The gradient of the sum holds each row's own.
    total, row_gradient = cross_entropy_with_grad(logits, y, reduction="sum", **options)
    return {
        "target": target,
        "ignored": ignored,
        "mass": mass,
        "mass_sum": mass.sum(axis=1),
        "target_probability": target_probability,
        "losses": np.atleast_1d(losses),
        "row_gradient": np.atleast_2d(row_gradient),
        "mean": Mean(float(total), denominator),
    }
