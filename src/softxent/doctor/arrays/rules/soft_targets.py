"""Rules on class probabilities as the target, and on a target that is something else."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from softxent.doctor.arrays.loss_arguments import LossArguments
from softxent.doctor.finding import Evidence
from softxent.doctor.registry import rule

__all__: list[str] = []


@rule("arrays", severity="error")
def swapped_arguments(case: LossArguments) -> Evidence | None:
    """Scores and target are passed in the wrong order.

    Symptom: a loss that is negative or implausible and doesn't fall, or an error about the dtype of
    the target.

    Cause: torch takes (input, target), scikit-learn (y_true, y_pred), TensorFlow keywords.

    Fix: pass the scores first and the target second.

    Source: https://github.com/guillaume-chevalier/LSTM-Human-Activity-Recognition/issues/8

    Wrong:
        >>> doctor.check(np.eye(10)[target], logits).rules
        ('softmax-twice', 'swapped-arguments')

    Fixed:
        >>> doctor.check(logits, np.eye(10)[target]).rules
        ()
    """
    text = _evidence_of_swap(case)
    if text is None or case.target is None:
        return None
    one = case.row_count < 2 and not case.binary
    return Evidence(
        severity="warning" if one else "error",
        text=text,
        numbers={
            "scores_dtype": str(case.scores.dtype),
            "target_lowest": float(case.target.min()),
            "target_highest": float(case.target.max()),
        },
        confidence="likely",
        why="each is what the other should be"
        + (", but a single row may be so by chance" if one else ""),
        remedy="loss = cross_entropy(logits, target)  # scores first",
        not_checked="the names of the arrays in the code that made them.",
    )


def _evidence_of_swap(case: LossArguments) -> str | None:
    """Why the scores are a target and the target is scores; None if they aren't."""
    if case.target is None or not case.scores.size or not case.target.size:
        return None
    if case.target_kind == "swapped":
        return (
            f"The scores are whole numbers of shape {case.scores.shape}, the target is "
            f"{case.target.dtype} of shape {case.target.shape}."
        )
    y = case.target
    if case.binary and case.target_kind == "elementwise":
        few = case.scores.size < 4
        if few or not np.all(_zero_or_one(case.scores)) or np.mean(_zero_or_one(y)) > 0.5:
            return None
        return (
            f"All {case.scores.size:,} scores are 0 or 1, like labels, and the numbers of the "
            f"target range from {y.min():.4g} to {y.max():.4g}."
        )
    soft = case.soft_target
    if soft is None or case.scores.ndim < 2 or case.row_kind != "probabilities":
        return None
    if soft.min() < 0 or soft.max() > 1 + case.tolerance:
        return (
            "The rows of scores sum to 1, like those of a target, and the numbers of the target "
            f"range from {soft.min():.4g} to {soft.max():.4g}, like logits."
        )
    one_hot = _zero_or_one(soft).all(axis=1)
    if np.all(_zero_or_one(case.rows)) and one_hot.mean() <= 0.5:
        return (
            f"All {len(case.rows):,} rows of scores are one-hot, like labels, and "
            f"{int((~one_hot).sum()):,} rows of the target are not, like predictions."
        )
    smoothing = _smoothing_of(case.rows)
    if smoothing is not None and not one_hot.any() and _smoothing_of(soft) is None:
        return (
            f"All {len(case.rows):,} rows of scores are one-hot rows smoothed by {smoothing:.3g}, "
            "like a target, and the rows of the target have as many different numbers as "
            "predictions."
        )
    return None


