"""Rules on logits, probabilities or log-probabilities where the loss takes another kind."""

from __future__ import annotations

import math

import numpy as np

from softxent import ops
from softxent.doctor.arrays.loss_arguments import LossArguments
from softxent.doctor.finding import Evidence
from softxent.doctor.registry import rule

__all__: list[str] = []

_FLOAT32_LOWEST = -104.0  # the logarithm of the smallest float32: below, log(softmax) is -inf
_FLOAT64_LOWEST = -746.0
_CLAMPS = tuple(math.log(10.0**-k) for k in range(5, 17))  # log(p + 1e-8) and similar


@rule("arrays", severity="error")
def logits_as_probabilities(case: LossArguments) -> Evidence | None:
    """Logits go into a loss that takes probabilities.

    Symptom: no convergence, NaN, or a loss of clipped logarithms (Keras with from_logits=False).

    Cause: the model ends with a linear layer, and the loss assumes that softmax or sigmoid has been
    applied. The same holds for numbers that happen to lie in [0, 1] without summing to 1: a metric
    that guesses takes them for probabilities.

    Fix: set from_logits=True, or use the loss that takes logits, which is also more accurate.

    Source: https://github.com/keras-team/keras-hub/issues/1008

    Wrong:
        >>> doctor.check(logits, target, loss="log_loss").rules
        ('logits-as-probabilities',)

    Fixed:
        >>> doctor.check(logits, target, loss="cross_entropy").rules
        ()
    """
    if case.loss not in ("log_loss", "binary_cross_entropy") or not case.rows.size:
        return None
    if case.normalized_axis is not None or np.isnan(case.rows).any():
        return None
    low, high = float(case.rows.min()), float(case.rows.max())
    numbers = {"lowest": low, "highest": high}
    if case.binary:
        if low >= 0 and high <= 1:
            return None
        text = f"The numbers range from {low:.4g} to {high:.4g}; probabilities lie in [0, 1]."
        remedy = "loss = binary_cross_entropy_with_logits(logits, target)"
    else:
        if case.row_kind in ("probabilities", "log-probabilities"):
            return None
        sums = case.rows.sum(axis=1)
        numbers |= {"lowest_sum": float(sums.min()), "highest_sum": float(sums.max())}
        text = (
            f"The numbers range from {low:.4g} to {high:.4g} and the rows sum to between "
            f"{sums.min():.4g} and {sums.max():.4g}; probabilities lie in [0, 1] and sum to 1."
        )
        remedy = "loss = cross_entropy(logits, target)  # Keras: from_logits=True"
    return Evidence(
        text=text,
        numbers=numbers,
        confidence="certain",
        why="they can't be probabilities",
        remedy=remedy,
        not_checked="whether they are logits or something else.",
    )


@rule("arrays", severity="error")
def log_probabilities_as_probabilities(case: LossArguments) -> Evidence | None:
    """Log-probabilities go into a loss that takes probabilities and takes their logarithm again.

    Symptom: the loss is NaN from the first step.

    Cause: log_softmax at the end of the model, and a loss that takes the logarithm itself, such as
    log_loss, or skorch's NeuralNetClassifier with its default NLLLoss, which takes `log(p + eps)`.

    Fix: take one logarithm: nll_loss of log-probabilities, or cross_entropy of logits.

    Source: https://github.com/skorch-dev/skorch/issues/136

    Wrong:
        >>> doctor.check(softxent.log_softmax(logits), target, loss="log_loss").rules
        ('log-probabilities-as-probabilities',)

    Fixed:
        >>> doctor.check(softxent.log_softmax(logits), target, loss="nll_loss").rules
        ()
    """
    if case.loss not in ("log_loss", "binary_cross_entropy") or case.classes < 2:
        return None
    if case.binary or case.row_kind != "log-probabilities":
        return None
    return Evidence(
        text=(
            f"All {len(case.rows):,} rows are <= 0 (down to {case.rows.min():.4g}) and their "
            "exponentials sum to 1: they are log-probabilities, and the logarithm of a negative "
            "number is NaN."
        ),
        numbers={"rows": len(case.rows), "lowest": float(case.rows.min())},
        confidence="certain",
        why="the logsumexp of every row is 0",
        remedy="loss = nll_loss(log_probs, target)",
        not_checked="where the second logarithm is taken.",
    )


@rule("arrays", severity="error")
def probabilities_as_log_probabilities(case: LossArguments) -> Evidence | None:
    """Probabilities go into nll_loss, which takes log-probabilities.

    Symptom: a negative loss, between -1 and 0, that seems to improve.

    Cause: softmax instead of log_softmax. NLLLoss takes no logarithm: it averages -x[target].

    Fix: use log_softmax before nll_loss, or cross_entropy of logits.

    Source: https://github.com/yanx27/Pointnet_Pointnet2_pytorch/issues/30

    Wrong:
        >>> doctor.check(softxent.softmax(logits), target, loss="nll_loss").rules
        ('probabilities-as-log-probabilities',)

    Fixed:
        >>> doctor.check(softxent.log_softmax(logits), target, loss="nll_loss").rules
        ()
    """
    if case.loss != "nll_loss" or case.row_kind not in ("probabilities", "unit interval"):
        return None
    if case.classes < 2 or not np.any(case.rows > 0):
        return None
    low, high = float(case.rows.min()), float(case.rows.max())
    lie = f"All {len(case.rows):,} rows lie" if len(case.rows) > 1 else "The one row lies"
    text = f"{lie} in [{low:.3g}, {high:.3g}]; log-probabilities are <= 0."
    numbers = {"lowest": low, "highest": high}
    if case.labels is not None:
        value = float(-case.rows[np.arange(len(case.rows)), case.labels].mean())
        text += f" The loss is {value:.4f}; a cross-entropy is never below 0."
        numbers["loss"] = value
    return Evidence(
        text=text,
        numbers=numbers,
        confidence="certain",
        why="log-probabilities are never positive",
        remedy="loss = nll_loss(log_softmax(logits), target)",
        not_checked="how the probabilities were computed.",
    )


