"""The trace of one loss: every number between the logits and the loss, then the gradient.

The results are the library's own (`softxent.ops`), in float64; beside them is what they are made
of. What the logits' own type makes of them is in `typed.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from softxent.errors import DTypeError, OptionError, ShapeError
from softxent.explain import typed
from softxent.explain.batch import SHOWN_ROWS, batch_story
from softxent.explain.change import WhatIf
from softxent.explain.page import Detail, write_fragment, write_page
from softxent.explain.plain_data import plain_data
from softxent.explain.steps import row_story
from softxent.explain.story import Story
from softxent.explain.text import write_text
from softxent.ops import spec
from softxent.ops.api import (
    binary_cross_entropy_with_logits,
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

__all__ = ["Binary", "Trace", "explain"]

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Binary:
    """Two classes seen as one yes-or-no question, whether it is the second.

    Attributes:
        difference: (N,) u_1 - u_0, the only thing that counts.
        probability: (N,) its sigmoid, which is p_1.
        target: (N,) the target's share of the second class, t_1 / s; NaN where s is 0.
        losses: (N,) binary cross-entropy, times s; what `losses` of the trace holds, up to rounding
            and without z_loss. 0 in ignored rows.
    """

    difference: Float64
    probability: Float64
    target: Float64 | None = None
    losses: Float64 | None = None

    def __post_init__(self) -> None:
        typed.freeze(self)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Trace:
    """Every value on the way from N rows of C logits to a loss and its gradient.

    `print(trace)` tells it step by step; a notebook shows `trace` as a page; `to_html` and
    `to_json` are for keeping. Arrays are float64 unless said otherwise, read-only, and always have
    a row axis: one row of logits is a batch of one. Losses are in nats. What belongs to a target is
    None where no target was given.

    Attributes:
        dtype: the type of the logits: float64 (integers too), float32, float16 or bfloat16.
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

    dtype: str
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
        typed.freeze(self)

    @property
    def computed(self) -> typed.Computed:
        """The same numbers as softxent computes them in the logits' own type."""
        return typed.compute(self.logits, self.dtype, self.target, self._options, self.reduction)

    @property
    def plain(self) -> tuple[typed.Plain, ...]:
        """What three plain formulas would have given in the logits' own type."""
        return typed.compute_plainly(self.logits, self.dtype, self.target, self._options)

    @property
    def binary(self) -> Binary | None:
        """Two classes as binary cross-entropy; None for any other number of classes."""
        return _binary(self) if len(self.classes) == 2 else None

    @property
    def margin(self) -> Float64:
        """By how much each logit alone would have to change to change the answer.

        (N, C): the rise that brings a logit level with the highest; for the highest itself the fall
        to the next, below 0. Infinite where nothing that is finite does it; NaN in rows with a NaN.
        """
        return _margin(self.logits)

    def row(self, index: int) -> Trace:
        """One row of the batch alone, with the same options, before the reduction.

        Args:
            index: which row; negative ones count from the end.

        Raises:
            OptionError: there is no such row.

        Example:
            >>> batch = explain([[2, -1, 0.1], [2.5, 2, 1.8]], [2, 0])
            >>> batch.row(1).losses.round(4)
            array([0.7434])
        """
        rows = len(self.logits)
        if not -rows <= index < rows:
            raise OptionError(
                f"[explain] there is no row {index}: this trace has {rows:,}"
                f"{f', 0 to {rows - 1}' if rows else ''}."
            )
        index %= rows
        target = None if self.target is None else self.target[index : index + 1]
        return self._again(self.logits[index : index + 1], target, "none")

    def what_if(self, changes: Mapping[int, float]) -> WhatIf:
        """The same row with other logits, and what that does to the probabilities and the loss.

        Args:
            changes: the new logits by class index.

        Returns:
            A `WhatIf`, which holds both traces: print it.

        Raises:
            ShapeError: the trace has more than one row.
            OptionError: there is no such class, or the number is too large for the logits' type.

        Example:
            >>> changed = explain([2, -1, 0.1], 2).what_if({2: 3.5})
            >>> round(changed.before.value, 4), round(changed.after.value, 4)
            (2.0818, 0.2105)
        """
        rows, count = self.logits.shape
        if rows != 1:
            raise ShapeError(
                f"[explain] what_if changes a single row, and this trace has {rows:,}: choose one, "
                "e.g. trace.row(0).what_if(...)."
            )
        logits = self.logits.copy()
        for index, logit in changes.items():
            if not 0 <= index < count:
                raise OptionError(
                    f"[explain] there is no logit {index} to set: there are {count}, 0 to "
                    f"{count - 1}."
                )
            logits[0, index] = typed.rounded(np.float64(logit), self.dtype)
            if np.isinf(logits[0, index]) and np.isfinite(logit):
                raise OptionError(f"[explain] {logit} is too large for {self.dtype}.")
        return WhatIf(self, self._again(logits, self.target, self.reduction))

    def _again(
        self, logits: Float64, target: npt.NDArray[Any] | None, reduction: Reduction
    ) -> Trace:
        return _trace(
            logits,
            self.dtype,
            target,
            self._options,
            reduction=reduction,
            classes=self.classes,
            named=self.named,
        )

    @property
    def _options(self) -> dict[str, Any]:
        return {
            "weight": self.weight,
            "ignore_index": self.ignore_index,
            "label_smoothing": self.label_smoothing,
            "z_loss": self.z_loss,
            "softcap": self.softcap,
            "temperature": self.temperature,
        }

    def _story(self) -> Story:
        return row_story(self) if len(self.logits) == 1 else batch_story(self)

    def text(self, *, colour: bool = False) -> str:
        """In words and numbers: one row step by step, or a batch row by row.

        Args:
            colour: with a terminal's escape sequences for colours; else as plain text.
        """
        return write_text(self._story(), colour=colour)

    def to_dict(self) -> dict[str, Any]:
        """All numbers as lists, dictionaries and strings, as `to_json` writes them."""
        return {
            "format": "softxent.trace",
            "version": 1,
            **plain_data(self),
            "binary": plain_data(self.binary),
            "margin": plain_data(self.margin),
            "computed": plain_data(self.computed),
            "plain": plain_data(self.plain),
        }

    def to_json(self, *, indent: int | None = None) -> str:
        """All numbers as JSON.

        Every float64 reads back to the same bits; numbers of other types are written as the float64
        of the same value. JSON has no infinities and no NaN: they are the strings "Infinity",
        "-Infinity" and "NaN", which Python's `float` and JavaScript's `Number` read.

        Args:
            indent: by how many columns to indent; None for a single line.
        """
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def to_html(self, *, caption: str = "") -> str:
        """The explanation as a page of its own: no script, and nothing fetched from anywhere.

        Args:
            caption: what the numbers are of; stands above the title.
        """
        return write_page(self._story(), self._details(), caption)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return write_fragment(self._story(), self._details())

    def _details(self) -> list[Detail]:
        """The shown rows of a batch, step by step."""
        rows = len(self.logits)
        if rows == 1:
            return []
        stories = [row_story(self.row(index)) for index in range(min(rows, SHOWN_ROWS))]
        return [Detail(f"Row {index}: {story.title}", story) for index, story in enumerate(stories)]

    def __str__(self) -> str:
        more = "" if len(self.logits) < 2 else "\n\nA row step by step: print(trace.row(0))"
        return self.text() + more

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
    dtype = _type_of(logits)
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
    y = None if target is None else _numbers("target", target)
    w = None if weight is None else _numbers("weight", weight)
    if y is not None and y.size == 0 and y.ndim < given.ndim:
        y = y.astype(np.int64)  # an empty list is one of floats
    # Even where no loss is asked for, its options are checked.
    checked = np.zeros(given.shape[:-1], np.int64) if y is None else y
    loss = spec.Loss.of(
        "explain",
        given.shape,
        checked.shape,
        checked.dtype.kind,
        axis=-1,
        ignore_index=ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
        z_loss=z_loss,
        softcap=softcap,
        temperature=temperature,
    )
    if loss.target_kind == "probabilities":
        spec.check_masses("explain", checked)
    elif y is not None:
        spec.check_indices("explain", checked, count, loss.ignore_index)
    if w is not None:
        spec.check_weight("explain", w.shape, w, count)
    if y is not None:
        index = loss.target_kind == "index"
        y = np.atleast_1d(y).astype(np.int64) if index else np.atleast_2d(y).astype(np.float64)
    options: dict[str, Any] = {
        "weight": None if w is None else w.astype(np.float64),
        "ignore_index": loss.ignore_index,
        "label_smoothing": loss.label_smoothing,
        "z_loss": loss.z_loss,
        "softcap": loss.softcap,
        "temperature": loss.temperature,
    }
    return _trace(
        np.atleast_2d(given).astype(np.float64),
        dtype,
        y,
        options,
        reduction=loss.reduction,
        classes=names,
        named=classes is not None,
    )


