"""A loss, checked before anything is computed: shapes, axes and options.

Shapes are plain tuples here, so that every backend refuses the same input with the same words.
Values are checked in `softxent.ops.checks`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from softxent.errors import DTypeError, OptionError, ShapeError
from softxent.ops.dtypes import COMPUTED_IN
from softxent.ops.options import (
    DEFAULTS,
    NAMES,
    LossOptions,
    Reduction,
    are_defaults_except,
    check_options,
    check_reduction,
    integer,
    number,
    with_weight,
)

__all__ = [
    "Loss",
    "check_axes",
    "check_axis",
    "check_binary_shape",
    "check_broadcast",
    "check_count",
    "check_is_index",
    "check_k",
    "check_linear",
    "check_max_bytes",
    "check_skip_below",
    "describe",
    "dtype_name",
    "size_of",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """One cross-entropy: checked options and shapes.

    Attributes:
        op: the public function's name, for messages.
        axis: the class axis, >= 0.
        classes: C, the length of that axis.
        rows: the logits' shape without the class axis.
        target_kind: "index" (shape `rows`) or "probabilities" (the logits' shape).
        options: the checked options, without the class weights: those are an array or a tensor and
            travel beside the loss.
        is_plain: class indices, reduced to one number, with no option that changes the logits or
            adds to the loss. Such a loss takes the kernels' fast path.
        kernel_options: the options as arguments of the compiled kernels.
    """

    op: str
    axis: int
    classes: int
    rows: tuple[int, ...]
    target_kind: Literal["index", "probabilities"]
    options: LossOptions = DEFAULTS
    is_plain: bool = field(init=False, repr=False)
    kernel_options: dict[str, Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        options = self.options
        plain = (
            self.target_kind == "index"
            and options.reduction != "none"
            and options.ignore_index is not None
            # Any other option keeps the loss off the fast path, which doesn't compute it.
            and are_defaults_except(options, "ignore_index", "reduction", "label_smoothing")
        )
        object.__setattr__(self, "is_plain", plain)
        object.__setattr__(self, "kernel_options", _kernel_options(options))

    @classmethod
    def of(
        cls,
        op: str,
        logits_shape: Sequence[int],
        target_shape: Sequence[int],
        target_kind: str,
        *,
        axis: int,
        options: LossOptions,
        name: str = "logits",
        remember: bool = True,
    ) -> Loss:
        """Check the options, and the shapes against each other.

        Args:
            op: the public function's name.
            logits_shape: the shape of the logits, or of what stands in their place.
            target_shape: the target's shape.
            target_kind: NumPy's letter for the kind of the target's dtype.
            axis: the class axis as the caller gave it.
            options: as the caller gave them.
            name: the public name of the argument that has `logits_shape`.
            remember: look the answer up in a cache, since a training loop asks for the same loss
                again and again. A graph that is being recorded can't use a cache.
        """
        if options.weight is not None:
            options = with_weight(options, None)
        arguments = (op, tuple(logits_shape), tuple(target_shape), target_kind, axis, name, options)
        if remember:
            try:
                # With its kind, so that ignore_index=-100.0 doesn't get the answer for -100.
                return _remembered(isinstance(options.ignore_index, int), *arguments)
            except TypeError:  # an unhashable option, such as an array of one number
                pass
        return cls._checked(*arguments)

    @classmethod
    def _checked(
        cls,
        op: str,
        logits_shape: tuple[int, ...],
        target_shape: tuple[int, ...],
        kind: str,
        axis: int,
        name: str,
        options: LossOptions,
    ) -> Loss:
        axis = check_axis(op, axis, len(logits_shape), name)
        rows = logits_shape[:axis] + logits_shape[axis + 1 :]
        return cls(
            op=op,
            axis=axis,
            classes=logits_shape[axis],
            rows=rows,
            target_kind=_target_kind(op, logits_shape, rows, axis, target_shape, kind, name),
            options=check_options(op, options),
        )

    @classmethod
    def elementwise(
        cls, op: str, shape: Sequence[int], reduction: str, *, remember: bool = True
    ) -> Loss:
        """A binary loss, one number per element: two classes, of which only one has a logit.

        Args:
            op, remember: as `of`.
            shape: of the logits and of the target.
            reduction: as the caller gave it.
        """
        checked = check_reduction(op, "reduction", reduction)
        make = _remembered_elementwise if remember else _elementwise
        return make(op, tuple(shape), checked)


@functools.lru_cache(maxsize=256, typed=True)
def _remembered(is_integer: bool, *arguments: Any) -> Loss:
    return Loss._checked(*arguments)


def _elementwise(op: str, shape: tuple[int, ...], reduction: Reduction) -> Loss:
    return Loss(
        op=op,
        axis=len(shape),
        classes=2,
        rows=shape,
        target_kind="probabilities",
        options=LossOptions(reduction=reduction),
    )


_remembered_elementwise = functools.lru_cache(maxsize=256)(_elementwise)


def _kernel_options(options: LossOptions) -> dict[str, Any]:
    """The options as the kernels take them, without weight and reduction."""
    return {
        name: _KERNEL_VALUE_OF_NONE[name] if value is None else value
        for name, value in zip(NAMES, options, strict=True)
        if name not in ("weight", "reduction")
    }


# Without an ignore_index every class index is checked before the call, so the kernels never meet
# -1. A softcap of 0 means none.
_KERNEL_VALUE_OF_NONE: dict[str, Any] = {"ignore_index": -1, "softcap": 0.0}


def _target_kind(
    op: str,
    logits_shape: tuple[int, ...],
    rows: tuple[int, ...],
    axis: int,
    target_shape: tuple[int, ...],
    kind: str,
    name: str,
) -> Literal["index", "probabilities"]:
    if target_shape == logits_shape and kind in "fiub":
        return "probabilities"  # integers too: one-hot rows
    if target_shape == rows and kind in "iu":
        return "index"
    if kind not in "fiu":
        raise DTypeError(
            f"[{op}] target holds {_KINDS.get(kind, 'other numbers')}, which name no class. Pass "
            f"class indices (integers, shape {describe(rows)}) or class probabilities (floats, "
            f"shape {describe(logits_shape)})."
        )
    if target_shape == rows:
        raise DTypeError(
            f"[{op}] target has floats in the shape of class indices, {describe(rows)}. Class "
            "indices are integers: convert them, e.g. target.astype(int) or target.long()."
        )
    message = (
        f"[{op}] target has shape {describe(target_shape)}, but {name} of shape "
        f"{describe(logits_shape)} with the classes on axis {axis} need class indices of shape "
        f"{describe(rows)} or class probabilities of shape {describe(logits_shape)}."
    )
    if axis < len(rows) and target_shape == (*rows[:axis], 1, *rows[axis:]):
        message += f" Drop the class axis of length 1: target.squeeze({axis})."
    elif target_shape == (*rows, 1) or target_shape == (1, *rows):
        message += " Drop the axis of length 1: target.squeeze()."
    elif len(logits_shape) > 1 and target_shape == logits_shape[:1] + logits_shape[2:]:
        message += " Are the classes on axis 1? Pass axis=1."
    raise ShapeError(message)


_KINDS = {"b": "booleans", "c": "complex numbers"}


def describe(shape: Sequence[int]) -> str:
    """A shape as NumPy prints it."""
    return str(tuple(shape))


def size_of(shape: Sequence[int]) -> int:
    """The number of elements of an array of this shape."""
    result = 1
    for length in shape:
        result *= length
    return result


def check_axis(op: str, axis: int, ndim: int, name: str = "x") -> int:
    """The axis, >= 0."""
    axis = integer(op, "axis", axis)
    if ndim == 0:
        raise ShapeError(f"[{op}] {name} has no axis: it is a single number. Pass at least (C,).")
    if not -ndim <= axis < ndim:
        raise ShapeError(
            f"[{op}] axis is {axis}, but {name} has {ndim} axes: valid are {-ndim} to {ndim - 1}."
        )
    return axis % ndim


def check_axes(op: str, axis: Any, ndim: int, name: str = "x") -> tuple[int, ...]:
    """The axes to reduce together, >= 0 and ascending: one, several, or all for None.

    A single number has no axis; as in NumPy and torch it also takes the axis 0 or -1.
    """
    if axis is None:
        return tuple(range(ndim))
    given = axis if isinstance(axis, tuple | list) else (axis,)
    if ndim == 0 and len(given) <= 1 and all(integer(op, "axis", a) in (-1, 0) for a in given):
        return ()
    axes = sorted(check_axis(op, a, ndim, name) for a in given)
    if len({*axes}) < len(axes):
        raise OptionError(
            f"[{op}] axis is {axis!r}, which names an axis twice: pass each one once."
        )
    return tuple(axes)


def check_count(op: str, name: str, value: Any) -> int:
    """A count, >= 0."""
    count = integer(op, name, value)
    if count < 0:
        raise OptionError(f"[{op}] {name} is {count}: pass a number >= 0.")
    return count


def check_k(op: str, k: Any, classes: int) -> int:
    """A number of classes, 1 to all."""
    count = integer(op, "k", k)
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
            f"{describe(classifier_shape)}: pass features (..., D) and one row per class, (C, D)."
        )
    if features_shape[-1] != classifier_shape[-1]:
        message = (
            f"[{op}] features of shape {describe(features_shape)} have {features_shape[-1]} "
            f"numbers per row, but a classifier of shape {describe(classifier_shape)} needs "
            f"{classifier_shape[-1]}."
        )
        if features_shape[-1] == classifier_shape[0]:
            message += " Is it transposed? Pass classifier.T: one row per class."
        raise ShapeError(message)
    classes = classifier_shape[0]
    if bias_shape is not None and tuple(bias_shape) != (classes,):
        raise ShapeError(
            f"[{op}] bias has shape {describe(bias_shape)}: pass one number per class, shape "
            f"({classes},)."
        )
    return (*features_shape[:-1], classes)


def dtype_name(op: str, dtype: Any) -> str:
    """The name of a dtype of NumPy or torch, of NumPy's class, or the name itself."""
    name = str(getattr(dtype, "__name__", dtype)).removeprefix("torch.")
    if name in COMPUTED_IN:
        return name
    raise OptionError(f"[{op}] logits_dtype is {dtype!r}: pass a dtype, such as float32, or None.")


def check_max_bytes(op: str, value: Any) -> int:
    """A limit of memory, at least 1 MiB."""
    count = integer(op, "max_bytes", value)
    if count < 2**20:
        raise OptionError(f"[{op}] max_bytes is {count}: pass at least 1 MiB, {2**20}.")
    return count


def check_skip_below(op: str, value: Any) -> float:
    """A bound of probabilities, in [0, 1]."""
    return number(op, "skip_below", value, 1)


def check_is_index(loss: Loss) -> None:
    """The target holds class indices."""
    if loss.target_kind != "index":
        raise ShapeError(
            f"[{loss.op}] target has the shape of log_probs: pass class indices of shape "
            f"{describe(loss.rows)}. Class probabilities? Use log_loss."
        )


def check_broadcast(op: str, name: str, shape: Sequence[int], like: Sequence[int]) -> None:
    """A weight per element broadcasts to the shape of the logits or probabilities."""
    shape, like = tuple(shape), tuple(like)
    fits = len(shape) <= len(like) and all(
        mine in (1, theirs) for mine, theirs in zip(shape[::-1], like[::-1], strict=False)
    )
    if fits:
        return
    message = (
        f"[{op}] {name} has shape {describe(shape)}, which doesn't broadcast to the shape "
        f"{describe(like)} of the first argument."
    )
    if len(like) > 2 and shape == like[1:2]:
        ones = ", 1" * (len(like) - 2)
        message += f" One weight per class on axis 1? Pass {name}.reshape(-1{ones})."
    elif shape == like[:1]:
        ones = ", 1" * (len(like) - 1)
        message += f" One weight per row? Pass {name}.reshape(-1{ones})."
    else:
        message += " Pass one number, or one for each element."
    raise ShapeError(message)


def check_binary_shape(
    op: str, name: str, shape: Sequence[int], target_shape: Sequence[int]
) -> None:
    """Binary targets have the shape of the logits or probabilities."""
    if tuple(target_shape) != tuple(shape):
        raise ShapeError(
            f"[{op}] target has shape {describe(target_shape)} and {name} has shape "
            f"{describe(shape)}: they must be equal. Nothing is broadcast; (N, 1) against "
            "(N,) would become (N, N). Reshape one of them."
        )