@rule("arrays", severity="error")
def logits_as_log_probabilities(case: LossArguments) -> Evidence | None:
    """Logits go into nll_loss, which takes log-probabilities.

    Symptom: the loss falls below 0 and keeps falling.

    Cause: log_softmax is missing. Without the normalization, raising every logit lowers the loss
    without limit.

    Fix: use cross_entropy of logits.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.NLLLoss.html

    Wrong:
        >>> doctor.check(logits, target, loss="nll_loss").rules
        ('logits-as-log-probabilities',)

    Fixed:
        >>> doctor.check(logits, target, loss="cross_entropy").rules
        ()
    """
    if case.loss != "nll_loss" or case.row_kind != "other" or case.classes < 2:
        return None
    if not case.rows.size or np.isnan(case.rows).any() or case.normalized_axis is not None:
        return None
    lse = np.asarray(ops.logsumexp(case.rows))
    worst = float(lse[np.abs(lse).argmax()])
    # The logsumexp of log(p + eps) is about C eps: that is the mistake of log-of-softmax.
    if case.rows.max() <= 1e-3 and abs(worst) < 0.01:
        return None
    return Evidence(
        text=f"The logsumexp of a row is {worst:.4g}; that of log-probabilities is 0.",
        numbers={"worst_logsumexp": worst},
        confidence="certain",
        why="they are not normalized",
        remedy="loss = cross_entropy(logits, target)",
        not_checked="whether they are logits or something else.",
    )


@rule("arrays", severity="error")
def log_of_softmax(case: LossArguments) -> Evidence | None:
    """The logarithm was taken of a softmax that had already rounded to 0.

    Symptom: the loss is inf and its gradient NaN as soon as predictions become confident; or, with
    `log(p + eps)`, the loss of a very wrong prediction never exceeds -ln(eps).

    Cause: in float32 a probability below 1.4e-45 is 0, which is the probability of a class whose
    logit is 104 below the largest one. The logarithm can't recover it.

    Fix: use log_softmax, or cross_entropy of logits, which need no such logarithm.

    Source: https://github.com/skorch-dev/skorch/issues/481

    Wrong:
        >>> confident = (40 * logits).astype(np.float32)
        >>> with np.errstate(divide="ignore"):
        ...     naive = np.log(softxent.softmax(confident) + np.float32(1e-8))
        >>> doctor.check(naive, target, loss="nll_loss").rules
        ('log-of-softmax',)

    Fixed:
        >>> doctor.check(softxent.log_softmax(confident), target, loss="nll_loss").rules
        ()
    """
    if case.loss not in ("nll_loss", "cross_entropy") or case.classes < 2 or not case.rows.size:
        return None
    rows = case.rows
    if np.isnan(rows).any() or rows.max() > 1e-3 or np.any(np.abs(ops.logsumexp(rows)) > 0.01):
        return None
    infinite = np.isneginf(rows)
    lowest = float(rows[~infinite].min()) if not infinite.all() else 0.0
    if infinite.any():
        # A mask removes the same classes from many rows. What rounds to 0 differs from row to row,
        # and the smallest of the others are just above the smallest number of the dtype.
        limit = _FLOAT32_LOWEST if case.epsilon > 1e-8 else _FLOAT64_LOWEST
        if not (0.6 * limit > lowest >= limit) or np.all(infinite == infinite[0]):
            return None
        return Evidence(
            text=(
                f"{infinite.sum():,} of {rows.size:,} log-probabilities are -inf, and none of the "
                f"others is below {lowest:.1f}: further down the probability had rounded to 0."
            ),
            numbers={"infinite": int(infinite.sum()), "lowest": lowest},
            confidence="likely",
            why="log_softmax is finite wherever the logit is finite",
            remedy="log_probs = log_softmax(logits)",
            not_checked="whether these classes were masked on purpose.",
        )
    at_floor = np.isclose(rows, lowest, rtol=0, atol=1e-4)
    clamp = min(_CLAMPS, key=lambda value: abs(value - lowest))
    if at_floor.sum() < 3 or abs(clamp - lowest) > 1e-3:
        return None
    return Evidence(
        severity="warning",
        text=(
            f"{at_floor.sum():,} of {rows.size:,} log-probabilities are {lowest:.4f} = "
            f"ln({math.exp(clamp):.0e}), and none is lower: an epsilon was added inside the "
            "logarithm."
        ),
        numbers={"clamped": int(at_floor.sum()), "lowest": lowest, "epsilon": math.exp(clamp)},
        confidence="certain",
        why="so many log-probabilities aren't equal by chance",
        remedy="log_probs = log_softmax(logits)",
        not_checked="how the epsilon was added.",
    )