def _trace(
    z: Float64,
    dtype: str,
    target: npt.NDArray[Any] | None,
    options: dict[str, Any],
    *,
    reduction: Reduction,
    classes: tuple[str, ...],
    named: bool,
) -> Trace:
    """The trace of logits (N, C) and a target, both checked."""
    temperature, softcap = options["temperature"], options["softcap"]
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
        value, gradient = cross_entropy_with_grad(z, target, reduction=reduction, **options)
        about_target = {
            **_about_target(z, target, probabilities, options),
            "value": None if reduction == "none" else float(value),
            "gradient": gradient,
        }
    return Trace(
        dtype=dtype,
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
        classes=classes,
        named=named,
        reduction=reduction,
        **options,
    )


def _type_of(logits: Any) -> str:
    """The logits' type by name; what isn't floating point is taken as float64."""
    if is_tensor(logits):
        name = str(logits.dtype).removeprefix("torch.") if logits.is_floating_point() else "float64"
    else:
        dtype = receive("explain", "logits", logits)[0].dtype
        name = dtype.name if kind_of(dtype) == "f" else "float64"
    if name not in typed.EPSILON:
        raise DTypeError(
            f"[explain] logits has dtype {name}: pass one of {', '.join(typed.EPSILON)}."
        )
    return name


