"""Rules on what the scores are: logits, probabilities, log-probabilities, or none of these."""

from __future__ import annotations

import math

import numpy as np

from softxent import ops
from softxent.doctor.cases import Arrays
from softxent.doctor.finding import Evidence, Level
from softxent.doctor.registry import rule

__all__ = ["double_softmax_floor"]

_LOGIT_LOSSES = ("cross_entropy", "binary_cross_entropy_with_logits")
_SIGMOID_OF_ONE = 1 / (1 + math.exp(-1))  # 0.7311: the most that sigmoid makes of a sigmoid
_FLOAT32_LOWEST = -104.0  # log of the smallest float32: what log(softmax) can still show
_CLAMPS = tuple(math.log(10.0**-k) for k in range(5, 17))  # log(p + 1e-8) and its relatives


# A model's scores that lie in an interval seven times in ten (a base rate of positives, a bias) all
# do so by chance once in a million, 0.7^40, only where there are as many.
_FEWEST_IN_INTERVAL = 40


def double_softmax_floor(classes: int) -> float:
    """The lowest loss when softmax is applied twice: ln(1 + (C - 1) / e), in nats."""
    return math.log1p((classes - 1) / math.e)


def _some_rows(case: Arrays) -> str:
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
        f"{_some_rows(case)} in [0, 1] and add up to 1 (at most {off:.1g} off), as probabilities "
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
    # Untrained logits are all positive by chance where the classes are few: 1 in 2^C or so.
    enough = rows.size >= _FEWEST_IN_INTERVAL
    wide = enough and low < 0.1 and high > 0.9
    many = enough and case.classes >= 10 and len(rows) >= 4 and 0.2 < float(rows.mean()) < 0.8
    level: Level = "warning" if wide or many else "note"
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
    level: Level = "error" if wide else "note"
    return Evidence(
        level=level,
        text=(
            f"All {case.rows.size:,} {'logits' if with_logits else 'probabilities'} lie in "
            f"[{low:.4f}, {high:.4f}]; sigmoid makes [{bottom:.1f}, {top:.4f}] of "
            f"{'any numbers' if with_logits else 'the numbers of another sigmoid'}."
        ),
        numbers={"lowest": low, "highest": high, "count": case.rows.size},
        confidence="likely" if wide else "possible",
        why="they fill that interval and never leave it"
        if wide
        else "so few scores, or an untrained model's, may all lie there by chance",
        remedy="loss = binary_cross_entropy_with_logits(logits, target)  # no sigmoid",
        not_checked="where the sigmoids are.",
    )


@rule("arrays")
def logits_as_probabilities(case: Arrays) -> Evidence | None:
    """Logits go into a loss that takes probabilities.

    Symptom: no convergence, NaN, or a loss of clipped logarithms (Keras with from_logits=False).

    Cause: the model ends in a linear layer, and the loss was told, or assumes, that softmax or
    sigmoid has been applied. Also scores that happen to lie in [0, 1]: not adding up to 1, they are
    no probabilities of classes, though a metric that guesses takes them so.

    Cure: say from_logits=True, or use the loss that takes logits: it is also the exact one.

    Failing:
        >>> doctor.check(logits, target, loss="log_loss").rules
        ('logits-as-probabilities',)

    Mended:
        >>> doctor.check(logits, target, loss="cross_entropy").rules
        ()
    """
    if case.loss not in ("log_loss", "binary_cross_entropy") or not case.rows.size:
        return None
    if case.softmaxed_axis is not None or np.isnan(case.rows).any():
        return None
    low, high = float(case.rows.min()), float(case.rows.max())
    numbers = {"lowest": low, "highest": high}
    if case.binary:
        if low >= 0 and high <= 1:
            return None
        text = f"The numbers reach from {low:.4g} to {high:.4g}; probabilities lie in [0, 1]."
        remedy = "loss = binary_cross_entropy_with_logits(logits, target)"
    else:
        if case.look in ("probabilities", "log-probabilities"):
            return None
        sums = case.rows.sum(axis=1)
        numbers |= {"lowest_sum": float(sums.min()), "highest_sum": float(sums.max())}
        text = (
            f"The numbers reach from {low:.4g} to {high:.4g} and rows add up to between "
            f"{sums.min():.4g} and {sums.max():.4g}; probabilities lie in [0, 1] and add up to 1."
        )
        remedy = "loss = cross_entropy(logits, target)  # Keras: from_logits=True"
    return Evidence(
        level="error",
        text=text,
        numbers=numbers,
        confidence="certain",
        why="they can't be probabilities",
        remedy=remedy,
        not_checked="whether they are logits or something else again.",
    )


