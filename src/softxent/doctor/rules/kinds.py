"""Rules on scores of the wrong kind: logits, probabilities or log-probabilities."""

from __future__ import annotations

import math

import numpy as np

from softxent import ops
from softxent.doctor.cases import Arrays
from softxent.doctor.finding import Evidence
from softxent.doctor.registry import rule
from softxent.doctor.rules.activations import some_rows

__all__: list[str] = []

_FLOAT32_LOWEST = -104.0  # log of the smallest float32: what log(softmax) can still show
_CLAMPS = tuple(math.log(10.0**-k) for k in range(5, 17))  # log(p + 1e-8) and its relatives


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
        f"{some_rows(case)} in [{case.rows.min():.3g}, {case.rows.max():.3g}]; "
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
