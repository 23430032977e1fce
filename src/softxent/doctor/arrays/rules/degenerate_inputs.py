"""Rules on inputs that no loss can learn from: NaN, one class, one row, equal or extreme logits."""

from __future__ import annotations

import math

import numpy as np

from softxent.doctor.arrays.loss_arguments import LossArguments
from softxent.doctor.finding import Evidence
from softxent.doctor.registry import rule

__all__: list[str] = []


@rule("arrays", severity="error")
def not_finite(case: LossArguments) -> Evidence | None:
    """The scores contain NaN or +inf.

    Symptom: the loss is NaN, and after one step all weights are NaN too.

    Cause: an overflow (half precision ends at 65,504), a division by 0, a logarithm of 0, a step
    that was too large, or NaN in the data. A row whose classes are all masked (-inf) counts too.

    Fix: find the first layer whose output isn't finite, and check the inputs first.

    Source: https://github.com/huggingface/transformers/issues/12225

    Wrong:
        >>> logits[3, 7] = np.nan
        >>> doctor.check(logits, target).rules
        ('not-finite',)

    Fixed:
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
    first = int(case.row_numbers[int(broken.argmax())])
    return Evidence(
        text=(
            f"{broken.sum():,} of {len(rows):,} rows contain NaN or +inf, or only -inf; the first "
            f"is row {first}."
        ),
        numbers={"rows": int(broken.sum()), "first_row": first},
        confidence="certain",
        why="their loss is NaN",
        remedy="assert np.isfinite(inputs).all()  # then layer by layer",
        not_checked="which layer produced them.",
    )


@rule("arrays", severity="error")
def infinite_loss(case: LossArguments) -> Evidence | None:
    """A target has probability 0, so its loss is infinite.

    Symptom: the loss is inf; or it is capped (torch's BCELoss at 100) and its gradient is wrong.

    Cause: a target class that was masked with -inf, a probability that rounded to 0 before its
    logarithm was taken, or label smoothing over masked classes.

    Fix: mask only classes that can't be the target, and pass logits to the loss, not probabilities.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.BCELoss.html

    Wrong:
        >>> logits[:, 4] = -np.inf
        >>> doctor.check(logits, np.full(64, 4)).rules
        ('infinite-loss',)

    Fixed:
        >>> doctor.check(logits, np.full(64, 5)).rules
        ()
    """
    rows = case.rows
    if not rows.size or np.isnan(rows).any():
        return None
    nothing = 0.0 if case.loss in ("log_loss", "binary_cross_entropy") else -np.inf
    if case.binary:
        if case.loss != "binary_cross_entropy" or case.target_kind != "elementwise":
            return None
        assert case.target is not None
        y = case.target.reshape(-1)[case.row_numbers].astype(np.float64)
        p = rows[:, 0]
        infinite = ((p == 0) & (y > 0)) | ((p == 1) & (y < 1))
    elif case.labels is not None:
        infinite = rows[np.arange(len(rows)), case.labels] == nothing
    elif case.soft_target is not None:
        infinite = np.any((rows == nothing) & (case.soft_target > 0), axis=1)
    else:
        return None
    if case.label_smoothing > 0 and not case.binary:
        return None  # masked-smoothing reports it, with its own cause
    infinite &= ~np.all(rows == nothing, axis=1) if case.classes > 1 and not case.binary else True
    if not infinite.any():
        return None
    first = int(case.row_numbers[int(infinite.argmax())])
    return Evidence(
        text=(
            f"In {infinite.sum():,} of {len(rows):,} rows the probability of the target is exactly "
            f"0; the first is row {first}."
        ),
        numbers={"rows": int(infinite.sum()), "first_row": first},
        confidence="certain",
        why="-ln 0 is infinite",
        remedy="loss = binary_cross_entropy_with_logits(logits, target)"
        if case.binary
        else "loss = cross_entropy(logits, target)  # unmasked at the target",
        not_checked="whether the class was masked or the probability rounded to 0.",
    )


@rule("arrays", severity="error")
def one_class(case: LossArguments) -> Evidence | None:
    """One logit per row goes into a softmax.

    Symptom: the loss is 0 from the first step to the last, and nothing is learned.

    Cause: the softmax of one class is 1 for every logit. A single output for two classes is meant
    for a sigmoid.

    Fix: use two outputs and cross_entropy, or one output and binary_cross_entropy_with_logits.

    Source: https://github.com/pytorch/pytorch/issues/133833

    Wrong:
        >>> doctor.check(logits[:, :1], np.zeros(64, dtype=int)).rules
        ('one-class',)

    Fixed:
        >>> positive = (target == 0).astype(float)
        >>> doctor.check(logits[:, 0], positive, loss="binary_cross_entropy_with_logits").rules
        ()
    """
    if case.binary or case.classes != 1 or case.scores.ndim < 2:
        return None
    return Evidence(
        text=(
            f"Scores of shape {case.scores.shape} have one class on axis {case.axis}: its "
            "probability is 1, its loss 0 and its gradient 0 in every row."
        ),
        numbers={"shape": list(case.scores.shape)},
        confidence="certain",
        why="exp(x) / exp(x) is 1",
        remedy="loss = binary_cross_entropy_with_logits(logits[:, 0], target.float())",
        not_checked="whether the classes are on another axis.",
    )


@rule("arrays", severity="error")
def one_row(case: LossArguments) -> Evidence | None:
    """N logits and N targets are read as one row of N classes.

    Symptom: the loss grows with the batch size and doesn't fall; no error is raised.

    Cause: (N,) logits and (N,) floating-point targets have the shapes of one row and its class
    probabilities.

    Fix: for two classes use binary_cross_entropy_with_logits; otherwise keep the class axis.

    Source: https://github.com/pytorch/pytorch/issues/133833

    Wrong:
        >>> doctor.check(logits[:, 0], (target == 0).astype(float)).rules
        ('one-row',)

    Fixed:
        >>> doctor.check(logits, target).rules
        ()
    """
    if case.binary or case.scores.ndim != 1 or case.soft_target is None:
        return None
    total = float(case.soft_target.sum())
    if case.classes < 2 or (abs(total - 1) <= case.tolerance and case.soft_target.min() >= 0):
        return None
    return Evidence(
        text=(
            f"Scores and target both have shape ({case.classes},), which is one row of "
            f"{case.classes} classes. The target sums to {total:.4g}, but the class probabilities "
            "of one row sum to 1."
        ),
        numbers={"classes": case.classes, "target_sum": total},
        confidence="likely",
        why="the labels of a batch have such a sum, class probabilities don't",
        remedy="loss = binary_cross_entropy_with_logits(logits, target)",
        not_checked="whether a target with another sum is meant.",
    )


@rule("arrays", severity="note")
def constant_scores(case: LossArguments) -> Evidence | None:
    """Every row has the same scores.

    Symptom: the loss stays at the entropy of the class frequencies (ln C for balanced classes).

    Cause: dead units before the last layer, inputs that are all equal or were scaled to almost 0,
    or a last layer that is initialized to 0, which is fine in the first step.

    Fix: check the scale of the inputs and the last hidden layer, and lower the learning rate.

    Source: https://github.com/keras-team/keras/issues/6447

    Wrong:
        >>> doctor.check(np.tile(logits[0], (64, 1)), target).rules
        ('constant-scores',)

    Fixed:
        >>> doctor.check(logits, target).rules
        ()
    """
    rows = case.rows
    if len(rows) < 4 or not np.all(np.isfinite(rows)) or case.scores.size < 4:
        return None
    if not np.all(rows == rows[0]):
        return None
    return Evidence(
        text=f"All {len(rows):,} rows are bitwise equal.",
        numbers={"rows": len(rows)},
        confidence="possible",
        why="before the first step a last layer of zeros does the same, and is fine",
        remedy="print(hidden.std(dim=0), inputs.std(dim=0))",
        not_checked="the inputs, and whether this is the first step.",
    )


@rule("arrays", severity="note")
def worse_than_guessing(case: LossArguments) -> Evidence | None:
    """The mean loss is far above that of a uniform guess.

    Symptom: the initial loss is many times ln C and falls fast for a few steps.

    Cause: logits that are large before anything was learned, because the inputs range from 0 to 255
    instead of 0 to 1 or the last layer has large weights; or labels that belong to other rows.

    Fix: scale the inputs, and initialize the last layer with small weights.

    Source: https://karpathy.github.io/2019/04/25/recipe/

    Wrong:
        >>> doctor.check(40 * logits, target).rules
        ('worse-than-guessing',)

    Fixed:
        >>> doctor.check(logits / 10, target).rules
        ()
    """
    if case.loss != "cross_entropy" or case.labels is None or len(case.rows) < 16:
        return None
    if case.classes < 2 or case.row_kind == "probabilities":
        return None
    guess = math.log(case.classes)
    mean = case.mean_loss(case.rows)
    if not mean > 10 * guess:
        return None
    spread = float(case.rows.std(axis=1).mean())
    return Evidence(
        text=(
            f"The mean loss is {mean:.4g}; that of a uniform guess is ln {case.classes} = "
            f"{guess:.4g}. The logits of a row have a standard deviation of {spread:.3g}."
        ),
        numbers={"loss": mean, "guess": guess, "spread": spread},
        confidence="possible",
        why="a healthy model with confident predictions has such a loss on data of another kind",
        remedy="inputs = (inputs - inputs.mean()) / inputs.std()",
        not_checked="the inputs, and whether the rows and labels belong together.",
    )
