"""Rules on the comparison of predictions with labels."""

from __future__ import annotations

import math

import numpy as np

from softxent.doctor.finding import Evidence
from softxent.doctor.predictions.comparison import Comparison
from softxent.doctor.registry import rule

__all__: list[str] = []

_MOST_COMPARED = 1 << 24  # comparisons that are counted


@rule("predictions", severity="error")
def broadcast_comparison(case: Comparison) -> Evidence | None:
    """Predictions and labels of different shapes are compared, each with all others.

    Symptom: "6 of 4 correct"; an accuracy above 1, or one that stays near chance.

    Cause: (N, 1) == (N,) broadcasts to (N, N): N * N comparisons.

    Fix: give both the same shape before comparing.

    Source: https://github.com/traja-team/traja/issues/57

    Wrong:
        >>> doctor.check_predictions(target[:, None], target).rules
        ('broadcast-comparison',)

    Fixed:
        >>> doctor.check_predictions(target[:, None].squeeze(1), target).rules
        ()
    """
    a, b = case.predicted, case.target
    if a.shape == b.shape:
        return None
    try:
        wide = np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        return None
    comparisons, rows = math.prod(wide), max(b.size, 1)
    text = f"Shapes {a.shape} and {b.shape} compare as {wide}: {comparisons:,} comparisons"
    numbers = {"predicted": list(a.shape), "target": list(b.shape), "comparisons": comparisons}
    if comparisons <= _MOST_COMPARED:
        equal = int(np.sum(a == b))
        text += f", of which {equal:,} are equal, for {rows:,} labels."
        numbers["equal"] = equal
    else:
        text += f" for {rows:,} labels."
    return Evidence(
        severity="error" if comparisons > rows else "warning",
        text=text,
        numbers=numbers,
        confidence="certain",
        why="it follows from the shapes",
        remedy="correct = (predicted.reshape(target.shape) == target).sum()",
        not_checked="the values of the predictions.",
    )


@rule("predictions", severity="error")
def more_correct_than_rows(case: Comparison) -> Evidence | None:
    """More rows were counted as correct than there are.

    Symptom: an accuracy above 100%.

    Cause: a comparison that broadcasts, or a count that isn't reset between epochs.

    Fix: compare equal shapes, and start each epoch's count at 0.

    Source: https://github.com/traja-team/traja/issues/57

    Wrong:
        >>> doctor.check_predictions([0, 1, 1, 1], [0, 1, 1, 1], correct=6).rules
        ('more-correct-than-rows',)

    Fixed:
        >>> doctor.check_predictions([0, 1, 1, 1], [0, 1, 1, 1], correct=4).rules
        ()
    """
    rows = case.target.size
    if case.correct is None or case.correct <= rows:
        return None
    return Evidence(
        text=f"{case.correct:g} correct of {rows:,} rows.",
        numbers={"correct": case.correct, "rows": rows},
        confidence="certain",
        why="there can't be more correct rows than rows",
        remedy="correct = (predicted.reshape(target.shape) == target).sum()",
        not_checked="how they were counted.",
    )
