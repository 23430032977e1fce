"""Rules on an activation between the model and the loss."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from softxent.doctor.arrays.loss_arguments import LossArguments
from softxent.doctor.finding import Evidence, Severity
from softxent.doctor.formulas import double_softmax_floor
from softxent.doctor.registry import rule

__all__: list[str] = []

Values = npt.NDArray[np.float64]

_LOGIT_LOSSES = ("cross_entropy", "binary_cross_entropy_with_logits")
_SIGMOID_OF_ONE = 1 / (1 + math.exp(-1))  # 0.7311: the highest sigmoid of a sigmoid
# If a model's logits each lie in an interval seven times in ten (because of the rate of positives,
# or a bias), 40 of them all do so by chance only once in a million: 0.7^40.
_FEWEST_IN_INTERVAL = 40
_SMALL_BATCH = 16


@rule("arrays", severity="error")
def softmax_twice(case: LossArguments) -> Evidence | None:
    """Probabilities go into a loss that applies softmax itself.

    Symptom: the loss falls at first and then stays above ln(1 + (C - 1) / e): 0.313 for 2 classes,
    1.461 for 10, however good the accuracy is. Training is slow.

    Cause: the model ends with softmax and the loss begins with softmax. The second one gets numbers
    between 0 and 1, which are at most 1 apart, so its probabilities are never close to 0 or 1.

    Fix: pass the logits to the loss. Apply softmax only to show probabilities.

    Source: https://github.com/pytorch/pytorch/issues/55902

    Wrong:
        >>> doctor.check(softxent.softmax(logits), target).rules
        ('softmax-twice',)

    Fixed:
        >>> doctor.check(logits, target).rules
        ()
    """
    if case.loss != "cross_entropy" or case.temperature is not None:
        return None
    if case.classes < 2 or case.row_kind != "probabilities":
        return None
    rows, floor = case.rows, double_softmax_floor(case.classes)
    off = float(np.abs(rows.sum(axis=1) - 1).max())
    several = len(rows) > 1
    text = (
        f"{f'All {len(rows):,} rows lie' if several else 'The one row lies'} in [0, 1] and "
        f"sum{'' if several else 's'} to 1 (at most {off:.1g} off), like probabilities and unlike "
        f"logits. With {case.classes} classes the loss can't fall below "
        f"ln(1 + {case.classes - 1}/e) = {floor:.3f}."
    )
    numbers = {"rows": len(rows), "classes": case.classes, "deviation": off, "floor": floor}
    if case.labels is not None:
        twice = case.mean_loss(rows)
        with np.errstate(divide="ignore"):
            once = float(-np.log(rows[np.arange(len(rows)), case.labels]).mean())
        text += f" It is {twice:.4f} here; of these probabilities it is {once:.4f}."
        numbers |= {"loss_twice": twice, "loss_once": once}
    return Evidence(
        severity="error" if several else "warning",
        text=text,
        numbers=numbers,
        confidence="certain" if several else "likely",
        why="rows of logits don't all sum to 1 by chance"
        if several
        else "a single row of logits may sum to 1 by chance",
        remedy="loss = cross_entropy(logits, target)  # no softmax before it",
        not_checked="where the softmax is applied.",
    )


@rule("arrays", severity="note")
def log_softmax_twice(case: LossArguments) -> Evidence | None:
    """Log-probabilities go into a loss that takes logits: correct, but the work is done twice.

    Symptom: none.

    Cause: log_softmax of log-probabilities returns the same log-probabilities.

    Fix: pass the logits, which saves a pass over memory, or use nll_loss.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html

    Wrong:
        >>> doctor.check(softxent.log_softmax(logits), target).rules
        ('log-softmax-twice',)

    Fixed:
        >>> doctor.check(softxent.log_softmax(logits), target, loss="nll_loss").rules
        ()
    """
    if case.loss != "cross_entropy" or case.classes < 2 or case.row_kind != "log-probabilities":
        return None
    return Evidence(
        text=f"{len(case.rows):,} rows of numbers <= 0 whose exponentials sum to 1.",
        numbers={"rows": len(case.rows)},
        confidence="certain",
        why="the logsumexp of every row is 0; the value of the loss doesn't change",
        remedy="loss = nll_loss(log_probs, target)  # or cross_entropy(logits, target)",
        not_checked="nothing else: the loss has the correct value.",
    )


@rule("arrays", severity="error")
def softmax_over_batch(case: LossArguments) -> Evidence | None:
    """Softmax was applied along another axis than the class axis.

    Symptom: rows don't sum to 1; the result for a row changes with the other rows of its batch.

    Cause: `softmax(dim=0)` or `axis=0` on (N, C) normalizes over the rows of the batch.

    Fix: apply softmax along the class axis: `dim=-1` for (N, C), `dim=1` for (N, C, H, W).

    Source: https://github.com/svishwa/crowdcount-cascaded-mtl/issues/22

    Wrong:
        >>> doctor.check(softxent.softmax(logits, axis=0), target, loss="log_loss").rules
        ('softmax-over-batch',)

    Fixed:
        >>> doctor.check(softxent.softmax(logits, axis=-1), target, loss="log_loss").rules
        ()
    """
    axis = case.normalized_axis
    if axis is None or case.classes < 2:
        return None
    values = case.scores.astype(np.float64)
    if case.loss == "nll_loss":
        values = np.exp(values)
    off = float(np.abs(values.sum(axis=axis) - 1).max())
    sums = values.sum(axis=case.axis)
    enough = case.scores.shape[axis] > 2 or len(case.rows) > 2
    return Evidence(
        severity="error" if enough else "warning",
        text=(
            f"Along axis {axis} the numbers sum to 1 (at most {off:.1g} off); along the class axis "
            f"{case.axis} they sum to between {sums.min():.3g} and {sums.max():.3g}."
        ),
        numbers={
            "axis": axis,
            "class_axis": case.axis,
            "deviation": off,
            "lowest_sum": float(sums.min()),
            "highest_sum": float(sums.max()),
        },
        confidence="certain",
        why="numbers sum to 1 only along an axis that was normalized",
        remedy=f"probs = softmax(logits, axis={case.axis})",
        not_checked="whether the class axis is the one that you mean.",
    )


@rule("arrays", severity="warning")
def sigmoid_before_softmax(case: LossArguments) -> Evidence | None:
    """Numbers between 0 and 1 that don't sum to 1 go into a loss that applies softmax.

    Symptom: the loss stays above ln(1 + (C - 1) / e), as with two softmaxes. A library that guesses
    whether it gets logits takes these numbers for probabilities, in some batches and not in others.

    Cause: a sigmoid at the end of the model, or outputs that were scaled to [0, 1].

    Fix: pass the values from before the sigmoid.

    Source: https://github.com/opendataval/opendataval/issues/25

    Wrong:
        >>> doctor.check(1 / (1 + np.exp(-logits)), target).rules
        ('sigmoid-before-softmax',)

    Fixed:
        >>> doctor.check(logits, target).rules
        ()
    """
    if case.loss != "cross_entropy" or case.classes < 2 or case.row_kind != "unit interval":
        return None
    if case.normalized_axis is not None:
        return None
    rows = case.rows
    low, high = float(rows.min()), float(rows.max())
    if high - low < 1e-3 or rows.size < 8:
        return None
    # The logits of an untrained model are close to the bias of their class, which is small and has
    # either sign. By chance they may all lie in [0, 1], but hardly ever all around 1/2 as the
    # outputs of a sigmoid do.
    enough = rows.size >= _FEWEST_IN_INTERVAL and len(rows) >= 4
    wide = enough and low < 0.1 and high > 0.9
    means = rows.mean(axis=0)
    margin = 0.1 if case.classes == 2 else 0.25 if case.classes < 10 else 0.3
    centred = abs(float(rows.mean()) - 0.5) < margin
    if case.classes < 10:
        centred = centred and bool(np.all(np.abs(means - 0.5) < margin))
    severity: Severity = "warning" if wide or (enough and centred) else "note"
    floor = double_softmax_floor(case.classes)
    return Evidence(
        severity=severity,
        text=(
            f"All {rows.size:,} numbers lie in [{low:.3g}, {high:.3g}], but the rows don't sum to "
            f"1. Numbers in [0, 1] keep the loss of {case.classes} classes above {floor:.3f}."
        ),
        numbers={"lowest": low, "highest": high, "floor": floor, "classes": case.classes},
        confidence="likely" if severity == "warning" else "possible",
        why="logits hardly ever all lie in [0, 1]"
        if severity == "warning"
        else "the logits of an untrained model can be small and positive by chance",
        remedy="loss = cross_entropy(logits, target)  # no sigmoid before it",
        not_checked="where the numbers come from.",
    )


@rule("arrays", severity="note")
def guessed_probabilities(case: LossArguments) -> Evidence | None:
    """All logits of a batch lie in [0, 1], so a metric that guesses takes them for probabilities.

    Symptom: a metric that is computed batch by batch differs from the metric of all rows: a
    calibration error of 0.105 instead of 0.301.

    Cause: the metric applies softmax to a batch if any number is outside [0, 1], and otherwise
    takes the numbers for probabilities. The logits of a batch without confident predictions may all
    be inside.

    Fix: pass probabilities, which can't be mistaken for logits.

    Source: https://github.com/Lightning-AI/torchmetrics/issues/1604

    Wrong:
        >>> logits[16:32] = rng.random((16, 10))
        >>> doctor.check(logits, target).rules
        ('guessed-probabilities',)

    Fixed:
        >>> doctor.check(softxent.softmax(logits), target, loss="log_loss").rules
        ()
    """
    if case.loss != "cross_entropy" or case.classes < 2 or case.row_kind != "other":
        return None
    inside = np.all((case.rows >= 0) & (case.rows <= 1), axis=1)
    whole = len(inside) // _SMALL_BATCH * _SMALL_BATCH
    batches = inside[:whole].reshape(-1, _SMALL_BATCH).all(axis=1)
    if not batches.any():
        return None
    first = int(batches.argmax()) * _SMALL_BATCH
    return Evidence(
        text=(
            f"In {batches.sum():,} of {len(batches):,} batches of {_SMALL_BATCH} rows all logits "
            f"lie in [0, 1], first in the batch that begins at row "
            f"{int(case.row_numbers[first])}; in the other batches they don't."
        ),
        numbers={"batches": int(batches.sum()), "first_row": int(case.row_numbers[first])},
        confidence="possible",
        why="it depends on the metric: one that gets what it expects is correct",
        remedy="metric.update(logits.softmax(-1), target)",
        not_checked="which metrics are computed, and on which batches.",
    )


@rule("arrays", severity="warning")
def clipped_scores(case: LossArguments) -> Evidence | None:
    """The logits passed through a ReLU: none is negative and many are exactly 0.

    Symptom: training stalls; some classes are never learned.

    Cause: an activation after the last layer. A logit that is clipped to 0 gets no gradient.

    Fix: end the model with its last linear layer.

    Source: https://github.com/pytorch/tutorials/pull/1644

    Wrong:
        >>> doctor.check(np.maximum(logits, 0), target).rules
        ('clipped-scores',)

    Fixed:
        >>> doctor.check(logits, target).rules
        ()
    """
    if case.loss not in _LOGIT_LOSSES or case.classes < 2 or not case.rows.size:
        return None
    if case.row_kind not in ("other", "unit interval") or not np.all(case.rows >= 0):
        return None
    zeros = float(np.mean(case.rows == 0))
    if case.rows.size < 40 or not 0.2 <= zeros < 1:
        return None
    return Evidence(
        text=f"None of {case.rows.size:,} logits is negative and {zeros:.0%} are exactly 0.",
        numbers={"zeros": zeros, "scores": case.rows.size},
        confidence="likely",
        why="a linear layer hardly ever returns exact zeros, and it returns negative numbers too",
        remedy="return self.last(hidden)  # no relu after the last layer",
        not_checked="whether the numbers are counts, which may be 0.",
    )


@rule("arrays", severity="error")
def sigmoid_twice(case: LossArguments) -> Evidence | None:
    """Sigmoid was applied twice.

    Symptom: all probabilities lie between 0.5 and 0.731; the loss of a negative stays above 0.693.

    Cause: the model ends with sigmoid, and another one follows: a second sigmoid, or a loss that
    takes logits.

    Fix: keep one: pass logits to binary_cross_entropy_with_logits.

    Source: https://github.com/itakurah/focal-loss-pytorch/pull/5

    Wrong:
        >>> once = 1 / (1 + np.exp(-logits[:, 0]))
        >>> positive = (target == 0).astype(float)
        >>> doctor.check(once, positive, loss="binary_cross_entropy_with_logits").rules
        ('sigmoid-twice',)

    Fixed:
        >>> doctor.check(logits[:, 0], positive, loss="binary_cross_entropy_with_logits").rules
        ()
    """
    if not case.binary or case.rows.size < 20 or not np.all(np.isfinite(case.rows)):
        return None
    low, high = float(case.rows.min()), float(case.rows.max())
    with_logits = case.loss == "binary_cross_entropy_with_logits"
    bottom, top = (0.0, 1.0) if with_logits else (0.5, _SIGMOID_OF_ONE)
    if low < bottom or high > top + 1e-6 or high == 0:
        return None
    margin = 0.1 * (top - bottom)
    wide = low < bottom + margin and high > top - margin
    wide = wide and case.rows.size >= _FEWEST_IN_INTERVAL
    once = _loss_with_one_sigmoid_less(case)
    severity: Severity = "error" if wide else "warning" if once is not None else "note"
    text = (
        f"All {case.rows.size:,} {'logits' if with_logits else 'probabilities'} lie in "
        f"[{low:.4f}, {high:.4f}]; sigmoid maps "
        f"{'any number' if with_logits else 'the outputs of another sigmoid'} to "
        f"[{bottom:.1f}, {top:.4f}]."
    )
    numbers: dict[str, float] = {"lowest": low, "highest": high, "count": case.rows.size}
    if once is not None:
        text += f" With one sigmoid less the loss is {once[1]:.4g} instead of {once[0]:.4g}."
        numbers |= {"loss": once[0], "loss_once": once[1]}
    return Evidence(
        severity=severity,
        text=text,
        numbers=numbers,
        confidence="possible" if severity == "note" else "likely",
        why="they fill that interval and never leave it"
        if wide
        else "taken as probabilities they predict the labels better than a guess does; as passed "
        "they don't"
        if once is not None
        else "so few numbers, or those of an untrained model, may all lie there by chance",
        remedy="loss = binary_cross_entropy_with_logits(logits, target)  # no sigmoid",
        not_checked="where the sigmoids are.",
    )


def _loss_with_one_sigmoid_less(case: LossArguments) -> tuple[float, float] | None:
    """(the loss as it is, the loss with one sigmoid less), if that explains the labels.

    It has to be lower than the loss as it is and than that of the rate of positives alone, each by
    four standard errors: numbers that are near 1/2 by chance don't predict anything.
    """
    if case.target_kind != "elementwise" or case.target is None:
        return None
    if case.rows.size < _FEWEST_IN_INTERVAL:
        return None
    y = case.target.reshape(-1)[case.row_numbers].astype(np.float64)
    if not np.all((y == 0) | (y == 1)):
        return None
    x = case.rows[:, 0]
    with np.errstate(divide="ignore"):
        if case.loss == "binary_cross_entropy":
            # x = sigmoid(sigmoid(z)): the input of the last sigmoid is a probability itself.
            inner = np.log(x) - np.log1p(-x)
            as_is, once = _log_loss(x, y), _log_loss(np.clip(inner, 0, 1), y)
        else:
            as_is, once = _log_loss(1 / (1 + np.exp(-x)), y), _log_loss(np.clip(x, 0, 1), y)
        rate = float(y.mean())
        guess = _log_loss(np.full(len(y), rate), y)
    if not 0 < rate < 1:
        return None
    for other in (as_is, guess):
        falls = other - once
        error = float(falls.std()) / math.sqrt(len(falls))
        if not float(falls.mean()) > 4 * error:
            return None
    return float(as_is.mean()), float(once.mean())


def _log_loss(p: Values, y: Values) -> Values:
    p = np.clip(p, 1e-7, 1 - 1e-7)
    return np.asarray(-np.log(np.where(y == 1, p, 1 - p)))
