"""Rules on class probabilities as a target, and on targets that are something else."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from softxent.doctor.cases import Arrays
from softxent.doctor.finding import Evidence
from softxent.doctor.registry import rule

__all__: list[str] = []


@rule("arrays")
def swapped_arguments(case: Arrays) -> Evidence | None:
    """Scores and target are given in the wrong order.

    Symptom: a loss that is negative or odd and doesn't fall, or an error about the target's dtype.

    Cause: torch takes (input, target), scikit-learn (y_true, y_pred), TensorFlow named logits and
    labels.

    Cure: scores first, target second.

    Failing:
        >>> doctor.check(np.eye(10)[target], logits).rules
        ('softmax-twice', 'swapped-arguments')

    Mended:
        >>> doctor.check(logits, np.eye(10)[target]).rules
        ()
    """
    text = _swapped(case)
    if text is None or case.target is None:
        return None
    one = case.row_count < 2 and not case.binary
    return Evidence(
        level="warning" if one else "error",
        text=text,
        numbers={
            "scores_dtype": str(case.scores.dtype),
            "target_lowest": float(case.target.min()),
            "target_highest": float(case.target.max()),
        },
        confidence="likely",
        why="each looks like the other" + (", but one row may do so by chance" if one else ""),
        remedy="loss = cross_entropy(logits, target)  # scores first",
        not_checked="what the arrays are called where they come from.",
    )


def _swapped(case: Arrays) -> str | None:
    """What in the scores looks like a target, and in the target like scores; None where nothing."""
    if case.target is None or not case.scores.size or not case.target.size:
        return None
    if case.kind == "swapped":
        return (
            f"The scores are whole numbers of shape {case.scores.shape}, the target "
            f"{case.target.dtype} of shape {case.target.shape}."
        )
    y = case.target
    if case.binary and case.kind == "elementwise":
        few = case.scores.size < 4
        if few or not np.all(_is_sure(case.scores)) or np.mean(_is_sure(y)) > 0.5:
            return None
        return (
            f"All {case.scores.size:,} scores are 0 or 1, as labels are, and the target's numbers "
            f"reach from {y.min():.4g} to {y.max():.4g}."
        )
    masses = case.masses
    if masses is None or case.scores.ndim < 2 or case.look != "probabilities":
        return None
    if masses.min() < 0 or masses.max() > 1 + case.tolerance:
        return (
            "Rows of scores add up to 1, as a target's do, and the target's numbers reach from "
            f"{masses.min():.4g} to {masses.max():.4g}, as logits do."
        )
    sure = _is_sure(masses).all(axis=1)
    if np.all(_is_sure(case.rows)) and sure.mean() <= 0.5:
        return (
            f"All {len(case.rows):,} rows of scores are one-hot, as labels are, and "
            f"{int((~sure).sum()):,} of the target's are not: they are predicted."
        )
    smoothed = _smoothed(case.rows)
    if smoothed is not None and not sure.any() and _smoothed(masses) is None:
        return (
            f"All {len(case.rows):,} rows of scores are one-hot rows smoothed by {smoothed:.3g}, "
            "as a target's may be, and the target's have as many different numbers as predictions."
        )
    return None


def _is_sure(values: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
    return np.asarray((values == 0) | (values == 1))


def _smoothed(rows: npt.NDArray[np.float64]) -> float | None:
    """The label smoothing, the same in all rows of three classes or more; None where it isn't."""
    classes = rows.shape[1]
    if classes < 3:
        return None
    low, high = rows.min(axis=1), rows.max(axis=1)
    others = rows.sum(axis=1) - high
    same = np.ptp(low) <= 1e-6 and np.ptp(high) <= 1e-6 and high[0] > low[0] > 0
    alike = np.all(np.abs(others - (classes - 1) * low) <= 1e-6 * classes)
    return float(classes * low[0]) if same and alike else None


