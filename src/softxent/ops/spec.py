"""A loss, validated and normalised, before anything is computed.

What is wrong with shapes, options and values is said here, from shapes and plain NumPy views, so
that every backend refuses the same input with the same words.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from softxent.errors import DTypeError, OptionError, ProbabilityError, ShapeError, TargetError

__all__ = [
    "IGNORE_INDEX",
    "Loss",
    "Reduction",
    "check_axis",
    "check_binary_shape",
    "check_binary_target",
    "check_binary_values",
    "check_count",
    "check_element_weight",
    "check_indices",
    "check_is_index",
    "check_k",
    "check_linear",
    "check_masses",
    "check_max_bytes",
    "check_probabilities",
    "check_reduction",
    "check_skip_below",
    "check_unit_interval",
    "check_weight",
    "describe",
]

Reduction = Literal["none", "mean", "sum"]
IGNORE_INDEX = -100


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """One cross-entropy: what its options and shapes say, checked.

    Attributes:
        op: the public function's name, for messages.
        axis: the class axis, >= 0.
        classes: C, the length of that axis.
        rows: the logits' shape without the class axis.
        target_kind: class `index` (shape `rows`) or class `probabilities` (the logits' shape).
        ignore_index: the class index that is left out, or None.
        is_plain_mean_or_sum: class indices, reduced, with no option that changes the logits or adds
            to the loss.
    """

    op: str
    axis: int
    classes: int
    rows: tuple[int, ...]
    target_kind: Literal["index", "probabilities"]
    ignore_index: int | None = IGNORE_INDEX
    reduction: Reduction = "mean"
    label_smoothing: float = 0.0
    z_loss: float = 0.0
    softcap: float | None = None
    temperature: float = 1.0
    is_plain_mean_or_sum: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        plain = (
            self.target_kind == "index"
            and self.reduction != "none"
            and self.ignore_index is not None
            and self.z_loss == 0
            and self.softcap is None
            and self.temperature == 1
        )
        object.__setattr__(self, "is_plain_mean_or_sum", plain)

    @classmethod
    def of(
        cls,
        op: str,
        logits_shape: Sequence[int],
        target_shape: Sequence[int],
        target_kind: str,
        *,
        axis: int,
        ignore_index: int | None = IGNORE_INDEX,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
        z_loss: float = 0.0,
        softcap: float | None = None,
        temperature: float = 1.0,
        scores: str = "logits",
        remember: bool = True,
    ) -> Loss:
        """Check the options, and the shapes against each other.

        Args:
            op: the public function's name.
            logits_shape: the shape of the scores.
            target_shape: the target's shape.
            target_kind: NumPy's letter for the kind of the target's dtype.
            axis: the class axis as the caller gave it.
            ignore_index, reduction, label_smoothing, z_loss, softcap, temperature: as
                `cross_entropy`.
            scores: what the scores are called in messages.
            remember: a training loop asks for the same again and again, and is answered faster;
                what records a graph can't look anything up.
        """
        question: tuple[Any, ...] = (
            op,
            tuple(logits_shape),
            tuple(target_shape),
            target_kind,
            axis,
            ignore_index,
            reduction,
            label_smoothing,
            z_loss,
            softcap,
            temperature,
            scores,
        )
        if remember:
            try:
                return _remembered(*question)
            except TypeError:  # an option that can't be remembered, such as an array of one number
                pass
        return cls._checked(*question)

    @classmethod
    def _checked(
        cls,
        op: str,
        logits_shape: tuple[int, ...],
        target_shape: tuple[int, ...],
        target_kind: str,
        axis: int,
        ignore_index: int | None,
        reduction: str,
        label_smoothing: float,
        z_loss: float,
        softcap: float | None,
        temperature: float,
        scores: str,
    ) -> Loss:
        axis = check_axis(op, axis, len(logits_shape), scores)
        rows = logits_shape[:axis] + logits_shape[axis + 1 :]
        return cls(
            op=op,
            axis=axis,
            classes=logits_shape[axis],
            rows=rows,
            target_kind=_target_kind(
                op, logits_shape, rows, axis, target_shape, target_kind, scores
            ),
            ignore_index=None if ignore_index is None else _int64(op, "ignore_index", ignore_index),
            reduction=check_reduction(op, reduction),
            label_smoothing=_number(op, "label_smoothing", label_smoothing, 0, 1),
            z_loss=_number(op, "z_loss", z_loss, 0, math.inf),
            softcap=None if softcap is None else _positive(op, "softcap", softcap),
            temperature=_positive(op, "temperature", temperature),
        )

    @classmethod
    def elementwise(cls, op: str, shape: Sequence[int], reduction: str) -> Loss:
        """A loss of one number an element: two classes, of which only one has a logit."""
        return cls(
            op=op,
            axis=len(shape),
            classes=2,
            rows=tuple(shape),
            target_kind="probabilities",
            reduction=check_reduction(op, reduction),
        )


_remembered = functools.lru_cache(maxsize=256, typed=True)(Loss._checked)


def _target_kind(
    op: str,
    logits_shape: tuple[int, ...],
    rows: tuple[int, ...],
    axis: int,
    target_shape: tuple[int, ...],
    kind: str,
    scores: str,
) -> Literal["index", "probabilities"]:
    if target_shape == logits_shape and kind in "fiub":
        return "probabilities"  # whole numbers too: a one-hot row needs no decimal point
    if target_shape == rows and kind in "iu":
        return "index"
    if kind not in "fiu":
        raise DTypeError(
            f"[{op}] target holds {_KINDS.get(kind, 'objects')}, which name no class. Pass class "
            f"indices (integers, shape {describe(rows)}) or class probabilities (floats, "
            f"shape {describe(logits_shape)})."
        )
    if target_shape == rows:
        raise DTypeError(
            f"[{op}] target has floats in the shape of class indices, {describe(rows)}. Class "
            "indices are integers: convert them, e.g. target.astype(int) or target.long()."
        )
    message = (
        f"[{op}] target has shape {describe(target_shape)}, but {scores} of shape "
        f"{describe(logits_shape)} with the classes on axis {axis} want class indices of shape "
        f"{describe(rows)} or class probabilities of shape {describe(logits_shape)}."
    )
    if target_shape == (*rows, 1) or target_shape == (1, *rows):
        message += " Drop the axis of length 1: target.squeeze()."
    elif len(logits_shape) > 1 and target_shape == logits_shape[:1] + logits_shape[2:]:
        message += " Are the classes on axis 1? Pass axis=1."
    raise ShapeError(message)


_KINDS = {"b": "booleans", "c": "complex numbers", "U": "text", "S": "bytes"}


def describe(shape: Sequence[int]) -> str:
    """A shape as NumPy prints it."""
    return str(tuple(shape))


def check_axis(op: str, axis: int, ndim: int, name: str = "x") -> int:
    """The axis, >= 0."""
    axis = _integer(op, "axis", axis)
    if ndim == 0:
        raise ShapeError(f"[{op}] {name} has no axis: it is a single number. Pass at least (C,).")
    if not -ndim <= axis < ndim:
        raise ShapeError(
            f"[{op}] axis is {axis}, but {name} has {ndim} axes: valid are {-ndim} to {ndim - 1}."
        )
    return axis % ndim


def check_count(op: str, name: str, value: Any) -> int:
    """A number of things, >= 0."""
    count = _integer(op, name, value)
    if count < 0:
        raise OptionError(f"[{op}] {name} is {count}: pass a number >= 0.")
    return count


def check_k(op: str, k: Any, classes: int) -> int:
    """How many of the classes, 1 to all."""
    count = _integer(op, "k", k)
    if not 1 <= count <= classes:
        raise OptionError(
            f"[{op}] k is {count}, but there are {classes} classes: valid are 1 to {classes}."
        )
    return count


def check_linear(
    op: str,
    features_shape: Sequence[int],
    classifier_shape: Sequence[int],
    bias_shape: Sequence[int] | None,
) -> tuple[int, ...]:
    """The shape of the logits of features (..., D), a classifier (C, D) and a bias (C,)."""
    features_shape, classifier_shape = tuple(features_shape), tuple(classifier_shape)
    if len(features_shape) == 0 or len(classifier_shape) != 2:
        raise ShapeError(
            f"[{op}] features have shape {describe(features_shape)} and the classifier "
            f"{describe(classifier_shape)}: pass features (..., D) and one row a class, (C, D)."
        )
    if features_shape[-1] != classifier_shape[-1]:
        message = (
            f"[{op}] features of shape {describe(features_shape)} have {features_shape[-1]} "
            f"numbers a row, but a classifier of shape {describe(classifier_shape)} wants "
            f"{classifier_shape[-1]}."
        )
        if features_shape[-1] == classifier_shape[0]:
            message += " Is it transposed? Pass classifier.T: one row a class."
        raise ShapeError(message)
    classes = classifier_shape[0]
    if bias_shape is not None and tuple(bias_shape) != (classes,):
        raise ShapeError(
            f"[{op}] bias has shape {describe(bias_shape)}: pass one number a class, shape "
            f"({classes},)."
        )
    return (*features_shape[:-1], classes)


def check_max_bytes(op: str, value: Any) -> int:
    """How many bytes may be held."""
    count = _integer(op, "max_bytes", value)
    if count < 2**20:
        raise OptionError(f"[{op}] max_bytes is {count}: pass at least 1 MiB, {2**20}.")
    return count


def check_skip_below(op: str, value: Any) -> float:
    """A bound of probabilities, in [0, 1]."""
    return _number(op, "skip_below", value, 0, 1)


def check_reduction(op: str, reduction: str) -> Reduction:
    """One of the three reductions."""
    if reduction not in ("none", "mean", "sum"):
        raise OptionError(
            f"[{op}] reduction is {reduction!r}: valid are 'none' (a loss a row), 'mean', 'sum'."
        )
    return cast(Reduction, reduction)


def _integer(op: str, name: str, value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise OptionError(f"[{op}] {name} is {value!r}: pass an integer.") from None


def _int64(op: str, name: str, value: Any) -> int:
    number = _integer(op, name, value)
    if not -(2**63) <= number < 2**63:
        raise OptionError(f"[{op}] {name} is {number}: pass an integer of 64 bits.")
    return number


def _number(op: str, name: str, value: Any, low: float, high: float) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise OptionError(f"[{op}] {name} is {value!r}: pass a number.") from None
    if not low <= number <= high or number == math.inf:
        upper = "" if high == math.inf else f" and <= {high}"
        raise OptionError(f"[{op}] {name} is {number}: valid values are >= {low}{upper}, finite.")
    return number


def _positive(op: str, name: str, value: Any) -> float:
    number = _number(op, name, value, 0, math.inf)
    if number == 0:
        raise OptionError(f"[{op}] {name} is 0: valid values are > 0, finite.")
    return number


def _position(name: str, flat: int, shape: Sequence[int]) -> str:
    if not shape:
        return name
    return f"{name}[{', '.join(str(i) for i in np.unravel_index(flat, tuple(shape)))}]"


def check_indices(
    op: str,
    target: npt.NDArray[Any],
    classes: int,
    ignore_index: int | None,
) -> None:
    """Every class index is in [0, classes) or is ignore_index.

    Args:
        op: the public function's name.
        target: integers of any dtype and shape.
        classes: C.
        ignore_index: the value that is let through, or None.

    Raises:
        TargetError: naming the first position, its value and the range.
    """
    if target.size == 0:
        return
    low, high = int(target.min()), int(target.max())
    if low >= 0 and high < classes:
        return
    bad = (target < 0) | (target >= classes)
    if ignore_index is not None:
        bad &= target != ignore_index
    flat = int(bad.reshape(-1).argmax())
    if not bad.reshape(-1)[flat]:
        return
    value = int(target.reshape(-1)[flat])
    also = "" if ignore_index is None else f" (or ignore_index={ignore_index})"
    valid = f"valid targets are 0 to {classes - 1}{also}" if classes else "no target is valid"
    message = (
        f"[{op}] {_position('target', flat, target.shape)} is {value}, but there "
        f"{'is 1 class' if classes == 1 else f'are {classes} classes'}: {valid}."
    )
    if value == classes > 0 and (low >= 1 or (ignore_index is not None and low == ignore_index)):
        message += " Labels that start at 1? Subtract 1."
    elif value < 0 and ignore_index is not None:
        message += f" Padding? Pass ignore_index={value}."
    raise TargetError(message)


def check_masses(op: str, target: npt.NDArray[Any]) -> None:
    """Class probabilities as a target are >= 0 and finite; they need not add up to 1."""
    bad = ~((target >= 0) & (target < np.inf))
    if bad.any():
        flat = int(bad.reshape(-1).argmax())
        raise TargetError(
            f"[{op}] {_position('target', flat, target.shape)} is {target.reshape(-1)[flat]}: "
            "class probabilities are finite and >= 0. Are logits and target in this order?"
        )


def check_weight(op: str, shape: Sequence[int], values: npt.NDArray[Any], classes: int) -> None:
    """Class weights: (C,), finite, >= 0."""
    if tuple(shape) != (classes,):
        raise ShapeError(
            f"[{op}] weight has shape {describe(shape)}: pass one weight a class, "
            f"shape ({classes},)."
        )
    bad = ~((values >= 0) & (values < np.inf))
    if bad.any():
        flat = int(bad.argmax())
        raise OptionError(f"[{op}] weight[{flat}] is {values[flat]}: weights are finite and >= 0.")


def check_element_weight(
    op: str, weight: npt.NDArray[Any], shape: Sequence[int]
) -> npt.NDArray[Any]:
    """Weights of elements: finite, >= 0, and broadcast to `shape`, in which they are returned."""
    try:
        wide = np.broadcast_to(weight, tuple(shape))
    except ValueError:
        raise ShapeError(
            f"[{op}] a weight of shape {describe(weight.shape)} doesn't broadcast to the shape "
            f"{describe(shape)}."
        ) from None
    if not ((weight >= 0) & (weight < np.inf)).all():
        raise OptionError(
            f"[{op}] a weight is negative or not finite: weights are finite and >= 0."
        )
    return wide


def check_is_index(loss: Loss) -> None:
    """The target is made of class indices."""
    if loss.target_kind != "index":
        raise ShapeError(
            f"[{loss.op}] target has the shape of log_probs: pass class indices of shape "
            f"{describe(loss.rows)}. Class probabilities? Use log_loss."
        )


def check_probabilities(op: str, probs: npt.NDArray[Any], axis: int, precision: float) -> None:
    """Each row holds probabilities: in [0, 1], adding up to 1.

    The sum may be off by the square root of the precision of the dtype that they came in, as
    scikit-learn allows, but float64 numbers are taken for no more than float32 ones: they often
    were, or come from a file with a few digits.
    """
    check_unit_interval(op, probs, hint=" Logits? Use cross_entropy.")
    total = probs.sum(axis=axis, dtype=np.float64)
    bad = np.abs(total - 1) > math.sqrt(max(precision, 2.0**-23))
    if bad.any():
        flat = int(bad.reshape(-1).argmax())
        where = _position("probs", flat, total.shape) if total.ndim else "probs"
        raise ProbabilityError(
            f"[{op}] the row {where} adds up to {total.reshape(-1)[flat]:.6g}: the probabilities "
            "of a row add up to 1. Logits? Use cross_entropy. Are the classes on another axis? "
            "Pass axis=."
        )


def check_unit_interval(op: str, probs: npt.NDArray[Any], hint: str = "") -> None:
    """Every number is in [0, 1]; a NaN isn't."""
    bad = ~((probs >= 0) & (probs <= 1))
    if bad.any():
        flat = int(bad.reshape(-1).argmax())
        raise ProbabilityError(
            f"[{op}] {_position('probs', flat, probs.shape)} is {probs.reshape(-1)[flat]:.6g}: "
            f"probabilities are in [0, 1].{hint}"
        )


def check_binary_target(
    op: str, scores: str, scores_shape: Sequence[int], target: npt.NDArray[Any]
) -> None:
    """Binary targets: the shape of the scores, values in [0, 1]."""
    check_binary_shape(op, scores, scores_shape, target.shape)
    check_binary_values(op, target)


def check_binary_shape(
    op: str, scores: str, scores_shape: Sequence[int], target_shape: Sequence[int]
) -> None:
    """Binary targets have the shape of the scores."""
    if tuple(target_shape) != tuple(scores_shape):
        raise ShapeError(
            f"[{op}] target has shape {describe(target_shape)} and {scores} has shape "
            f"{describe(scores_shape)}: they must be equal. Nothing is broadcast; (N, 1) against "
            "(N,) would become (N, N). Reshape one of them."
        )


def check_binary_values(op: str, target: npt.NDArray[Any]) -> None:
    """Binary targets are in [0, 1]."""
    bad = ~((target >= 0) & (target <= 1))
    if bad.any():
        flat = int(bad.reshape(-1).argmax())
        raise TargetError(
            f"[{op}] {_position('target', flat, target.shape)} is {target.reshape(-1)[flat]}: "
            "a binary target is in [0, 1]. More than two classes? Use cross_entropy."
        )
