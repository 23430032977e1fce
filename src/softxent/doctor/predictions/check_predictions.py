"""`check_predictions`: detect a comparison that counts something other than rows."""

from __future__ import annotations

from typing import Any

from softxent.doctor.diagnosis import Diagnosis
from softxent.doctor.predictions.comparison import Comparison
from softxent.doctor.selection import RuleNames, RuleSelection
from softxent.ops.arrays.intake import receive

__all__ = ["check_predictions"]


def check_predictions(
    predicted: Any,
    target: Any,
    *,
    correct: float | None = None,
    select: RuleNames | None = None,
    ignore: RuleNames = (),
) -> Diagnosis:
    """Detect a comparison of predictions with labels that counts something other than rows.

    Args:
        predicted: predicted classes, in the shape in which they are compared with the target.
        target: true classes, likewise.
        correct: how many were counted as correct, if known.
        select: names of the rules to run, as a list or with commas between them; None for all.
        ignore: names of rules that don't run.

    Returns:
        A `Diagnosis`.

    Raises:
        OptionError: a name is no rule's.

    Example:
        >>> check_predictions([[0], [1], [1], [1]], [0, 1, 1, 1]).rules
        ('broadcast-comparison',)
        >>> check_predictions([0, 1, 1, 1], [0, 1, 1, 1]).rules
        ()
    """
    rules = RuleSelection.of("check_predictions", "predictions", select=select, ignore=ignore)
    case = Comparison(
        predicted=receive("check_predictions", "predicted", predicted)[0],
        target=receive("check_predictions", "target", target)[0],
        correct=correct,
    )
    findings, checked = rules.judge("predictions", case)
    shapes = f"{case.predicted.shape} against targets {case.target.shape}"
    return Diagnosis.of(f"predictions {shapes}", findings, checked)