@rule("arrays")
def negative_target(case: Arrays) -> Evidence | None:
    """Class probabilities as a target are negative or NaN.

    Symptom: a loss below 0, or NaN.

    Cause: logits or log-probabilities of a teacher as the target; arithmetic on one-hot rows.

    Cure: softmax of the teacher's logits.

    Failing:
        >>> doctor.check(logits, 2 * np.eye(10)[target] - 0.1).rules
        ('negative-target',)

    Mended:
        >>> doctor.check(logits, 0.9 * np.eye(10)[target] + 0.01).rules
        ()
    """
    masses = case.masses
    if masses is None or case.kind != "masses" or not masses.size or case.look == "probabilities":
        return None
    bad = ~(masses >= -case.tolerance)
    if not bad.any():
        return None
    lowest = float(np.nanmin(masses)) if not np.isnan(masses).all() else math.nan
    row = int(case.places[int(bad.any(axis=1).argmax())])
    return Evidence(
        level="error",
        text=(
            f"{bad.sum():,} of {masses.size:,} target masses are negative or NaN, the lowest "
            f"{lowest:.4g}; the first is in row {row}."
        ),
        numbers={"count": int(bad.sum()), "lowest": lowest, "first_row": row},
        confidence="certain",
        why="a mass is at least 0",
        remedy="target = softmax(teacher_logits)",
        not_checked="what the numbers are instead.",
    )


@rule("arrays")
def unnormalised_target(case: Arrays) -> Evidence | None:
    """Class probabilities as a target don't add up to 1.

    Symptom: a loss on another scale, with a lowest value that isn't the entropy of the target; rows
    count by their sum.

    Cause: counts or several labels a row (multi-hot) passed as class probabilities.

    Cure: divide each row by its sum; for labels that exclude nothing use a binary loss a class.

    Failing:
        >>> doctor.check(logits, np.eye(10)[target] + np.eye(10)[target - 1]).rules
        ('unnormalised-target',)

    Mended:
        >>> doctor.check(logits, (np.eye(10)[target] + np.eye(10)[target - 1]) / 2).rules
        ()
    """
    masses = case.masses
    if masses is None or masses.ndim != 2 or case.scores.ndim < 2 or not masses.size:
        return None
    if not np.all(masses >= -case.tolerance):
        return None
    sums = masses.sum(axis=1)
    off = np.abs(sums - 1) > 2 * case.tolerance
    if not off.any():
        return None
    several = np.all((masses == 0) | (masses == 1)) and sums.max() > 1
    return Evidence(
        level="warning",
        text=(
            f"{off.sum():,} of {len(masses):,} target rows don't add up to 1; the sums reach from "
            f"{sums.min():.4g} to {sums.max():.4g}."
            + (" All masses are 0 or 1: several labels a row." if several else "")
        ),
        numbers={
            "rows": int(off.sum()),
            "lowest_sum": float(sums.min()),
            "highest_sum": float(sums.max()),
            "several_labels": bool(several),
        },
        confidence="likely",
        why="the sums themselves are certain; that they are not meant is likely",
        remedy="loss = binary_cross_entropy_with_logits(logits, target)"
        if several
        else "target = target / target.sum(-1, keepdims=True)",
        not_checked="whether rows are weighted by their sum on purpose.",
    )


@rule("arrays")
def class_ids_in_binary_loss(case: Arrays) -> Evidence | None:
    """Class numbers go into a binary loss, whose target lies in [0, 1].

    Symptom: a loss that falls below 0 and on without end: -55, -300 ...

    Cause: binary_cross_entropy_with_logits doesn't check its target; y = 7 makes the loss linear.

    Cure: cross_entropy with one output a class, or a column of 0 and 1 for each class.

    Failing:
        >>> ids = target.astype(float)
        >>> doctor.check(logits[:, 0], ids, loss="binary_cross_entropy_with_logits").rules
        ('class-ids-in-binary-loss',)

    Mended:
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
        level="error",
        text=(
            f"The target reaches from {low:.4g} to {high:.4g}"
            + (f" in whole numbers: {len(np.unique(case.target))} classes?" if whole else ".")
        ),
        numbers={"lowest": low, "highest": high, "whole": whole},
        confidence="certain",
        why="outside [0, 1] the loss has no lower bound",
        remedy="loss = cross_entropy(logits, target)  # logits (N, C)",
        not_checked="how many classes there are.",
    )
