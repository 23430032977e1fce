"""The rule on what a reported loss was divided by."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from softxent import ops
from softxent.doctor.arrays.loss_arguments import LossArguments
from softxent.doctor.finding import Evidence
from softxent.doctor.registry import rule
from softxent.errors import SoftxentError

__all__: list[str] = []


@rule("arrays", severity="error")
def wrong_denominator(case: LossArguments) -> Evidence | None:
    """The reported loss is the correct sum divided by a wrong number, or another formula's value.

    Symptom: the loss differs from those of others by a constant factor.

    Cause: it was divided by all rows instead of the kept ones, by the elements instead of the rows,
    by the rows instead of the sum of the weights, or by the rows once more; or softmax was applied
    twice, or the loss is in bits, not nats.

    Fix: carry the sum and its denominator together (`softxent.Mean`).

    Source: https://github.com/pytorch/tutorials/issues/1486

    Wrong:
        >>> mean = float(softxent.cross_entropy(logits, target))
        >>> doctor.check(logits, target, value=mean / 64).rules
        ('wrong-denominator',)

    Fixed:
        >>> doctor.check(logits, target, value=mean).rules
        ()
    """
    if case.value is None or case.target is None or not math.isfinite(case.value):
        return None
    again = _recompute(case)
    if again is None or not math.isfinite(again.total) or not again.weight:
        return None
    reduction = "mean" if case.reduction == "none" else case.reduction
    total, weight, kept = again.total, again.weight, again.kept
    right = total / weight if reduction == "mean" else total
    if _same(case.value, right):
        return None
    rows, classes = case.row_count, case.classes
    mistakes = {
        f"the sum over rows divided by all {rows:,} rows": total / rows,
        f"the sum over rows divided by the {kept:,.0f} kept rows": total / max(kept, 1),
        "the sum, not divided": total,
        f"the mean, divided by the {rows:,} rows once more": right / rows,
        f"the sum divided by the {rows * classes:,} scores": total / (rows * classes),
        "the mean with the wrong sign": -right,
        "the mean in bits": right / math.log(2),
        "the mean in decimal logarithms": right / math.log(10),
    }
    if again.after_second_softmax is not None:
        mistakes["the mean after a second softmax"] = again.after_second_softmax
    name = next((name for name, number in mistakes.items() if _same(case.value, number)), None)
    numbers = {"value": case.value, "expected": right, "total": total, "weight": weight}
    if name is None:
        return Evidence(
            severity="warning",
            text=(
                f"The loss of these arguments is {right:.6g}. None of {len(mistakes)} common "
                f"mistakes gives {case.value:.6g}."
            ),
            numbers=numbers,
            confidence="possible",
            why="the value may be that of other rows, of other weights or with dropout",
            remedy="assert np.isclose(loss, cross_entropy(logits, target))",
            not_checked="whether the value belongs to these rows.",
        )
    return Evidence(
        text=f"{case.value:.6g} is {name}; the {reduction} is {right:.6g} = {total:.6g}"
        + (f" / {weight:.6g}." if reduction == "mean" else "."),
        numbers=numbers | {"is": name, "factor": right / case.value if case.value else math.inf},
        confidence="likely",
        why="the value agrees to four digits",
        remedy="mean = Mean(losses.sum(), weight_of_the_kept_rows).value",
        not_checked="the code that divided it.",
    )


def _same(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-4, abs_tol=1e-9)


class _Recomputed(NamedTuple):
    """A recomputed loss: its sum, what the mean is divided by, and how many rows are kept."""

    total: float
    weight: float
    kept: float
    after_second_softmax: float | None = None


def _recompute(case: LossArguments) -> _Recomputed | None:
    options: dict[str, Any] = {"weight": case.weight, "reduction": "none"}
    try:
        if case.binary:
            binary = getattr(ops, case.loss)
            losses = binary(case.scores, case.target, reduction="none")
            return _Recomputed(float(losses.sum(dtype=np.float64)), losses.size, losses.size)
        target = case.target if case.index is None else case.index.reshape(case.row_shape)
        options |= {"axis": case.axis}
        if case.loss != "log_loss":
            options |= {"ignore_index": case.ignore_index}
        if case.loss == "cross_entropy":
            options |= {"label_smoothing": case.label_smoothing}
        function = getattr(ops, case.loss)
        losses = function(case.scores, target, **options)
        second = None
        if case.loss == "cross_entropy":
            twice = function(ops.softmax(case.scores, case.axis), target, **options)
            second = float(twice.mean(dtype=np.float64))
    except SoftxentError:
        return None  # other rules report what is wrong with the arguments
    total = float(np.nansum(losses, dtype=np.float64))
    if case.index is None or case.kept is None:
        return _Recomputed(total, losses.size, losses.size, second)
    kept = float(case.kept.sum())
    weight = kept if case.weight is None else float(case.weight[case.index[case.kept]].sum())
    return _Recomputed(total, weight, kept, second)
