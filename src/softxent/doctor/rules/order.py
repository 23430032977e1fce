"""Rules on which number of the scores belongs to which class: columns, axes, memory."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from softxent import ops
from softxent.doctor.cases import Arrays
from softxent.doctor.finding import Evidence, Level
from softxent.doctor.registry import rule

__all__: list[str] = []


@rule("arrays")
def column_order(case: Arrays) -> Evidence | None:
    """The columns of the scores stand in another order than the class numbers.

    Symptom: a loss far above ln C and an accuracy below chance, from a model that is known to be
    good.

    Cause: columns in the order of names ("10" before "2"), of another file, or of the classes that
    the training set happened to have.

    Cure: take the order from the model (`classes_`) and index the columns with it.

    Failing:
        >>> right = 8 * np.eye(10)[target] + logits
        >>> order = np.roll(np.arange(10), 1)
        >>> doctor.check(right[:, order], target).rules
        ('column-order',)

    Mended:
        >>> doctor.check(right[:, order][:, np.argsort(order)], target).rules
        ()
    """
    found = case.columns
    if found is None or found.verdict != "another order":
        return None
    order, classes = found.order, case.classes
    shown = ", ".join(map(str, order[:10].tolist())) + (" ..." if classes > 10 else "")
    return Evidence(
        level="warning",
        text=(
            f"As they stand the loss is {found.loss:.4g} and {found.accuracy:.1%} are right. With "
            f"columns {shown} as classes 0, 1, 2 ... it is {found.reordered_loss:.4g} and "
            f"{found.reordered_accuracy:.1%}; the class frequencies alone have {found.guess:.4g}."
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
            "the order was read off every second row and tried on the others: the loss falls by "
            f"{found.errors:.0f} standard errors"
            + (
                ", and each class stands out further than chance makes it"
                if classes >= 8
                else "; of so few classes an untrained model with large scores may do so by chance"
            )
        ),
        remedy="scores = scores[:, np.argsort(column_classes)]",
        not_checked="whether the labels, not the columns, are numbered otherwise.",
    )


@rule("arrays")
def ambiguous_axis(case: Arrays) -> Evidence | None:
    """The class axis can't be told from the shapes, and another one fits better.

    Symptom: a plausible loss that doesn't fall as it should; no error is raised.

    Cause: (N, L, C) logits where torch takes the classes from axis 1, with as many positions as
    classes.

    Cure: `logits.permute(0, 2, 1)` for torch; or name the axis.

    Failing:
        >>> tokens = rng.integers(0, 10, (64, 10))
        >>> told = 6 * np.eye(10)[tokens] + rng.standard_normal((64, 10, 10))
        >>> doctor.check(told, tokens, axis=1).rules
        ('ambiguous-axis',)

    Mended:
        >>> doctor.check(told, tokens, axis=2).rules
        ()
    """
    if case.binary or case.scores.ndim < 3 or case.kind != "index" or case.loss == "nll_loss":
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
    best = min(fits, key=lambda axis: fits[axis][0])
    level: Level = "warning" if _is_better(fits[best], here, case) else "note"
    if level == "note" and not case.axes:
        return None  # the axis was named, and nothing speaks against it
    return Evidence(
        level=level,
        text=(
            f"Scores of shape {case.scores.shape} fit the target with the classes on axis "
            f"{case.axis} or {best}. On axis {case.axis} the loss is {here[0]:.4g} and "
            f"{here[1]:.1%} "
            f"are right; on axis {best} it is {fits[best][0]:.4g} and {fits[best][1]:.1%}."
        ),
        numbers={
            "axis": case.axis,
            "other": best,
            "loss": here[0],
            "other_loss": fits[best][0],
            "accuracy": here[1],
            "other_accuracy": fits[best][1],
        },
        confidence="likely" if level == "warning" else "possible",
        why="the other axis predicts the labels, this one doesn't"
        if level == "warning"
        else "neither predicts the labels better, as before training",
        remedy="loss = cross_entropy(logits.permute(0, 2, 1), target)  # torch: (N, C, L)",
        not_checked="what each axis stands for.",
    )


@rule("arrays")
def view_for_permute(case: Arrays) -> Evidence | None:
    """Scores were brought into shape with view or reshape, which mixes positions and classes.

    Symptom: the shapes are right, the loss stays high, and each position learns from another's
    label.

    Cause: `logits.view(N, C, L)` of (N, L, C) logits reads the same memory in another order; only
    permute moves an axis.

    Cure: `logits.permute(0, 2, 1)`.

    Failing:
        >>> tokens = rng.integers(0, 10, (64, 7))
        >>> told = 6 * np.eye(10)[tokens] + rng.standard_normal((64, 7, 10))
        >>> doctor.check(told.reshape(64, 10, 7), tokens, axis=1).rules
        ('view-for-permute',)

    Mended:
        >>> doctor.check(told.transpose(0, 2, 1), tokens, axis=1).rules
        ()
    """
    if case.binary or case.scores.ndim < 3 or case.kind != "index" or case.loss == "nll_loss":
        return None
    if case.axis != 1 or case.labels is None or not np.all(np.isfinite(case.scores)):
        return None
    here = _fit(case, case.scores, case.axis)
    viewed = case.scores.reshape(*case.row_shape, case.classes)
    there = _fit(case, viewed, viewed.ndim - 1)
    moved = _fit(case, case.scores, case.scores.ndim - 1) if _square(case) else None
    if not _is_better(there, here, case) or (moved is not None and moved[0] <= there[0] + 1e-9):
        return None
    return Evidence(
        level="warning",
        text=(
            f"As (N, C, ...) the loss is {here[0]:.4g} and {here[1]:.1%} are right; the same "
            "memory "
            f"read as (N, ..., C) gives {there[0]:.4g} and {there[1]:.1%}."
        ),
        numbers={
            "loss": here[0],
            "viewed_loss": there[0],
            "accuracy": here[1],
            "viewed_accuracy": there[1],
        },
        confidence="likely",
        why="memory in that order predicts the labels, in this order it doesn't",
        remedy="logits = logits.permute(0, 2, 1)  # not view, not reshape",
        not_checked="the code that reshaped it.",
    )


def _square(case: Arrays) -> bool:
    """Whether the last axis could be the class axis as well."""
    return case.scores.shape[:-1] == case.row_shape


def _fit(case: Arrays, scores: npt.NDArray[np.generic], axis: int) -> tuple[float, float, int]:
    """(mean loss, accuracy, rows) of the sampled rows, were the classes on that axis."""
    assert case.labels is not None
    moved = np.moveaxis(scores, axis, -1).reshape(-1, scores.shape[axis])
    rows = moved[case.places].astype(np.float64)
    loss = float(ops.cross_entropy(rows, case.labels))
    return loss, float(np.mean(rows.argmax(axis=1) == case.labels)), len(rows)


def _is_better(
    other: tuple[float, float, int], here: tuple[float, float, int], case: Arrays
) -> bool:
    """Whether another reading predicts the labels, beyond chance, where this one doesn't."""
    chance = 1 / case.classes
    noise = math.sqrt(chance * (1 - chance) / max(1, here[2]))
    margin = max(6 * noise, 0.1)
    return other[0] < here[0] and other[1] > here[1] + margin and other[1] > chance + margin