@rule("arrays")
def log_probabilities_as_probabilities(case: Arrays) -> Evidence | None:
    """Log-probabilities go into a loss that takes probabilities and takes their logarithm again.

    Symptom: the loss is NaN from the first step.

    Cause: log_softmax at the end of the model, and a loss that adds its own logarithm: log_loss, or
    skorch's NeuralNetClassifier with its default NLLLoss, which takes `log(p + eps)`.

    Cure: one logarithm: nll_loss on log-probabilities, or cross_entropy on logits.

    Failing:
        >>> doctor.check(softxent.log_softmax(logits), target, loss="log_loss").rules
        ('log-probabilities-as-probabilities',)

    Mended:
        >>> doctor.check(softxent.log_softmax(logits), target, loss="nll_loss").rules
        ()
    """
    if case.loss not in ("log_loss", "binary_cross_entropy") or case.classes < 2:
        return None
    if case.binary or case.look != "log-probabilities":
        return None
    return Evidence(
        level="error",
        text=(
            f"All {len(case.rows):,} rows are <= 0 (down to {case.rows.min():.4g}), and their "
            "exponentials add up to 1: these are logarithms of probabilities, and the logarithm of "
            "a negative number is NaN."
        ),
        numbers={"rows": len(case.rows), "lowest": float(case.rows.min())},
        confidence="certain",
        why="the logsumexp of every row is 0",
        remedy="loss = nll_loss(log_probs, target)",
        not_checked="where the second logarithm is.",
    )


@rule("arrays")
def probabilities_as_log_probabilities(case: Arrays) -> Evidence | None:
    """Probabilities go into nll_loss, which takes log-probabilities.

    Symptom: a negative loss, between -1 and 0, that seems to improve.

    Cause: softmax where log_softmax is wanted. NLLLoss takes no logarithm: it averages -x[target].

    Cure: log_softmax before nll_loss, or cross_entropy on logits.

    Failing:
        >>> doctor.check(softxent.softmax(logits), target, loss="nll_loss").rules
        ('probabilities-as-log-probabilities',)

    Mended:
        >>> doctor.check(softxent.log_softmax(logits), target, loss="nll_loss").rules
        ()
    """
    if case.loss != "nll_loss" or case.look not in ("probabilities", "unit"):
        return None
    if case.classes < 2 or not np.any(case.rows > 0):
        return None
    text = (
        f"{_some_rows(case)} in [{case.rows.min():.3g}, {case.rows.max():.3g}]; "
        "log-probabilities are <= 0."
    )
    numbers = {"lowest": float(case.rows.min()), "highest": float(case.rows.max())}
    if case.labels is not None:
        value = float(-case.rows[np.arange(len(case.rows)), case.labels].mean())
        text += f" The loss comes out as {value:.4f}; no cross-entropy is below 0."
        numbers["loss"] = value
    return Evidence(
        level="error",
        text=text,
        numbers=numbers,
        confidence="certain",
        why="log-probabilities are never positive",
        remedy="loss = nll_loss(log_softmax(logits), target)",
        not_checked="how the probabilities were made.",
    )


@rule("arrays")
def logits_as_log_probabilities(case: Arrays) -> Evidence | None:
    """Logits go into nll_loss, which takes log-probabilities.

    Symptom: the loss falls below 0 and on without end.

    Cause: log_softmax is missing. Without the normalisation the loss can be lowered for ever by
    raising every logit.

    Cure: cross_entropy on logits.

    Failing:
        >>> doctor.check(logits, target, loss="nll_loss").rules
        ('logits-as-log-probabilities',)

    Mended:
        >>> doctor.check(logits, target, loss="cross_entropy").rules
        ()
    """
    if case.loss != "nll_loss" or case.look != "other" or case.classes < 2:
        return None
    if not case.rows.size or np.isnan(case.rows).any() or case.softmaxed_axis is not None:
        return None
    mass = ops.logsumexp(case.rows)
    worst = float(mass[np.abs(mass).argmax()])
    # log(p + eps) is off by C eps: that is its own rule, not this one.
    if case.rows.max() <= 1e-3 and abs(worst) < 0.01:
        return None
    return Evidence(
        level="error",
        text=(
            f"The logarithm of a row's sum of exponentials is {worst:.4g}; for log-probabilities "
            "it "
            "is 0."
        ),
        numbers={"worst_logsumexp": worst},
        confidence="certain",
        why="they are not normalised",
        remedy="loss = cross_entropy(logits, target)",
        not_checked="whether they are logits or something else again.",
    )


