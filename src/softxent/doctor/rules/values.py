"""Rules on what no loss can learn from: NaN, one class, one row, equal or absurd scores."""

from __future__ import annotations

import math

import numpy as np

from softxent.doctor.cases import Arrays
from softxent.doctor.finding import Evidence
from softxent.doctor.registry import rule

__all__: list[str] = []


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