def _numbers(name: str, values: Any) -> npt.NDArray[Any]:
    """A copy as an array, floating point as float64."""
    if is_tensor(values) and values.is_floating_point():
        values = values.detach().cpu().double()  # NumPy has no bfloat16
    array = receive("explain", name, values)[0]
    return array.astype(np.float64) if kind_of(array.dtype) == "f" else array.copy()


def _about_target(
    z: Float64, target: npt.NDArray[Any], probabilities: Float64, options: dict[str, Any]
) -> dict[str, Any]:
    """What a trace has only with a target: its mass, the losses and their gradient."""
    rows, count = probabilities.shape
    weight, smoothing = options["weight"], options["label_smoothing"]
    target_probability = None
    if target.ndim == 1:
        ignored = target == options["ignore_index"]
        kept, classes = np.flatnonzero(~ignored), target[~ignored]
        target_probability = np.full(rows, np.nan)
        target_probability[kept] = probabilities[kept, classes]
        denominator = float(len(kept) if weight is None else weight[classes].sum())
    else:
        ignored = np.zeros(rows, np.bool_)
        denominator = float(rows)
    mass = target_mass(target, count, weight, smoothing)
    mass[ignored] = 0
    losses = cross_entropy(z, target, reduction="none", **options)
    # The gradient of the sum holds each row's own.
    total, row_gradient = cross_entropy_with_grad(z, target, reduction="sum", **options)
    return {
        "target": target,
        "ignored": ignored,
        "mass": mass,
        "mass_sum": mass.sum(axis=1),
        "target_probability": target_probability,
        "losses": losses,
        "row_gradient": row_gradient,
        "mean": Mean(float(total), denominator),
    }


def _binary(trace: Trace) -> Binary:
    """Two classes as binary cross-entropy."""
    with np.errstate(all="ignore"):
        difference = trace.scaled[:, 1] - trace.scaled[:, 0]
        small = np.exp(-np.abs(difference))  # the sigmoid without overflow
        probability = np.where(difference >= 0, 1 / (1 + small), small / (1 + small))
        if trace.mass is None or trace.mass_sum is None:
            return Binary(difference=difference, probability=probability)
        target = trace.mass[:, 1] / trace.mass_sum
        counts = trace.mass_sum > 0
        share = np.where(counts, target, 0)
        losses = binary_cross_entropy_with_logits(difference, share, reduction="none")
        return Binary(
            difference=difference,
            probability=probability,
            target=target,
            losses=np.where(counts, losses, 0) * trace.mass_sum,
        )


def _margin(logits: Float64) -> Float64:
    """What brings each logit level with the highest, and the highest with the next."""
    rows = np.arange(len(logits))
    if not len(rows):
        return logits.copy()
    best = logits.argmax(axis=1)
    others = logits.copy()
    others[rows, best] = -np.inf
    with np.errstate(invalid="ignore", over="ignore"):
        margin = np.asarray(logits.max(axis=1)[:, None] - logits)
        margin[rows, best] = others.max(axis=1) - logits[rows, best]
    return margin
