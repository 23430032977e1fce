"""Rules on which score belongs to which class: columns, the class axis, the memory layout."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from softxent import ops
from softxent.doctor.arrays.loss_arguments import LossArguments
from softxent.doctor.finding import Evidence, Severity
from softxent.doctor.registry import rule

__all__: list[str] = []


@rule("arrays", severity="warning")
def column_order(case: LossArguments) -> Evidence | None:
    """The columns of the scores are in another order than the class indices.

    Symptom: a loss far above ln C and an accuracy below chance, from a model that is known to be
    good.

    Cause: columns in the order of names ("10" before "2"), in that of another file, or in that of
    the classes in the training set.

    Fix: take the order from the model (`classes_`) and index the columns with it.

    Source: https://github.com/cleanlab/cleanlab/issues/997

    Wrong:
        >>> right = 8 * np.eye(10)[target] + logits
        >>> order = np.roll(np.arange(10), 1)
        >>> doctor.check(right[:, order], target).rules
        ('column-order',)

    Fixed:
        >>> doctor.check(right[:, order][:, np.argsort(order)], target).rules
        ()
    """
    found = case.column_match
    if found is None or found.verdict != "another order":
        return None
    order, classes = found.order, case.classes
    shown = ", ".join(map(str, order[:10].tolist())) + (" ..." if classes > 10 else "")
    return Evidence(
        text=(
            f"In the given order the loss is {found.loss:.4g} and {found.accuracy:.1%} are "
            f"correct. With columns {shown} as classes 0, 1, 2 ... the loss is "
            f"{found.reordered_loss:.4g} and {found.reordered_accuracy:.1%} are correct; "
            f"predicting the class frequencies has {found.guess:.4g}."
            + (
                " That is the order of the numbers as text: 1, 10, 11 ..., 2."
                if found.by_text
                else ""
            )
        ),
        numbers={
            "loss": found.loss,
            "loss_reordered": found.reordered_loss,
            "accuracy": found.accuracy,
            "accuracy_reordered": found.reordered_accuracy,
            "guess": found.guess,
            "standard_errors": found.errors,
            "order": order.tolist(),
        },
        confidence="likely",
        why=(
            "every second row chose the order and the others judged it: the loss falls by "
            f"{found.errors:.0f} standard errors"
            + (
                ", and each class stands out by more than chance explains"
                if classes >= 8
                else "; with so few classes, large logits of an untrained model may do so by chance"
            )
        ),
        remedy="scores = scores[:, np.argsort(column_classes)]",
        not_checked="whether the labels are numbered differently, not the columns.",
    )


@rule("arrays", severity="warning")
def ambiguous_axis(case: LossArguments) -> Evidence | None:
    """Several axes fit as the class axis, and another one fits the labels better.

    Symptom: a plausible loss that doesn't fall as it should; no error is raised.

    Cause: (N, L, C) logits where torch takes axis 1 as the class axis, with as many positions as
    classes.

    Fix: `logits.permute(0, 2, 1)` for torch; otherwise name the axis.

    Source: https://github.com/weirme/FCSN/issues/32

    Wrong:
        >>> tokens = rng.integers(0, 10, (64, 10))
        >>> trained = 6 * np.eye(10)[tokens] + rng.standard_normal((64, 10, 10))
        >>> doctor.check(trained, tokens, axis=1).rules
        ('ambiguous-axis',)

    Fixed:
        >>> doctor.check(trained, tokens, axis=2).rules
        ()
    """
    if case.binary or case.scores.ndim < 3 or case.target_kind != "index":
        return None
    if case.loss == "nll_loss":
        return None
    others = [
        axis
        for axis in range(case.scores.ndim)
        if axis != case.axis
        and case.scores.shape[:axis] + case.scores.shape[axis + 1 :] == case.row_shape
    ]
    if not others or case.labels is None or not np.all(np.isfinite(case.scores)):
        return None
    here = _fit(case, case.scores, case.axis)
    fits = {axis: _fit(case, case.scores, axis) for axis in others}
    best = min(fits, key=lambda axis: fits[axis].loss)
    there = fits[best]
    severity: Severity = "warning" if _is_better(there, here, case) else "note"
    if severity == "note" and not case.axes:
        return None  # the axis was named, and nothing speaks against it
    return Evidence(
        severity=severity,
        text=(
            f"With scores of shape {case.scores.shape} the classes may be on axis {case.axis} or "
            f"{best}. On axis {case.axis} the loss is {here.loss:.4g} and {here.accuracy:.1%} are "
            f"correct; on axis {best} it is {there.loss:.4g} and {there.accuracy:.1%}."
        ),
        numbers={
            "axis": case.axis,
            "other": best,
            "loss": here.loss,
            "other_loss": there.loss,
            "accuracy": here.accuracy,
            "other_accuracy": there.accuracy,
        },
        confidence="likely" if severity == "warning" else "possible",
        why="the other axis predicts the labels, this one doesn't"
        if severity == "warning"
        else "neither predicts the labels better, as before training",
        remedy="loss = cross_entropy(logits.permute(0, 2, 1), target)  # torch: (N, C, L)",
        not_checked="what each axis stands for.",
    )


@rule("arrays", severity="warning")
def view_for_permute(case: LossArguments) -> Evidence | None:
    """The logits were reshaped with view or reshape, which mixes positions and classes.

    Symptom: the shapes are correct, the loss stays high, and each position learns from the label of
    another one.

    Cause: `logits.view(N, C, L)` of (N, L, C) logits reads the same memory in another order; only
    permute moves an axis.

    Fix: `logits.permute(0, 2, 1)`.

    Source: https://github.com/pytorch/pytorch/issues/27626

    Wrong:
        >>> tokens = rng.integers(0, 10, (64, 7))
        >>> trained = 6 * np.eye(10)[tokens] + rng.standard_normal((64, 7, 10))
        >>> doctor.check(trained.reshape(64, 10, 7), tokens, axis=1).rules
        ('view-for-permute',)

    Fixed:
        >>> doctor.check(trained.transpose(0, 2, 1), tokens, axis=1).rules
        ()
    """
    if case.binary or case.scores.ndim < 3 or case.target_kind != "index":
        return None
    if case.loss == "nll_loss" or case.axis != 1 or case.labels is None:
        return None
    if not np.all(np.isfinite(case.scores)):
        return None
    here = _fit(case, case.scores, case.axis)
    viewed = case.scores.reshape(*case.row_shape, case.classes)
    there = _fit(case, viewed, viewed.ndim - 1)
    if not _is_better(there, here, case):
        return None
    if case.scores.shape[:-1] == case.row_shape:  # the last axis could be the class axis as well
        moved = _fit(case, case.scores, case.scores.ndim - 1)
        if moved.loss <= there.loss + 1e-9:
            return None
    return Evidence(
        text=(
            f"As (N, C, ...) the loss is {here.loss:.4g} and {here.accuracy:.1%} are correct; the "
            f"same memory read as (N, ..., C) gives {there.loss:.4g} and {there.accuracy:.1%}."
        ),
        numbers={
            "loss": here.loss,
            "viewed_loss": there.loss,
            "accuracy": here.accuracy,
            "viewed_accuracy": there.accuracy,
        },
        confidence="likely",
        why="the memory in that order predicts the labels, in this order it doesn't",
        remedy="logits = logits.permute(0, 2, 1)  # not view, not reshape",
        not_checked="the code that reshaped it.",
    )


class _Fit(NamedTuple):
    """How well one reading of the scores predicts the labels of the sampled rows."""

    loss: float
    accuracy: float
    rows: int


def _fit(case: LossArguments, scores: npt.NDArray[Any], axis: int) -> _Fit:
    """How well the scores predict the labels if the classes are on that axis."""
    assert case.labels is not None
    moved = np.moveaxis(scores, axis, -1).reshape(-1, scores.shape[axis])
    rows = moved[case.row_numbers].astype(np.float64)
    loss = float(ops.cross_entropy(rows, case.labels))
    return _Fit(loss, float(np.mean(rows.argmax(axis=1) == case.labels)), len(rows))


def _is_better(other: _Fit, here: _Fit, case: LossArguments) -> bool:
    """Whether another reading predicts the labels, beyond chance, and this one doesn't."""
    chance = 1 / case.classes
    noise = math.sqrt(chance * (1 - chance) / max(1, here.rows))
    margin = max(6 * noise, 0.1)
    beyond = other.accuracy > here.accuracy + margin and other.accuracy > chance + margin
    return other.loss < here.loss and beyond
