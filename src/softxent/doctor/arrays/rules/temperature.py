"""Rules on a temperature that was fitted to calibrate a model's probabilities."""

from __future__ import annotations

import math

import numpy as np

from softxent import ops
from softxent.doctor.arrays.loss_arguments import LossArguments
from softxent.doctor.finding import Evidence
from softxent.doctor.registry import rule

__all__: list[str] = []


@rule("arrays", severity="error")
def temperature_on_probabilities(case: LossArguments) -> Evidence | None:
    """A temperature was fitted on probabilities instead of logits.

    Symptom: the calibration error grows with temperature scaling. The fitted temperature is far
    below 1, or the loss never falls below ln(1 + (C - 1) / e).

    Cause: the temperature divides the logits. Probabilities that are divided by it go through
    softmax a second time.

    Fix: fit it on the logits, before the softmax.

    Source: https://github.com/gpleiss/temperature_scaling/issues/29

    Wrong:
        >>> probs = softxent.softmax(logits)
        >>> doctor.check(probs, target, temperature=0.2).rules
        ('temperature-on-probabilities',)

    Fixed:
        >>> doctor.check(logits, target, temperature=3000.0).rules
        ()
    """
    if case.temperature is None or case.loss != "cross_entropy" or case.classes < 2:
        return None
    if case.row_kind != "probabilities":
        return None
    return Evidence(
        text=(
            f"All {len(case.rows):,} rows lie in [0, 1] and sum to 1: they are probabilities, and "
            f"they were divided by {case.temperature:g} and put through softmax again."
        ),
        numbers={"rows": len(case.rows), "temperature": case.temperature},
        confidence="certain" if len(case.rows) > 1 else "likely",
        why="rows of logits don't all sum to 1 by chance",
        remedy="temperature = fit(logits, target)  # not probs",
        not_checked="how the temperature was fitted.",
    )


@rule("arrays", severity="warning")
def temperature_not_fitted(case: LossArguments) -> Evidence | None:
    """The temperature is not the best one for these rows.

    Symptom: the calibration error doesn't shrink, or it grows.

    Cause: an optimizer that was stopped too early (50 steps with a small learning rate, LBFGS
    without a line search), or a temperature that was fitted on other rows.

    Fix: the mean loss is convex in 1 / temperature, so minimize it until it converges.

    Source: https://github.com/gpleiss/temperature_scaling/issues/20

    Wrong:
        >>> confident = 30 * np.eye(10)[target] + 5 * logits
        >>> doctor.check(confident, target, temperature=1.5).rules
        ('temperature-not-fitted',)

    Fixed:
        >>> doctor.check(confident, target, temperature=7.5).rules
        ()
    """
    if case.temperature is None or case.loss != "cross_entropy" or case.labels is None:
        return None
    if case.row_kind == "probabilities" or len(case.rows) < 32 or case.temperature <= 0:
        return None
    if not np.all(np.isfinite(case.rows)):
        return None
    here = case.mean_loss(case.rows / case.temperature)
    best, lowest = _fit(case)
    uncalibrated = case.mean_loss(case.rows)
    each = ops.cross_entropy(
        case.rows / case.temperature, case.labels, reduction="none"
    ) - ops.cross_entropy(case.rows / best, case.labels, reduction="none")
    noise = float(each.std()) / math.sqrt(len(each))
    # On the rows on which it was fitted the loss is lowest; on others it differs by chance.
    if here - lowest <= max(3 * noise, 0.002):
        return None
    worse = here > uncalibrated + 1e-6
    return Evidence(
        text=(
            f"With temperature {case.temperature:.4g} the mean loss is {here:.4f}; with {best:.4g} "
            f"it would be {lowest:.4f}. Without a temperature it is {uncalibrated:.4f}"
            + (": this temperature makes it worse." if worse else ".")
        ),
        numbers={
            "temperature": case.temperature,
            "best_temperature": best,
            "loss": here,
            "lowest_loss": lowest,
            "loss_without": uncalibrated,
        },
        confidence="likely",
        why="the difference is more than three standard errors",
        remedy=f"temperature = {best:.4g}",
        not_checked="whether these are the rows on which it was fitted.",
    )


def _fit(case: LossArguments) -> tuple[float, float]:
    """The temperature of the lowest mean loss and that loss; golden section on ln(temperature)."""
    ratio = (math.sqrt(5) - 1) / 2
    low, high = math.log(1e-3), math.log(1e4)

    def loss(x: float) -> float:
        return case.mean_loss(case.rows / math.exp(x))

    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = loss(left), loss(right)
    while high - low > 1e-3:
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = loss(right)
    best = math.exp((low + high) / 2)
    return best, loss(math.log(best))
