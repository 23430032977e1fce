"""Rules on the comparison of predictions with labels."""

from __future__ import annotations

import math

import numpy as np

from softxent.doctor.cases import Predictions
from softxent.doctor.finding import Evidence
from softxent.doctor.registry import rule

__all__: list[str] = []


@rule("predictions")
def broadcast_comparison(case: Predictions) -> Evidence | None:
    """Predictions and labels of different shapes are compared, all with all.

    Symptom: "6 of 4 correct"; an accuracy above 1, or one that hovers around chance.

    Cause: (N, 1) == (N,) broadcasts to (N, N): N * N comparisons.

    Cure: give both the same shape before comparing.

    Failing:
        >>> doctor.check_predictions(target[:, None], target).rules
        ('broadcast-comparison',)

    Mended:
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
    made, rows = math.prod(wide), max(b.size, 1)
    text = f"Shapes {a.shape} and {b.shape} compare as {wide}: {made:,} comparisons"
    numbers = {"predicted": list(a.shape), "target": list(b.shape), "comparisons": made}
    if made <= 1 << 24:
        counted = int(np.sum(a == b))
        text += f", of which {counted:,} are equal, for {rows:,} labels."
        numbers["equal"] = counted
    else:
        text += f" for {rows:,} labels."
    return Evidence(
        level="error" if made > rows else "warning",
        text=text,
        numbers=numbers,
        confidence="certain",
        why="it follows from the shapes",
        remedy="correct = (predicted.reshape(target.shape) == target).sum()",
        not_checked="the values of the predictions.",
    )


@rule("predictions")
def more_correct_than_rows(case: Predictions) -> Evidence | None:
    """More rows were counted as correct than there are.

    Symptom: an accuracy above 100%.

    Cause: a comparison that broadcasts, or a count that isn't reset between epochs.

    Cure: compare equal shapes; start each epoch's count at 0.

    Failing:
        >>> doctor.check_predictions([0, 1, 1, 1], [0, 1, 1, 1], correct=6).rules
        ('more-correct-than-rows',)

    Mended:
        >>> doctor.check_predictions([0, 1, 1, 1], [0, 1, 1, 1], correct=4).rules
        ()
    """
    rows = case.target.size
    if case.correct is None or case.correct <= rows:
        return None
    return Evidence(
        level="error",
        text=f"{case.correct:g} correct of {rows:,} rows.",
        numbers={"correct": case.correct, "rows": rows},
        confidence="certain",
        why="no more rows can be right than there are",
        remedy="correct = (predicted.reshape(target.shape) == target).sum()",
        not_checked="how they were counted.",
    )