@rule("arrays")
def log_of_softmax(case: Arrays) -> Evidence | None:
    """The logarithm was taken of a softmax that had already rounded to 0.

    Symptom: the loss is inf and its gradient NaN once the model is sure; or, with `log(p + eps)`,
    the loss of a bad mistake never exceeds -ln(eps).

    Cause: in float32 a probability below 1.4e-45 is 0, and so is everything 104 nats below the
    largest logit. The logarithm can't bring it back.

    Cure: log_softmax, or cross_entropy on logits, which need no such logarithm.

    Failing:
        >>> sure = (40 * logits).astype(np.float32)
        >>> with np.errstate(divide="ignore"):
        ...     naive = np.log(softxent.softmax(sure) + np.float32(1e-8))
        >>> doctor.check(naive, target, loss="nll_loss").rules
        ('log-of-softmax',)

    Mended:
        >>> doctor.check(softxent.log_softmax(sure), target, loss="nll_loss").rules
        ()
    """
    if case.loss not in ("nll_loss", "cross_entropy") or case.classes < 2 or not case.rows.size:
        return None
    rows = case.rows
    if np.isnan(rows).any() or rows.max() > 1e-3 or np.any(np.abs(ops.logsumexp(rows)) > 0.01):
        return None
    gone = np.isneginf(rows)
    lowest = float(rows[~gone].min()) if not gone.all() else 0.0
    if gone.any():
        # A mask takes the same classes from many rows; what rounds to 0 differs from row to row,
        # and leaves numbers just above the smallest that the type can show.
        limit = _FLOAT32_LOWEST if case.epsilon > 1e-8 else -746.0
        if not (0.6 * limit > lowest >= limit) or np.all(gone == gone[0]):
            return None
        text = (
            f"{gone.sum():,} of {rows.size:,} log-probabilities are -inf and none lies below "
            f"{lowest:.1f}: below that the probability itself had rounded to 0."
        )
        remedy = "log_probs = log_softmax(logits)"
        return Evidence(
            level="error",
            text=text,
            numbers={"infinite": int(gone.sum()), "lowest": lowest},
            confidence="likely",
            why="log_softmax gives a finite number wherever the logit is finite",
            remedy=remedy,
            not_checked="whether these classes were masked on purpose.",
        )
    at_floor = np.isclose(rows, lowest, rtol=0, atol=1e-4)
    clamp = min(_CLAMPS, key=lambda value: abs(value - lowest))
    if at_floor.sum() < 3 or abs(clamp - lowest) > 1e-3:
        return None
    return Evidence(
        level="warning",
        text=(
            f"{at_floor.sum():,} of {rows.size:,} log-probabilities are {lowest:.4f} = "
            f"ln({math.exp(clamp):.0e}), and none is lower: an epsilon inside the logarithm."
        ),
        numbers={"clamped": int(at_floor.sum()), "lowest": lowest, "epsilon": math.exp(clamp)},
        confidence="certain",
        why="many log-probabilities don't meet on one number",
        remedy="log_probs = log_softmax(logits)",
        not_checked="how the epsilon was added.",
    )


