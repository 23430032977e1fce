"""`check_mean`: find out what a reported mean was divided by."""

from __future__ import annotations

from typing import Any

import numpy as np

from softxent.doctor.diagnosis import Diagnosis
from softxent.doctor.means.reported_mean import ReportedMean
from softxent.doctor.printed_number import PrintedNumber
from softxent.doctor.selection import RuleNames, RuleSelection
from softxent.errors import ShapeError
from softxent.ops.arrays.intake import receive

__all__ = ["check_mean"]


def check_mean(
    reported: float | str,
    means: Any,
    counts: Any,
    *,
    select: RuleNames | None = None,
    ignore: RuleNames = (),
) -> Diagnosis:
    """Find out what a reported mean was divided by.

    For the loss of an epoch made from batches, of an accumulated step made from micro-batches, or
    of several processes: each part has its own mean and its own number of rows (or tokens, or sum
    of weights).

    Args:
        reported: the number in question. As text, its last digit says how precisely it was printed.
        means: the mean of each batch, (K,).
        counts: what each of these means was divided by, (K,), > 0.
        select: names of the rules to run, as a list or with commas between them; None for all.
        ignore: names of rules that don't run.

    Returns:
        A `Diagnosis`.

    Raises:
        ShapeError: means and counts have different lengths or are empty, a count is not above 0,
            or `reported` is no number.
        OptionError: a name is no rule's.

    Example:
        >>> check_mean(3.0, means=[2.0, 4.0], counts=[64, 16]).rules
        ('mean-of-means',)
        >>> check_mean((64 * 2.0 + 16 * 4.0) / 80, means=[2.0, 4.0], counts=[64, 16]).rules
        ()

    See Also:
        softxent.Mean: a sum with its denominator, which adds up without this mistake.
    """
    rules = RuleSelection.of("check_mean", "means", select=select, ignore=ignore)
    each = receive("check_mean", "means", means)[0].astype(np.float64)
    sizes = receive("check_mean", "counts", counts)[0].astype(np.float64)
    if each.ndim != 1 or each.shape != sizes.shape or not each.size:
        raise ShapeError(
            f"[check_mean] means has shape {each.shape} and counts {sizes.shape}: pass one mean "
            "and one count for each batch."
        )
    if not np.all(sizes > 0):
        raise ShapeError("[check_mean] a count is 0 or less: leave empty batches out.")
    printed = PrintedNumber.read(reported if isinstance(reported, str) else repr(float(reported)))
    if printed is None:
        raise ShapeError(f"[check_mean] reported is {reported!r}: pass a number.")
    case = ReportedMean(
        reported=printed.value,
        tolerance=max(printed.rounding, 1e-6 * abs(printed.value)),
        means=each,
        counts=sizes,
    )
    findings, checked = rules.judge("means", case)
    return Diagnosis.of(f"the mean {reported} of {each.size} batches", findings, checked)