def _zero_or_one(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    return np.asarray((values == 0) | (values == 1))


def _smoothing_of(rows: npt.NDArray[np.float64]) -> float | None:
    """The label smoothing, if it is the same in all rows of three classes or more; else None."""
    classes = rows.shape[1]
    if classes < 3:
        return None
    low, high = rows.min(axis=1), rows.max(axis=1)
    others = rows.sum(axis=1) - high
    same = np.ptp(low) <= 1e-6 and np.ptp(high) <= 1e-6 and high[0] > low[0] > 0
    alike = np.all(np.abs(others - (classes - 1) * low) <= 1e-6 * classes)
    return float(classes * low[0]) if same and alike else None


@rule("arrays", severity="error")
def negative_target(case: LossArguments) -> Evidence | None:
    """Class probabilities in the target are negative or NaN.

    Symptom: a loss below 0, or NaN.

    Cause: the logits or log-probabilities of a teacher as the target, or arithmetic on one-hot
    rows.

    Fix: pass the softmax of the teacher's logits.

    Source: https://github.com/pytorch/pytorch/issues/152437

    Wrong:
        >>> doctor.check(logits, 2 * np.eye(10)[target] - 0.1).rules
        ('negative-target',)

    Fixed:
        >>> doctor.check(logits, 0.9 * np.eye(10)[target] + 0.01).rules
        ()
    """
    soft = case.soft_target
    if soft is None or not soft.size or case.row_kind == "probabilities":
        return None
    bad = ~(soft >= -case.tolerance)
    if not bad.any():
        return None
    lowest = float(np.nanmin(soft)) if not np.isnan(soft).all() else math.nan
    row = int(case.row_numbers[int(bad.any(axis=1).argmax())])
    return Evidence(
        text=(
            f"{bad.sum():,} of {soft.size:,} target probabilities are negative or NaN, the lowest "
            f"{lowest:.4g}; the first is in row {row}."
        ),
        numbers={"count": int(bad.sum()), "lowest": lowest, "first_row": row},
        confidence="certain",
        why="a probability is at least 0",
        remedy="target = softmax(teacher_logits)",
        not_checked="what the numbers are instead.",
    )


@rule("arrays", severity="warning")
def unnormalised_target(case: LossArguments) -> Evidence | None:
    """Class probabilities in the target don't sum to 1.

    Symptom: a loss on another scale, whose lowest value isn't the entropy of the target. Rows count
    by their sum.

    Cause: counts, or several labels per row (multi-hot), were passed as class probabilities.

    Fix: divide each row by its sum. For labels that don't exclude each other use a binary loss for
    each class.

    Source: https://github.com/pytorch/pytorch/issues/134771

    Wrong:
        >>> doctor.check(logits, np.eye(10)[target] + np.eye(10)[target - 1]).rules
        ('unnormalised-target',)

    Fixed:
        >>> doctor.check(logits, (np.eye(10)[target] + np.eye(10)[target - 1]) / 2).rules
        ()
    """
    soft = case.soft_target
    if soft is None or soft.ndim != 2 or case.scores.ndim < 2 or not soft.size:
        return None
    if not np.all(soft >= -case.tolerance):
        return None
    sums = soft.sum(axis=1)
    off = np.abs(sums - 1) > 2 * case.tolerance
    if not off.any():
        return None
    multi_hot = bool(np.all(_zero_or_one(soft)) and sums.max() > 1)
    return Evidence(
        text=(
            f"{off.sum():,} of {len(soft):,} target rows don't sum to 1; the sums range from "
            f"{sums.min():.4g} to {sums.max():.4g}."
            + (" All numbers are 0 or 1: there are several labels per row." if multi_hot else "")
        ),
        numbers={
            "rows": int(off.sum()),
            "lowest_sum": float(sums.min()),
            "highest_sum": float(sums.max()),
            "several_labels": multi_hot,
        },
        confidence="likely",
        why="the sums are certain; that they are unintended is likely",
        remedy="loss = binary_cross_entropy_with_logits(logits, target)"
        if multi_hot
        else "target = target / target.sum(-1, keepdims=True)",
        not_checked="whether rows are weighted by their sum on purpose.",
    )


@rule("arrays", severity="error")
def class_ids_in_binary_loss(case: LossArguments) -> Evidence | None:
    """Class indices go into a binary loss, whose target lies in [0, 1].

    Symptom: a loss that falls below 0 and keeps falling: -55, -300 ...

    Cause: binary_cross_entropy_with_logits doesn't check its target; y = 7 makes the loss linear.

    Fix: use cross_entropy with one output per class, or one column of 0 and 1 for each class.

    Source: https://github.com/pytorch/pytorch/issues/110865

    Wrong:
        >>> ids = target.astype(float)
        >>> doctor.check(logits[:, 0], ids, loss="binary_cross_entropy_with_logits").rules
        ('class-ids-in-binary-loss',)

    Fixed:
        >>> doctor.check(logits, target, loss="cross_entropy").rules
        ()
    """
    if not case.binary or case.target is None or not case.target.size:
        return None
    low, high = float(case.target.min()), float(case.target.max())
    if low >= 0 and high <= 1:
        return None
    whole = bool(np.all(case.target == np.round(case.target)))
    return Evidence(
        text=(
            f"The target ranges from {low:.4g} to {high:.4g}"
            + (
                f" and has {len(np.unique(case.target))} different whole numbers, like class "
                "indices."
                if whole
                else "."
            )
        ),
        numbers={"lowest": low, "highest": high, "whole": whole},
        confidence="certain",
        why="outside [0, 1] the loss has no lower bound",
        remedy="loss = cross_entropy(logits, target)  # logits (N, C)",
        not_checked="how many classes there are.",
    )