@rule("arrays")
def not_finite(case: Arrays) -> Evidence | None:
    """Scores hold NaN or +inf.

    Symptom: the loss is NaN, and after one step so are all weights.

    Cause: an overflow (half precision ends at 65,504), a division by 0, a logarithm of 0, a step
    that was too large, or NaN in the data. A row whose classes are all masked (-inf) counts too.

    Cure: find the first layer whose output isn't finite; look at the inputs first.

    Failing:
        >>> logits[3, 7] = np.nan
        >>> doctor.check(logits, target).rules
        ('not-finite',)

    Mended:
        >>> logits[3, 7] = 0.5
        >>> doctor.check(logits, target).rules
        ()
    """
    rows = case.rows
    if not rows.size:
        return None
    bad = np.isnan(rows) | np.isposinf(rows)
    masked = np.all(np.isneginf(rows), axis=1) if case.classes > 1 else np.isneginf(rows[:, 0])
    broken = bad.any(axis=1) | masked
    if not broken.any():
        return None
    first = int(case.places[int(broken.argmax())])
    return Evidence(
        level="error",
        text=(
            f"{broken.sum():,} of {len(rows):,} rows hold NaN or +inf, or only -inf; the first is "
            f"row {first}."
        ),
        numbers={"rows": int(broken.sum()), "first_row": first},
        confidence="certain",
        why="their loss is NaN",
        remedy="assert np.isfinite(inputs).all()  # then layer by layer",
        not_checked="which layer made them.",
    )


@rule("arrays")
def infinite_loss(case: Arrays) -> Evidence | None:
    """A target has probability 0, so its loss is infinite.

    Symptom: the loss is inf; or it is capped (torch's BCELoss at 100) and its gradient wrong.

    Cause: a target class that was masked with -inf, a probability that rounded to 0 before its
    logarithm was taken, or label smoothing over masked classes.

    Cure: mask only classes that can't be the target; hand logits, not probabilities, to the loss.

    Failing:
        >>> logits[:, 4] = -np.inf
        >>> doctor.check(logits, np.full(64, 4)).rules
        ('infinite-loss',)

    Mended:
        >>> doctor.check(logits, np.full(64, 5)).rules
        ()
    """
    rows = case.rows
    if not rows.size or np.isnan(rows).any():
        return None
    nothing = 0.0 if case.loss in ("log_loss", "binary_cross_entropy") else -np.inf
    if case.binary:
        if case.loss != "binary_cross_entropy" or case.kind != "elementwise":
            return None
        assert case.target is not None
        y = case.target.reshape(-1)[case.places].astype(np.float64)
        p = rows[:, 0]
        infinite = ((p == 0) & (y > 0)) | ((p == 1) & (y < 1))
    elif case.labels is not None:
        infinite = rows[np.arange(len(rows)), case.labels] == nothing
    elif case.masses is not None:
        infinite = np.any((rows == nothing) & (case.masses > 0), axis=1)
    else:
        return None
    if case.label_smoothing > 0 and not case.binary:
        return None  # masked-smoothing says it, with its own cause
    infinite &= ~np.all(rows == nothing, axis=1) if case.classes > 1 and not case.binary else True
    if not infinite.any():
        return None
    first = int(case.places[int(infinite.argmax())])
    return Evidence(
        level="error",
        text=(
            f"In {infinite.sum():,} of {len(rows):,} rows the target's probability is exactly 0; "
            "the "
            f"first is row {first}."
        ),
        numbers={"rows": int(infinite.sum()), "first_row": first},
        confidence="certain",
        why="-ln 0 is infinite",
        remedy="loss = binary_cross_entropy_with_logits(logits, target)"
        if case.binary
        else "loss = cross_entropy(logits, target)  # unmasked at the target",
        not_checked="whether the class was masked or the probability rounded to 0.",
    )


@rule("arrays")
def one_class(case: Arrays) -> Evidence | None:
    """A single logit a row goes into a softmax.

    Symptom: the loss is 0 from the first step to the last, and nothing is learned.

    Cause: softmax over one class is 1, whatever the logit. One output for two classes is made for a
    sigmoid.

    Cure: two outputs and cross_entropy, or one output and binary_cross_entropy_with_logits.

    Failing:
        >>> doctor.check(logits[:, :1], np.zeros(64, dtype=int)).rules
        ('one-class',)

    Mended:
        >>> yes = (target == 0).astype(float)
        >>> doctor.check(logits[:, 0], yes, loss="binary_cross_entropy_with_logits").rules
        ()
    """
    if case.binary or case.classes != 1 or case.scores.ndim < 2:
        return None
    return Evidence(
        level="error",
        text=(
            f"Scores of shape {case.scores.shape} have one class on axis {case.axis}: its "
            "probability is 1, its loss 0 and its gradient 0, for every row."
        ),
        numbers={"shape": list(case.scores.shape)},
        confidence="certain",
        why="exp(x) / exp(x) is 1",
        remedy="loss = binary_cross_entropy_with_logits(scores[:, 0], target.float())",
        not_checked="whether the classes are on another axis.",
    )


