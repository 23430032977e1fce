"""Rules on class weights: what they do to a mean, to one-hot rows and to label smoothing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from softxent.doctor.cases import Arrays
from softxent.doctor.finding import Evidence
from softxent.doctor.registry import rule

__all__: list[str] = []

Values = npt.NDArray[np.float64]


def _class_weights(case: Arrays) -> Values | None:
    """The weights where they are usable and differ."""
    weight = case.weight
    if weight is None or case.binary or weight.shape != (case.classes,):
        return None
    if not np.all(np.isfinite(weight) & (weight >= 0)) or np.all(weight == weight[:1]):
        return None
    return weight


@rule("arrays")
def weighted_mean(case: Arrays) -> Evidence | None:
    """With class weights the mean is divided by the summed weight, not by the number of rows.

    Symptom: the mean isn't the mean of `reduction="none"`; batch means can't be averaged by rows;
    the average over an epoch changes with the batch size.

    Cause: torch and softxent divide by the sum of the targets' weights. It is their definition, and
    every sum over batches has to use the same denominator.

    Cure: add up sums and summed weights (`softxent.Mean`), or divide the sum by the rows yourself.

    Failing:
        >>> doctor.check(logits, target, weight=np.arange(1, 11)).rules
        ('weighted-mean',)

    Mended:
        >>> doctor.check(logits, target, weight=np.arange(1, 11), reduction="sum").rules
        ()
    """
    weight = _class_weights(case)
    if weight is None or case.labels is None or case.reduction != "mean":
        return None
    total, rows = float(weight[case.labels].sum()), len(case.labels)
    if total == rows or np.all(weight[case.labels] == weight[case.labels[0]]):
        return None
    return Evidence(
        level="note",
        text=f"The mean divides by the summed weight {total:.6g}, not by the {rows:,} rows.",
        numbers={"summed_weight": total, "rows": rows},
        confidence="certain",
        why="that is how the mean is defined; only averaging such means by rows would be wrong",
        remedy="epoch = epoch + Mean(loss_sum, weight[target].sum())",
        not_checked="what is done with the batch's mean.",
    )


@rule("arrays")
def weight_without_effect(case: Arrays) -> Evidence | None:
    """Class weights cancel out of the mean.

    Symptom: class weights change nothing, with a batch size of 1 above all.

    Cause: the mean divides by the summed weight. Where all rows of a batch have the same weight, it
    is in the numerator and in the denominator.

    Cure: sum the losses and divide by the number of rows, or of accumulated rows.

    Failing:
        >>> doctor.check(logits[:1], target[:1], weight=np.arange(1, 11)).rules
        ('weight-without-effect',)

    Mended:
        >>> doctor.check(logits[:1], target[:1], weight=np.arange(1, 11), reduction="sum").rules
        ()
    """
    weight = _class_weights(case)
    if weight is None or case.labels is None or case.reduction != "mean":
        return None
    at_target = weight[case.labels]
    if at_target[0] == 0 or not np.all(at_target == at_target[0]):
        return None
    one = len(at_target) == 1
    return Evidence(
        level="warning" if one else "note",
        text=(
            f"{'The one row has' if one else f'All {len(at_target):,} rows have'} weight "
            f"{at_target[0]:.4g}: multiplied by it and divided by it, the mean is unweighted."
        ),
        numbers={"rows": len(at_target), "weight": float(at_target[0])},
        confidence="certain",
        why="w x / w is x",
        remedy="loss = cross_entropy(..., weight=w, reduction='sum') / len(target)",
        not_checked="whether other batches mix classes.",
    )


@rule("arrays")
def weights_against_one_hot(case: Arrays) -> Evidence | None:
    """The same labels give another weighted mean as one-hot rows than as indices.

    Symptom: the loss jumps (0.994 against 12.67) when labels become one-hot rows, for mixup or
    smoothing; the learning rate suddenly doesn't fit.

    Cause: with class indices the mean divides by the summed weight, with class probabilities by the
    number of rows.

    Cure: scale the weights so that their mean over the targets is 1, or divide the sum yourself.

    Failing:
        >>> rows, weight = np.eye(10)[target], np.arange(1, 11)
        >>> doctor.check(logits, rows, weight=weight).rules
        ('weights-against-one-hot',)

    Mended:
        >>> doctor.check(logits, rows, weight=weight / weight[target].mean()).rules
        ()
    """
    weight = _class_weights(case)
    if weight is None or case.masses is None or case.reduction != "mean" or not len(case.masses):
        return None
    if not np.all(np.abs(case.masses.sum(axis=1) - 1) <= case.tolerance):
        return None
    total, rows = float((case.masses * weight).sum()), len(case.masses)
    ratio = total / rows
    if 1 / 1.2 <= ratio <= 1.2:
        return None
    return Evidence(
        level="warning" if not 1 / 2 <= ratio <= 2 else "note",
        text=(
            f"The mean divides by {rows:,} rows, and their summed weight is {total:.6g}: the loss "
            f"and its gradient are {ratio:.4g} times those of the same labels as class indices."
        ),
        numbers={"rows": rows, "summed_weight": total, "ratio": ratio},
        confidence="likely",
        why="the factor is certain; that it isn't meant is likely",
        remedy="weight = weight / (target @ weight).mean()",
        not_checked="whether the learning rate was chosen for it.",
    )


@rule("arrays")
def weights_bend_smoothing(case: Arrays) -> Evidence | None:
    """Class weights bend label smoothing towards the heavy classes.

    Symptom: rare classes are predicted far too often; a heavily weighted class wins rows that are
    labelled otherwise.

    Cause: the smoothed mass of each class is multiplied by that class's weight, not by the label's:
    t = (1 - e) w_y onehot(y) + (e / C) w. Divided by its sum this is what the model learns.

    Cure: smooth the target yourself and weight the row: loss_i = w_y * cross_entropy(z_i,
    smoothed).

    Failing:
        >>> heavy = np.ones(10)
        >>> heavy[3] = 100
        >>> doctor.check(logits, target, weight=heavy, label_smoothing=0.1).above_notes()[0].rule
        'weights-bend-smoothing'

    Mended:
        >>> smooth = 0.9 * np.eye(10)[target] + 0.1 / 10
        >>> doctor.check(logits, smooth).rules
        ()
    """
    weight = _class_weights(case)
    e = case.label_smoothing
    if weight is None or not 0 < e < 1 or case.target is None:
        return None
    classes = case.classes
    mass = np.full((classes, classes), e / classes) * weight
    mass[np.diag_indices(classes)] += (1 - e) * weight
    positive = weight > 0
    learned = mass[positive] / mass[positive].sum(axis=1, keepdims=True)
    own = learned[np.arange(len(learned)), np.flatnonzero(positive)]
    meant = 1 - e + e / classes
    worst = int(own.argmin())
    label = int(np.flatnonzero(positive)[worst])
    winner = int(learned[worst].argmax())
    lost = winner != label
    return Evidence(
        level="error" if lost else "warning" if own[worst] < 0.5 + meant / 4 else "note",
        text=(
            f"A row of class {label} teaches p = {own[worst]:.3g} for its own class where "
            "smoothing "
            f"{e:g} means {meant:.3g}; class {int(np.delete(learned[worst], label).argmax())}"
            f" and the other heavy ones take the rest."
            if not lost
            else f"A row of class {label} teaches class {winner}: p = {learned[worst, winner]:.3g} "
            f"for class {winner}, {own[worst]:.3g} for its own."
        ),
        numbers={"label": label, "taught": float(own[worst]), "meant": meant, "winner": winner},
        confidence="certain",
        why="it follows from the weights and the smoothing alone",
        remedy="loss = (w[y] * cross_entropy(z, smooth(y), reduction='none')).mean()",
        not_checked="how many rows have that class.",
    )


@rule("arrays")
def masked_smoothing(case: Arrays) -> Evidence | None:
    """Label smoothing gives mass to classes that are masked with -inf.

    Symptom: the loss is inf from the first step, or NaN.

    Cause: smoothing asks for probability e / C of every class; a masked class has none to give.

    Cure: smooth over the allowed classes only, or mask with a large finite number.

    Failing:
        >>> logits[:, 4] = -np.inf
        >>> doctor.check(logits, np.full(64, 5), label_smoothing=0.1).rules
        ('masked-smoothing',)

    Mended:
        >>> doctor.check(logits, np.full(64, 5)).rules
        ()
    """
    if case.label_smoothing <= 0 or case.loss != "cross_entropy" or not case.rows.size:
        return None
    masked = np.isneginf(case.rows)
    if case.weight is not None and case.weight.shape == (case.classes,):
        masked &= case.weight > 0
    hit = masked.any(axis=1)
    if not hit.any():
        return None
    return Evidence(
        level="error",
        text=(
            f"{hit.sum():,} of {len(case.rows):,} rows have masked classes (-inf); smoothing "
            f"{case.label_smoothing:g} gives each of them mass "
            f"{case.label_smoothing / case.classes:.3g}, which costs infinitely much."
        ),
        numbers={"rows": int(hit.sum()), "smoothing": case.label_smoothing},
        confidence="certain",
        why="-ln 0 is infinite",
        remedy="target = (1 - e) * onehot + e * allowed / allowed.sum(-1, keepdims=True)",
        not_checked="why the classes are masked.",
    )
