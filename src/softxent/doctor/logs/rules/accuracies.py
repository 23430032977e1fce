"""Rules on accuracies, and on the percentages beside counts."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Literal

from softxent.doctor.finding import Evidence
from softxent.doctor.logs.log import Log, Row
from softxent.doctor.printed_number import PrintedNumber
from softxent.doctor.registry import rule

__all__: list[str] = []

_SHOWN = 12  # accuracies in the text


@rule("log", severity="warning")
def cut_percentage(log: Log) -> Evidence | None:
    """Percentages are truncated, not rounded.

    Symptom: 9696 of 10000 is printed as 96%.

    Cause: integer division, or int(), before printing.

    Fix: let the format specification round: `f"{correct / total:.2%}"`.

    Source: https://github.com/facebookresearch/mixup-cifar10/issues/17

    Wrong:
        >>> doctor.audit_log("loss 0.11, accuracy 9696/10000 (96%)").rules
        ('cut-percentage',)

    Fixed:
        >>> doctor.audit_log("loss 0.11, accuracy 9696/10000 (97%)").rules
        ()
    """
    cut = [row for row in log.rows if _percentage(row) == "truncated"]
    if not cut:
        return None
    counted = sum(_percentage(row) is not None for row in log.rows)
    named = [f'"{row.accuracy.text}"' for row in cut if row.accuracy]
    shown = ", ".join(named[:-1]) + (" and " if len(named) > 1 else "") + named[-1]
    if len(named) > _SHOWN:
        shown = ", ".join(named[:_SHOWN]) + f" and {len(named) - _SHOWN} more"
    return Evidence(
        text=f"{shown} {'are' if len(cut) > 1 else 'is'} truncated, not rounded. Rounded, "
        f"{'they are' if len(cut) > 1 else 'it is'} "
        + ", ".join(_rounded(row) for row in cut[:_SHOWN])
        + ".",
        numbers={
            "lines": [row.line for row in cut],
            "printed": [row.accuracy.text for row in cut if row.accuracy],
            "rounded": [_rounded(row) for row in cut],
            "percentages": counted,
        },
        confidence="certain" if len(cut) > 1 else "likely",
        why=f"of {counted} percentages none is rounded up where truncating and rounding differ",
        remedy='print(f"{correct}/{total} ({correct / total:.2%})")',
        not_checked="nothing else: it changes what is printed, not what is computed.",
    )


@rule("log", severity="error")
def wrong_percentage(log: Log) -> Evidence | None:
    """A percentage doesn't match the fraction beside it.

    Symptom: 9505/10000 beside 97%.

    Cause: the two count different rows, because of a mean of batch accuracies, another epoch or
    another denominator.

    Fix: compute the percentage from the printed counts.

    Source: https://github.com/MIT-LCP/wfdb-python/issues/165

    Wrong:
        >>> doctor.audit_log("loss 0.21, accuracy 9505/10000 (97.1%)").rules
        ('wrong-percentage',)

    Fixed:
        >>> doctor.audit_log("loss 0.21, accuracy 9505/10000 (95.0%)").rules
        ()
    """
    wrong = [row for row in log.rows if _percentage(row) == "wrong"]
    if not wrong:
        return None
    shown = ", ".join(f"line {row.line}: {row.accuracy.text}" for row in wrong[:4] if row.accuracy)
    return Evidence(
        text=f"{shown}: the percentage is {_rounded(wrong[0])}.",
        numbers={"lines": [row.line for row in wrong], "rounded": [_rounded(r) for r in wrong]},
        confidence="certain",
        why="a fraction has one percentage",
        remedy='print(f"{correct}/{total} ({correct / total:.2%})")',
        not_checked="which of the two is correct.",
    )


def _exact(row: Row) -> tuple[Fraction, PrintedNumber] | None:
    """The percentage that the counts give, and the printed one."""
    accuracy = row.accuracy
    if accuracy is None or accuracy.percent is None or accuracy.correct is None:
        return None
    if not accuracy.total or not math.isfinite(accuracy.percent.value):
        return None
    return Fraction(100 * accuracy.correct, accuracy.total), accuracy.percent


def _percentage(row: Row) -> Literal["rounded", "truncated", "either", "wrong"] | None:
    """How the percentage was printed; None if there is none beside counts."""
    both = _exact(row)
    if both is None:
        return None
    exact, printed = both
    step = Fraction(printed.resolution).limit_denominator(10**12)
    shown = Fraction(printed.text)
    rounded = abs(shown - exact) <= step / 2
    truncated = 0 <= exact - shown < step
    if rounded:
        return "either" if truncated else "rounded"
    return "truncated" if truncated else "wrong"


def _rounded(row: Row) -> str:
    both = _exact(row)
    assert both is not None
    decimals = max(0, round(-math.log10(both[1].resolution)))
    return f"{float(both[0]):.{decimals}f}%"


@rule("log", severity="error")
def accuracy_above_one(log: Log) -> Evidence | None:
    """More rows are counted as correct than there are.

    Symptom: "6 of 4 correct", an accuracy of 150%.

    Cause: (N, 1) predictions that are compared with (N,) labels broadcast to N x N comparisons; or
    a count isn't reset.

    Fix: compare equal shapes: `pred.squeeze(1) == target`.

    Source: https://github.com/traja-team/traja/issues/57

    Wrong:
        >>> doctor.audit_log("loss 0.61, accuracy 6/4 (150%)").rules
        ('accuracy-above-one',)

    Fixed:
        >>> doctor.audit_log("loss 0.61, accuracy 3/4 (75%)").rules
        ()
    """
    bad = [row for row in log.rows if row.accuracy and row.accuracy.value > 1]
    if not bad:
        return None
    shown = ", ".join(f"line {row.line}: {row.accuracy.text}" for row in bad[:4] if row.accuracy)
    return Evidence(
        text=f"{len(bad)} accurac{'ies are' if len(bad) > 1 else 'y is'} above 1: {shown}.",
        numbers={
            "lines": [row.line for row in bad],
            "accuracies": [row.accuracy.value for row in bad if row.accuracy],
        },
        confidence="certain",
        why="there can't be more correct rows than rows",
        remedy="correct += (predicted.reshape(target.shape) == target).sum().item()",
        not_checked="how they were counted.",
    )