@rule("arrays")
def one_row(case: Arrays) -> Evidence | None:
    """N scores and N targets are read as one row of N classes.

    Symptom: the loss grows with the batch and doesn't fall; no error is raised.

    Cause: (N,) logits with (N,) float targets have the shapes of one sample and its class
    probabilities.

    Cure: for two classes binary_cross_entropy_with_logits; else keep the class axis: (N, C).

    Failing:
        >>> doctor.check(logits[:, 0], (target == 0).astype(float)).rules
        ('one-row',)

    Mended:
        >>> doctor.check(logits, target).rules
        ()
    """
    if case.binary or case.scores.ndim != 1 or case.kind != "masses" or case.masses is None:
        return None
    mass = float(case.masses.sum())
    if case.classes < 2 or (abs(mass - 1) <= case.tolerance and case.masses.min() >= 0):
        return None
    return Evidence(
        level="error",
        text=(
            f"Scores and target both have shape ({case.classes},): that is one row of "
            f"{case.classes} "
            f"classes. The target adds up to {mass:.4g}, where the probabilities of one row add "
            "up to 1."
        ),
        numbers={"classes": case.classes, "target_sum": mass},
        confidence="likely",
        why="labels of a batch have such sums, class probabilities don't",
        remedy="loss = binary_cross_entropy_with_logits(logits, target)",
        not_checked="whether a target of another mass is meant.",
    )


@rule("arrays")
def constant_scores(case: Arrays) -> Evidence | None:
    """Every row has the same scores.

    Symptom: the loss stays at the entropy of the class frequencies (ln C where they are equal).

    Cause: dead units before the last layer, inputs that are all the same or were scaled to nothing,
    or a last layer that starts at 0, which is fine for the first step.

    Cure: look at the inputs' scale and at the last hidden layer; start again with a lower rate.

    Failing:
        >>> doctor.check(np.tile(logits[0], (64, 1)), target).rules
        ('constant-scores',)

    Mended:
        >>> doctor.check(logits, target).rules
        ()
    """
    rows = case.rows
    if len(rows) < 4 or not np.all(np.isfinite(rows)) or case.scores.size < 4:
        return None
    if not np.all(rows == rows[0]):
        return None
    return Evidence(
        level="note",
        text=f"All {len(rows):,} rows are equal, to the last bit.",
        numbers={"rows": len(rows)},
        confidence="possible",
        why="before the first step a last layer of zeros does the same, and is fine",
        remedy="print(hidden.std(dim=0), inputs.std(dim=0))",
        not_checked="the inputs, and whether this is the first step.",
    )


@rule("arrays")
def worse_than_guessing(case: Arrays) -> Evidence | None:
    """The mean loss is far above that of a uniform guess.

    Symptom: at the start the loss is many times ln C and falls fast for a few steps.

    Cause: logits that are large before anything was learned: inputs in 0 to 255 instead of 0 to 1,
    a last layer with large weights; or labels that belong to other rows.

    Cure: scale the inputs; start the last layer small.

    Failing:
        >>> doctor.check(40 * logits, target).rules
        ('worse-than-guessing',)

    Mended:
        >>> doctor.check(logits / 10, target).rules
        ()
    """
    if case.loss != "cross_entropy" or case.labels is None or len(case.rows) < 16:
        return None
    if case.classes < 2 or case.look == "probabilities":
        return None
    guess = math.log(case.classes)
    mean = case.mean_loss(case.rows)
    if not mean > 10 * guess:
        return None
    spread = float(case.rows.std(axis=1).mean())
    return Evidence(
        level="note",
        text=(
            f"The mean loss is {mean:.4g}; guessing costs ln {case.classes} = {guess:.4g}. The "
            f"logits of a row are {spread:.3g} apart (one standard deviation)."
        ),
        numbers={"loss": mean, "guess": guess, "spread": spread},
        confidence="possible",
        why="a sure model on other data is as bad, and may be healthy otherwise",
        remedy="inputs = (inputs - inputs.mean()) / inputs.std()",
        not_checked="the inputs, and whether the rows and labels belong together.",
    )
