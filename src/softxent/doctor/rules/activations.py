"""Rules on scores that passed through an activation before the loss."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from softxent.doctor.cases import Arrays
from softxent.doctor.finding import Evidence, Level
from softxent.doctor.registry import rule

__all__ = ["double_softmax_floor", "some_rows"]

Values = npt.NDArray[np.float64]

_LOGIT_LOSSES = ("cross_entropy", "binary_cross_entropy_with_logits")
_SIGMOID_OF_ONE = 1 / (1 + math.exp(-1))  # 0.7311: the most that sigmoid makes of a sigmoid
# A model's scores that lie in an interval seven times in ten (a base rate of positives, a bias) all
# do so by chance once in a million, 0.7^40, only where there are as many.
_FEWEST_IN_INTERVAL = 40
_SMALL_BATCH = 16


def double_softmax_floor(classes: int) -> float:
    """The lowest loss when softmax is applied twice: ln(1 + (C - 1) / e), in nats."""
    return math.log1p((classes - 1) / math.e)


def some_rows(case: Arrays) -> str:
    """The beginning of a sentence on all rows."""
    count = len(case.rows)
    return "The one row lies" if count == 1 else f"All {count:,} rows lie"


@rule("arrays")
def softmax_twice(case: Arrays) -> Evidence | None:
    """Probabilities go into a loss that applies softmax itself.

    Symptom: the loss falls at first and then stays above ln(1 + (C - 1) / e): 0.313 for 2 classes,
    1.461 for 10, however good the accuracy is. Training is slow.

    Cause: the model ends in softmax and the loss begins with one. The second softmax sees numbers
    between 0 and 1, at most 1 apart, and can never be sure of anything.

    Cure: hand the logits to the loss. Apply softmax only to show probabilities.

    Failing:
        >>> doctor.check(softxent.softmax(logits), target).rules
        ('softmax-twice',)

    Mended:
        >>> doctor.check(logits, target).rules
        ()
    """
    if case.loss != "cross_entropy" or case.temperature is not None:
        return None
    if case.classes < 2 or case.look != "probabilities":
        return None
    rows, floor = case.rows, double_softmax_floor(case.classes)
    off = float(np.abs(rows.sum(axis=1) - 1).max())
    text = (
        f"{some_rows(case)} in [0, 1] and add up to 1 (at most {off:.1g} off), as probabilities "
        "do "
        f"and logits don't. With {case.classes} classes the loss can't fall below "
        f"ln(1 + {case.classes - 1}/e) = {floor:.3f}."
    )
    numbers = {"rows": len(rows), "classes": case.classes, "deviation": off, "floor": floor}
    if case.labels is not None:
        twice = case.mean_loss(rows)
        with np.errstate(divide="ignore"):
            once = float(-np.log(rows[np.arange(len(rows)), case.labels]).mean())
        text += f" It is {twice:.4f} here; of these probabilities it is {once:.4f}."
        numbers |= {"loss_twice": twice, "loss_once": once}
    several = len(rows) > 1
    return Evidence(
        level="error" if several else "warning",
        text=text,
        numbers=numbers,
        confidence="certain" if several else "likely",
        why="rows of logits don't all add up to 1 by chance"
        if several
        else "a single row of logits may add up to 1 by chance",
        remedy="loss = cross_entropy(logits, target)  # no softmax before it",
        not_checked="where the softmax is applied.",
    )


@rule("arrays")
def log_softmax_twice(case: Arrays) -> Evidence | None:
    """Log-probabilities go into a loss that takes logits: right, but the work is done twice.

    Symptom: none.

    Cause: log_softmax of log-probabilities gives the same log-probabilities again.

    Cure: hand over the logits and save a pass over memory, or use nll_loss.

    Failing:
        >>> doctor.check(softxent.log_softmax(logits), target).rules
        ('log-softmax-twice',)

    Mended:
        >>> doctor.check(softxent.log_softmax(logits), target, loss="nll_loss").rules
        ()
    """
    if case.loss != "cross_entropy" or case.classes < 2 or case.look != "log-probabilities":
        return None
    return Evidence(
        level="note",
        text=f"{len(case.rows):,} rows of numbers <= 0 whose exponentials add up to 1.",
        numbers={"rows": len(case.rows)},
        confidence="certain",
        why="the logsumexp of every row is 0; the loss is not changed by it",
        remedy="loss = nll_loss(log_probs, target)  # or cross_entropy(logits, target)",
        not_checked="nothing else: the loss has the right value.",
    )


@rule("arrays")
def softmax_over_batch(case: Arrays) -> Evidence | None:
    """Softmax was taken over another axis than that of the classes.

    Symptom: rows don't add up to 1; results change with the batch in which a row stands.

    Cause: `softmax(dim=0)` or `axis=0` on (N, C) normalises over the samples of the batch.

    Cure: softmax over the class axis, `dim=-1` for (N, C); over axis 1 for (N, C, H, W).

    Failing:
        >>> doctor.check(softxent.softmax(logits, axis=0), target, loss="log_loss").rules
        ('softmax-over-batch',)

    Mended:
        >>> doctor.check(softxent.softmax(logits, axis=-1), target, loss="log_loss").rules
        ()
    """
    axis = case.softmaxed_axis
    if axis is None or case.classes < 2:
        return None
    values = case.scores.astype(np.float64)
    if case.loss == "nll_loss":
        values = np.exp(values)
    off = float(np.abs(values.sum(axis=axis) - 1).max())
    sums = values.sum(axis=case.axis)
    one = case.scores.shape[axis] > 2 or len(case.rows) > 2
    return Evidence(
        level="error" if one else "warning",
        text=(
            f"Over axis {axis} the numbers add up to 1 (at most {off:.1g} off); over the class "
            "axis "
            f"{case.axis} they add up to between {sums.min():.3g} and {sums.max():.3g}."
        ),
        numbers={
            "axis": axis,
            "class_axis": case.axis,
            "deviation": off,
            "lowest_sum": float(sums.min()),
            "highest_sum": float(sums.max()),
        },
        confidence="certain",
        why="sums over an axis are 1 only where it was normalised",
        remedy=f"probs = softmax(logits, axis={case.axis})",
        not_checked="whether the class axis is the one that you mean.",
    )


@rule("arrays")
def sigmoid_before_softmax(case: Arrays) -> Evidence | None:
    """Scores between 0 and 1 that are no probabilities of exclusive classes go into a softmax.

    Symptom: the loss stays above ln(1 + (C - 1) / e), as with two softmaxes. A library that guesses
    whether it was given logits takes these for probabilities, in one batch but not in the next.

    Cause: a sigmoid at the end of the model, or scores that were scaled to [0, 1].

    Cure: hand over what was computed before the sigmoid.

    Failing:
        >>> doctor.check(1 / (1 + np.exp(-logits)), target).rules
        ('sigmoid-before-softmax',)

    Mended:
        >>> doctor.check(logits, target).rules
        ()
    """
    if case.loss != "cross_entropy" or case.classes < 2 or case.look != "unit":
        return None
    if case.softmaxed_axis is not None:
        return None
    rows = case.rows
    low, high = float(rows.min()), float(rows.max())
    if high - low < 1e-3 or rows.size < 8:
        return None
    # Untrained logits of a class are about its bias, which is small and has either sign. That those
    # of all classes lie in [0, 1] happens by chance; that all lie around 1/2, as a sigmoid's do,
    # hardly ever does.
    enough = rows.size >= _FEWEST_IN_INTERVAL and len(rows) >= 4
    wide = enough and low < 0.1 and high > 0.9
    means = rows.mean(axis=0)
    margin = 0.1 if case.classes == 2 else 0.25 if case.classes < 10 else 0.3
    centred = abs(float(rows.mean()) - 0.5) < margin
    if case.classes < 10:
        centred = centred and bool(np.all(np.abs(means - 0.5) < margin))
    level: Level = "warning" if wide or (enough and centred) else "note"
    floor = double_softmax_floor(case.classes)
    return Evidence(
        level=level,
        text=(
            f"All {rows.size:,} scores lie in [{low:.3g}, {high:.3g}], but rows don't add up to 1. "
            f"Numbers in [0, 1] keep the loss of {case.classes} classes above {floor:.3f}."
        ),
        numbers={"lowest": low, "highest": high, "floor": floor, "classes": case.classes},
        confidence="likely" if level == "warning" else "possible",
        why="logits are hardly ever all within [0, 1]"
        if level == "warning"
        else "the logits of an untrained model can be small and positive by chance",
        remedy="loss = cross_entropy(logits, target)  # no sigmoid before it",
        not_checked="where the numbers come from.",
    )


@rule("arrays")
def guessed_probabilities(case: Arrays) -> Evidence | None:
    """Some batch of these logits lies in [0, 1], where a metric that guesses sees probabilities.

    Symptom: a metric computed batch by batch isn't the metric of all rows: a calibration error of
    0.105 against 0.301.

    Cause: the metric applies softmax to a batch where a number is outside [0, 1], and none where
    all are inside: logits of a batch that is unsure are taken as they are.

    Cure: hand it probabilities; they are never mistaken for logits.

    Failing:
        >>> logits[16:32] = rng.random((16, 10))
        >>> doctor.check(logits, target).rules
        ('guessed-probabilities',)

    Mended:
        >>> doctor.check(softxent.softmax(logits), target, loss="log_loss").rules
        ()
    """
    if case.loss != "cross_entropy" or case.classes < 2 or case.look != "other":
        return None
    inside = np.all((case.rows >= 0) & (case.rows <= 1), axis=1)
    whole = len(inside) // _SMALL_BATCH * _SMALL_BATCH
    batches = inside[:whole].reshape(-1, _SMALL_BATCH).all(axis=1)
    if not batches.any():
        return None
    first = int(batches.argmax()) * _SMALL_BATCH
    return Evidence(
        level="note",
        text=(
            f"In {batches.sum():,} of {len(batches):,} batches of {_SMALL_BATCH} rows, the first "
            f"from row {int(case.places[first])} on, all logits lie in [0, 1]; in the others they "
            "don't."
        ),
        numbers={"batches": int(batches.sum()), "first_row": int(case.places[first])},
        confidence="possible",
        why="whether it matters depends on the metric: one that is told what it gets is right",
        remedy="metric.update(logits.softmax(-1), target)",
        not_checked="which metrics are computed, and in which batches.",
    )


@rule("arrays")
def clipped_scores(case: Arrays) -> Evidence | None:
    """The logits passed through a ReLU: none is negative and many are exactly 0.

    Symptom: training stalls; for some classes nothing is ever learned.

    Cause: an activation after the last layer. A logit at 0 gets no gradient any more.

    Cure: end the model with its last linear layer.

    Failing:
        >>> doctor.check(np.maximum(logits, 0), target).rules
        ('clipped-scores',)

    Mended:
        >>> doctor.check(logits, target).rules
        ()
    """
    if case.loss not in _LOGIT_LOSSES or case.classes < 2 or not case.rows.size:
        return None
    if case.look not in ("other", "unit") or not np.all(case.rows >= 0):
        return None
    zeros = float(np.mean(case.rows == 0))
    if case.rows.size < 40 or not 0.2 <= zeros < 1:
        return None
    return Evidence(
        level="warning",
        text=f"None of {case.rows.size:,} scores is negative and {zeros:.0%} are exactly 0.",
        numbers={"zeros": zeros, "scores": case.rows.size},
        confidence="likely",
        why="a linear layer gives exact zeros hardly ever, and gives negative numbers too",
        remedy="return self.last(hidden)  # no relu after the last layer",
        not_checked="whether the scores are counts, which may be 0.",
    )


@rule("arrays")
def sigmoid_twice(case: Arrays) -> Evidence | None:
    """Sigmoid was applied twice.

    Symptom: all probabilities lie between 0.5 and 0.731; the loss of a negative stays above 0.693.

    Cause: the model ends in sigmoid and so does what follows: another sigmoid, or a loss that takes
    logits.

    Cure: keep one: logits into binary_cross_entropy_with_logits.

    Failing:
        >>> once = 1 / (1 + np.exp(-logits[:, 0]))
        >>> yes = (target == 0).astype(float)
        >>> doctor.check(once, yes, loss="binary_cross_entropy_with_logits").rules
        ('sigmoid-twice',)

    Mended:
        >>> doctor.check(logits[:, 0], yes, loss="binary_cross_entropy_with_logits").rules
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
    level: Level = "error" if wide else "warning" if once is not None else "note"
    text = (
        f"All {case.rows.size:,} {'logits' if with_logits else 'probabilities'} lie in "
        f"[{low:.4f}, {high:.4f}]; sigmoid makes [{bottom:.1f}, {top:.4f}] of "
        f"{'any numbers' if with_logits else 'the numbers of another sigmoid'}."
    )
    numbers: dict[str, float] = {"lowest": low, "highest": high, "count": case.rows.size}
    if once is not None:
        text += f" With one sigmoid less the loss is {once[1]:.4g} instead of {once[0]:.4g}."
        numbers |= {"loss": once[0], "loss_once": once[1]}
    return Evidence(
        level=level,
        text=text,
        numbers=numbers,
        confidence="possible" if level == "note" else "likely",
        why="they fill that interval and never leave it"
        if wide
        else "taken as probabilities they predict the labels better than a guess, as they stand "
        "they don't"
        if once is not None
        else "so few scores, or an untrained model's, may all lie there by chance",
        remedy="loss = binary_cross_entropy_with_logits(logits, target)  # no sigmoid",
        not_checked="where the sigmoids are.",
    )


def _loss_with_one_sigmoid_less(case: Arrays) -> tuple[float, float] | None:
    """(the loss as it stands, the loss with one sigmoid less), where that explains the labels.

    It has to be lower than as it stands and than the base rate alone has, each by four standard
    errors: scores that are near 1/2 by chance don't predict anything.
    """
    if case.kind != "elementwise" or case.target is None or case.rows.size < _FEWEST_IN_INTERVAL:
        return None
    y = case.target.reshape(-1)[case.places].astype(np.float64)
    if not np.all((y == 0) | (y == 1)):
        return None
    x = case.rows[:, 0]
    with np.errstate(divide="ignore"):
        if case.loss == "binary_cross_entropy":
            # sigmoid(sigmoid(z)): what stood before the last one, and what before both.
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
