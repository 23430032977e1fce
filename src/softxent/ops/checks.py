"""Checks of values: class indices, class probabilities, weights, binary targets.

Each takes a plain NumPy view, so that arrays and tensors are refused with the same words. Shapes
and options are checked in `softxent.ops.spec`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from softxent.errors import OptionError, ProbabilityError, ShapeError, TargetError
from softxent.ops.spec import describe
from softxent.ops.types import Array

__all__ = [
    "check_binary_values",
    "check_element_weight",
    "check_indices",
    "check_not_missing",
    "check_probabilities",
    "check_soft_target",
    "check_unit_interval",
    "check_weight",
]


def _first(bad: npt.NDArray[np.bool_]) -> int:
    """The flat position of the first True."""
    return int(bad.reshape(-1).argmax())


def _position(name: str, flat: int, shape: Sequence[int]) -> str:
    """An element as Python would index it: `target[3, 1]`."""
    if not shape:
        return name
    return f"{name}[{', '.join(str(i) for i in np.unravel_index(flat, tuple(shape)))}]"


def check_indices(op: str, target: Array, classes: int, ignore_index: int | None) -> None:
    """Every class index is in [0, classes) or equals ignore_index.

    Args:
        op: the public function's name.
        target: integers of any dtype and shape.
        classes: C.
        ignore_index: the value that is accepted as well, or None.

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
    flat = _first(bad)
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


def check_not_missing(op: str, target: Array) -> None:
    """Floats in the place of class indices hold no NaN, as labels with missing values do."""
    bad = np.isnan(target)
    if bad.any():
        where = _position("target", _first(bad), target.shape)
        raise TargetError(
            f"[{op}] {where} is nan, a missing label: drop the row, or leave it out of the loss by "
            "-100, e.g. numpy.where(numpy.isnan(target), -100, target).astype(int)."
        )


def check_soft_target(op: str, target: Array, axis: int, epsilon: float = 0.0) -> None:
    """Class probabilities are finite and >= 0 up to rounding; integers are one-hot rows.

    Floats need not add up to 1. A difference such as 1 - sum(q) may be a little below 0 instead of
    0; it is taken as it is. Integers in the logits' shape are more often class indices or masks
    with an axis too many, so they are taken as probabilities only where each row is one-hot.

    Args:
        op: the public function's name.
        target: in the logits' shape.
        axis: the class axis, >= 0.
        epsilon: the precision of the dtype that the caller passed.

    Raises:
        TargetError: naming the first position or row.
    """
    bad = ~((target >= -_rounding(epsilon)) & (target < np.inf))
    if bad.any():
        flat = _first(bad)
        raise TargetError(
            f"[{op}] {_position('target', flat, target.shape)} is {target.reshape(-1)[flat]}: "
            "class probabilities are finite and >= 0. Are logits and target in this order?"
        )
    if target.dtype.kind in "iub":
        _check_one_hot(op, target, axis)


def _rounding(epsilon: float) -> float:
    """How far outside [0, 1] the rounding of a sum of probabilities may move it."""
    return min(16 * epsilon, 2.0**-6)  # the smaller one in half precision


def _check_one_hot(op: str, target: Array, axis: int) -> None:
    total = target.sum(axis=axis, dtype=np.float64)
    bad = total != 1
    if not bad.any():
        return
    flat = _first(bad)
    where = _position("target", flat, total.shape) if total.ndim else "target"
    raise TargetError(
        f"[{op}] target has {target.dtype} numbers in the shape of the logits, "
        f"{describe(target.shape)}, and the row {where} adds up to {total.reshape(-1)[flat]:.6g}: "
        f"integers in this shape are one-hot rows. {_meaning_of_integers(target, axis)}"
    )


def _meaning_of_integers(target: Array, axis: int) -> str:
    """What integers that aren't one-hot rows probably are, with the remedy."""
    classes, largest = target.shape[axis], int(target.max())
    rows = describe(target.shape[:axis] + target.shape[axis + 1 :])
    if target.ndim == 1:
        return "Binary labels? Use binary_cross_entropy or binary_cross_entropy_with_logits."
    if classes == 1:
        return (
            "The logits have one class: for a binary mask use binary_cross_entropy_with_logits; "
            f"class indices have no class axis, shape {rows}."
        )
    if largest > 1 and not ((target != 0) & (target != largest)).any():
        return f"A mask of 0 and {largest}? Divide it by {largest}."
    if largest > 1:
        return f"Class indices? They have shape {rows}: one per row, without the class axis."
    return "Several classes or none in a row? Pass class probabilities as floats."


def check_weight(op: str, shape: Sequence[int], values: Array | None, classes: int) -> None:
    """Class weights have shape (C,) and are finite; None skips the check of values."""
    if tuple(shape) != (classes,):
        raise ShapeError(
            f"[{op}] weight has shape {describe(shape)}: pass one weight per class, "
            f"shape ({classes},)."
        )
    if values is None:
        return
    _check_finite(op, "weight", values)


def check_element_weight(op: str, name: str, weight: Array) -> None:
    """Weights per element are finite; their shape is checked by `spec.check_broadcast`."""
    _check_finite(op, name, weight)


def _check_finite(op: str, name: str, weight: Array) -> None:
    if weight.dtype.kind in "iub":
        return
    bad = ~np.isfinite(weight)
    if bad.any():
        flat = _first(bad)
        raise OptionError(
            f"[{op}] {_position(name, flat, weight.shape)} is {weight.reshape(-1)[flat]}: weights "
            "are finite. A class without rows, divided by 0? Give it the weight 0."
        )


def check_probabilities(op: str, probs: Array, axis: int, epsilon: float) -> None:
    """Each row holds probabilities: in [0, 1], with the sum 1.

    The sum may be off by the square root of the dtype's epsilon, as scikit-learn allows. float64
    numbers get the tolerance of float32: they often were float32 once, or come from a file with a
    few digits.
    """
    check_unit_interval(op, probs, hint=" Logits? Use cross_entropy.")
    total = probs.sum(axis=axis, dtype=np.float64)
    bad = np.abs(total - 1) > math.sqrt(max(epsilon, 2.0**-23))
    if bad.any():
        flat = _first(bad)
        where = _position("probs", flat, total.shape) if total.ndim else "probs"
        raise ProbabilityError(
            f"[{op}] the row {where} adds up to {total.reshape(-1)[flat]:.6g}: the probabilities "
            "of a row add up to 1. Logits? Use cross_entropy. Are the classes on another axis? "
            "Pass axis=."
        )


def check_unit_interval(op: str, probs: Array, hint: str = "") -> None:
    """Every number is in [0, 1]; NaN isn't."""
    bad = ~((probs >= 0) & (probs <= 1))
    if bad.any():
        flat = _first(bad)
        raise ProbabilityError(
            f"[{op}] {_position('probs', flat, probs.shape)} is {probs.reshape(-1)[flat]:.6g}: "
            f"probabilities are in [0, 1].{hint}"
        )


def check_binary_values(op: str, target: Array, epsilon: float) -> None:
    """Binary targets are in [0, 1] up to rounding in a dtype of this precision."""
    rounding = _rounding(epsilon)
    bad = ~((target >= -rounding) & (target <= 1 + rounding))
    if bad.any():
        flat = _first(bad)
        raise TargetError(
            f"[{op}] {_position('target', flat, target.shape)} is {target.reshape(-1)[flat]}: "
            "a binary target is in [0, 1]. More than two classes? Use cross_entropy."
        )
