"""Rules on what a loss was divided by."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from softxent import ops
from softxent.doctor.cases import Arrays, Batches
from softxent.doctor.finding import Evidence
from softxent.doctor.registry import rule
from softxent.errors import SoftxentError

__all__: list[str] = []


@rule("arrays")
def wrong_denominator(case: Arrays) -> Evidence | None:
    """The reported loss is the right sum divided by the wrong number, or another formula's value.

    Symptom: a loss that doesn't compare with others', by a constant factor.

    Cause: divided by all rows instead of the kept ones, by the elements instead of the rows, by the
    rows instead of the summed weight, by rows once more; or softmax applied twice, or bits for
    nats.

    Cure: carry the sum and its denominator together (`softxent.Mean`).

    Failing:
        >>> mean = float(softxent.cross_entropy(logits, target))
        >>> doctor.check(logits, target, value=mean / 64).rules
        ('wrong-denominator',)

    Mended:
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
    guesses = {
        f"the sum over rows divided by all {rows:,} rows": total / rows,
        f"the sum over rows divided by the {kept:,.0f} kept rows": total / max(kept, 1),
        "the sum, not divided": total,
        f"the mean, divided by the {rows:,} rows once more": right / rows,
        f"the sum divided by the {rows * classes:,} scores": total / (rows * classes),
        "the mean, with its sign turned": -right,
        "the mean in bits": right / math.log(2),
        "the mean in powers of ten": right / math.log(10),
    } | again.mistakes
    name = next((name for name, guess in guesses.items() if _same(case.value, guess)), None)
    numbers = {"value": case.value, "expected": right, "total": total, "weight": weight}
    if name is None:
        return Evidence(
            level="warning",
            text=(
                f"These arguments give {right:.6g}. The value {case.value:.6g} comes out with none "
                f"of {len(guesses)} usual mistakes."
            ),
            numbers=numbers,
            confidence="possible",
            why="the value may come from other rows, weights or from dropout",
            remedy="assert np.isclose(loss, cross_entropy(logits, target))",
            not_checked="whether the value belongs to these rows.",
        )
    return Evidence(
        level="error",
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


class _Totals(NamedTuple):
    """A loss recomputed: its sum, what a mean divides by, and values of mistaken formulas."""

    total: float
    weight: float
    kept: float
    mistakes: dict[str, float]


def _recompute(case: Arrays) -> _Totals | None:
    options: dict[str, Any] = {"weight": case.weight, "reduction": "none"}
    try:
        if case.binary:
            binary = getattr(ops, case.loss)
            losses = binary(case.scores, case.target, reduction="none")
            return _Totals(float(losses.sum(dtype=np.float64)), losses.size, losses.size, {})
        target = case.target if case.index is None else case.index.reshape(case.row_shape)
        options |= {"axis": case.axis}
        if case.loss != "log_loss":
            options |= {"ignore_index": case.ignore_index}
        if case.loss == "cross_entropy":
            options |= {"label_smoothing": case.label_smoothing}
        function = getattr(ops, case.loss)
        losses = function(case.scores, target, **options)
        mistakes = {}
        if case.loss == "cross_entropy":
            twice = function(ops.softmax(case.scores, case.axis), target, **options)
            mistakes["the mean after a second softmax"] = float(twice.mean(dtype=np.float64))
    except SoftxentError:
        return None  # other rules say what is wrong with the arguments
    total = float(np.nansum(losses, dtype=np.float64))
    if case.index is None or case.kept is None:
        return _Totals(total, losses.size, losses.size, mistakes)
    kept = float(case.kept.sum())
    weight = kept if case.weight is None else float(case.weight[case.index[case.kept]].sum())
    return _Totals(total, weight, kept, mistakes)


@rule("means")
def mean_of_means(case: Batches) -> Evidence | None:
    """The mean of the batches' means counts a short last batch like a full one.

    Symptom: the epoch's loss depends on the batch size, and jumps where the last batch is odd.

    Cause: the batches' means are averaged as they are, and the last holds fewer rows.

    Cure: add up sums and counts, and divide once.

    Failing:
        >>> doctor.check_mean(3.0, means=[2.0, 4.0], counts=[64, 16]).rules
        ('mean-of-means',)

    Mended:
        >>> doctor.check_mean(2.4, means=[2.0, 4.0], counts=[64, 16]).rules
        ()
    """
    return _unweighted(case) if _last_is_short(case) else None


@rule("means")
def accumulated_means(case: Batches) -> Evidence | None:
    """Means of unequal micro-batches, ranks or sequences were averaged as if they were equal.

    Symptom: accumulating gradients over micro-batches isn't the same as one big batch; ranks with
    unequal shares disagree with a single process; few tokens weigh as much as many.

    Cause: each part divides by its own count, of tokens or kept rows, before the parts are
    averaged.

    Cure: divide every part's sum by the count of all parts together.

    Failing:
        >>> doctor.check_mean(3.0, means=[2.0, 5.0, 2.0], counts=[30, 4, 50]).rules
        ('accumulated-means',)

    Mended:
        >>> doctor.check_mean(180 / 84, means=[2.0, 5.0, 2.0], counts=[30, 4, 50]).rules
        ()
    """
    return None if _last_is_short(case) else _unweighted(case)


def _last_is_short(case: Batches) -> bool:
    """Whether all batches but the last are of one size, as a data loader makes them."""
    *full, last = case.counts.tolist()
    return len(set(full)) == 1 and last < full[0]


def _unweighted(case: Batches) -> Evidence | None:
    plain = float(case.means.mean())
    right = float(case.means @ case.counts / case.counts.sum())
    if abs(case.reported - right) <= case.half or abs(case.reported - plain) > case.half:
        return None
    return Evidence(
        level="warning",
        text=(
            f"{case.reported:.6g} is the mean of {len(case.means):,} means; weighted by their "
            f"counts ({case.counts.min():g} to {case.counts.max():g}) it is {right:.6g}."
        ),
        numbers={"reported": case.reported, "mean_of_means": plain, "weighted": right},
        confidence="certain",
        why="the two differ by more than the last printed digit",
        remedy="epoch = sum((Mean(m * n, n) for m, n in batches), Mean(0.0, 0)).value",
        not_checked="whether each batch's own mean is right.",
    )


@rule("means")
def batch_means_over_rows(case: Batches) -> Evidence | None:
    """Batch means were added up and divided by the number of rows.

    Symptom: a loss smaller by about the batch size than it should be: 0.0017 at 97% accuracy.

    Cause: `total += loss.item()` adds means, `total / len(dataset)` divides by rows. It was right
    while the loss was a sum over the batch.

    Cure: `total += loss.item() * len(target)`; or divide by the number of batches.

    Failing:
        >>> doctor.check_mean(0.075, means=[2.0, 4.0], counts=[64, 16]).rules
        ('batch-means-over-rows',)

    Mended:
        >>> doctor.check_mean(2.4, means=[2.0, 4.0], counts=[64, 16]).rules
        ()
    """
    rows = float(case.counts.sum())
    small = float(case.means.sum()) / rows
    right = float(case.means @ case.counts) / rows
    if abs(case.reported - small) > case.half or abs(case.reported - right) <= case.half:
        return None
    factor = rows / len(case.means)
    return Evidence(
        level="error",
        text=(
            f"{case.reported:.6g} is the sum of {len(case.means):,} batch means divided by "
            f"{rows:g} rows; the mean is {right:.6g}: {factor:.4g} times as much."
        ),
        numbers={"reported": case.reported, "mean": right, "factor": factor},
        confidence="certain",
        why="the sum of means over rows agrees to the last digit",
        remedy="total += loss.item() * len(target)  # then total / rows",
        not_checked="whether each batch's own mean is right.",
    )


@rule("means")
def undivided_sum(case: Batches) -> Evidence | None:
    """Batch losses were added up and never divided.

    Symptom: the loss grows with the number of batches.

    Cause: a running total is reported as a mean.

    Cure: divide by the number of rows at the end.

    Failing:
        >>> doctor.check_mean(6.0, means=[2.0, 4.0], counts=[64, 16]).rules
        ('undivided-sum',)

    Mended:
        >>> doctor.check_mean(2.4, means=[2.0, 4.0], counts=[64, 16]).rules
        ()
    """
    if len(case.means) < 2:
        return None
    right = float(case.means @ case.counts / case.counts.sum())
    sums = {
        "the sum of the batch means": float(case.means.sum()),
        "the sum over all rows": float(case.means @ case.counts),
    }
    name = next((n for n, x in sums.items() if abs(case.reported - x) <= case.half), None)
    if name is None or abs(case.reported - right) <= case.half:
        return None
    return Evidence(
        level="error",
        text=f"{case.reported:.6g} is {name}; the mean is {right:.6g}.",
        numbers={"reported": case.reported, "mean": right},
        confidence="certain",
        why="the sum agrees to the last digit",
        remedy="loss = total / rows",
        not_checked="whether each batch's own mean is right.",
    )
