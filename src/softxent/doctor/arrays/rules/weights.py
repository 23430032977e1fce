"""Rules on class weights and label smoothing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from softxent.doctor.arrays.loss_arguments import LossArguments
from softxent.doctor.finding import Evidence
from softxent.doctor.registry import rule

__all__: list[str] = []

Values = npt.NDArray[np.float64]


def _class_weights(case: LossArguments) -> Values | None:
    """The class weights, if they are valid and differ."""
    weight = case.weight
    if weight is None or case.binary or weight.shape != (case.classes,):
        return None
    if not np.all(np.isfinite(weight) & (weight >= 0)) or np.all(weight == weight[:1]):
        return None
    return weight


@rule("arrays", severity="note")
def weighted_mean(case: LossArguments) -> Evidence | None:
    """With class weights the mean is divided by the sum of the weights, not by the number of rows.

    Symptom: the mean isn't the mean of `reduction="none"`; batch means can't be averaged by rows;
    the average over an epoch changes with the batch size.

    Cause: torch and softxent divide by the sum of the targets' weights. That is how they define the
    mean, and a mean over batches has to use the same denominator.

    Fix: add up sums and weights (`softxent.Mean`), or divide the sum by the rows yourself.

    Source: https://github.com/pytorch/pytorch/issues/65329

    Wrong:
        >>> doctor.check(logits, target, weight=np.arange(1, 11)).rules
        ('weighted-mean',)

    Fixed:
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
        text=f"The mean is divided by the sum of weights, {total:.6g}, not by the {rows:,} rows.",
        numbers={"summed_weight": total, "rows": rows},
        confidence="certain",
        why="that is how the mean is defined; only averaging such means by rows would be wrong",
        remedy="epoch = epoch + Mean(loss_sum, weight[target].sum())",
        not_checked="what is done with the mean of the batch.",
    )


@rule("arrays", severity="warning")
def weight_without_effect(case: LossArguments) -> Evidence | None:
    """Class weights cancel out of the mean.

    Symptom: class weights change nothing, above all with a batch size of 1.

    Cause: the mean is divided by the sum of the weights. If all rows of a batch have the same
    weight, it is in the numerator and in the denominator.

    Fix: sum the losses and divide by the number of rows, or of accumulated rows.

    Source: https://github.com/pytorch/pytorch/issues/50528

    Wrong:
        >>> doctor.check(logits[:1], target[:1], weight=np.arange(1, 11)).rules
        ('weight-without-effect',)

    Fixed:
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
        severity="warning" if one else "note",
        text=(
            f"{'The one row has' if one else f'All {len(at_target):,} rows have'} weight "
            f"{at_target[0]:.4g}: multiplied by it and divided by it, the mean is unweighted."
        ),
        numbers={"rows": len(at_target), "weight": float(at_target[0])},
        confidence="certain",
        why="w x / w is x",
        remedy="loss = cross_entropy(..., weight=w, reduction='sum') / len(target)",
        not_checked="whether other batches contain several classes.",
    )


@rule("arrays", severity="warning")
def weights_against_one_hot(case: LossArguments) -> Evidence | None:
    """The same labels have another weighted mean as one-hot rows than as class indices.

    Symptom: the loss jumps (from 0.994 to 12.67) when labels become one-hot rows, for mixup or
    smoothing; the learning rate is suddenly wrong.

    Cause: with class indices the mean is divided by the sum of the weights, with class
    probabilities by the number of rows.

    Fix: scale the weights so that their mean over the targets is 1, or divide the sum yourself.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html

    Wrong:
        >>> rows, weight = np.eye(10)[target], np.arange(1, 11)
        >>> doctor.check(logits, rows, weight=weight).rules
        ('weights-against-one-hot',)

    Fixed:
        >>> doctor.check(logits, rows, weight=weight / weight[target].mean()).rules
        ()
    """
    weight, soft = _class_weights(case), case.soft_target
    if weight is None or soft is None or case.reduction != "mean" or not len(soft):
        return None
    if not np.all(np.abs(soft.sum(axis=1) - 1) <= case.tolerance):
        return None
    total, rows = float((soft * weight).sum()), len(soft)
    ratio = total / rows
    if 1 / 1.2 <= ratio <= 1.2:
        return None
    return Evidence(
        severity="warning" if not 1 / 2 <= ratio <= 2 else "note",
        text=(
            f"The mean is divided by {rows:,} rows, whose weights sum to {total:.6g}: the loss and "
            f"its gradient are {ratio:.4g} times those of the same labels as class indices."
        ),
        numbers={"rows": rows, "summed_weight": total, "ratio": ratio},
        confidence="likely",
        why="the factor is certain; that it isn't intended is likely",
        remedy="weight = weight / (target @ weight).mean()",
        not_checked="whether the learning rate was chosen for it.",
    )


@rule("arrays", severity="error")
def weights_bend_smoothing(case: LossArguments) -> Evidence | None:
    """Class weights distort label smoothing in favour of the classes with large weights.

    Symptom: rare classes are predicted far too often; a class with a large weight is predicted for
    rows of other classes.

    Cause: the smoothed probability of each class is multiplied by the weight of that class, not by
    the weight of the label: t = (1 - e) w_y onehot(y) + (e / C) w. The model learns t divided by
    its sum.

    Fix: smooth the target yourself and weight the row: loss_i = w_y * cross_entropy(z_i,
    smoothed).

    Source: https://github.com/pytorch/pytorch/issues/104776

    Wrong:
        >>> heavy = np.ones(10)
        >>> heavy[3] = 100
        >>> doctor.check(logits, target, weight=heavy, label_smoothing=0.1).above_notes()[0].rule
        'weights-bend-smoothing'

    Fixed:
        >>> smooth = 0.9 * np.eye(10)[target] + 0.1 / 10
        >>> doctor.check(logits, smooth).rules
        ()
    """
    weight = _class_weights(case)
    e = case.label_smoothing
    if weight is None or not 0 < e < 1 or case.target is None:
        return None
    classes = case.classes
    smoothed = np.full((classes, classes), e / classes) * weight  # one row per label
    smoothed[np.diag_indices(classes)] += (1 - e) * weight
    positive = weight > 0
    learned = smoothed[positive] / smoothed[positive].sum(axis=1, keepdims=True)
    own = learned[np.arange(len(learned)), np.flatnonzero(positive)]
    meant = 1 - e + e / classes
    worst = int(own.argmin())
    label = int(np.flatnonzero(positive)[worst])
    winner = int(learned[worst].argmax())
    lost = winner != label
    return Evidence(
        severity="error" if lost else "warning" if own[worst] < 0.5 + meant / 4 else "note",
        text=(
            f"A row of class {label} teaches p = {own[worst]:.3g} for its own class, where "
            f"smoothing {e:g} means {meant:.3g}; the remainder goes to class "
            f"{int(np.delete(learned[worst], label).argmax())} and the other classes with large "
            "weights."
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


@rule("arrays", severity="error")
def masked_smoothing(case: LossArguments) -> Evidence | None:
    """Label smoothing gives a probability to classes that are masked with -inf.

    Symptom: the loss is inf from the first step, or NaN.

    Cause: smoothing asks for probability e / C of every class, and that of a masked class is 0.

    Fix: smooth over the allowed classes only, or mask with a large finite number.

    Source: https://github.com/facebookresearch/pytext/pull/1698

    Wrong:
        >>> logits[:, 4] = -np.inf
        >>> doctor.check(logits, np.full(64, 5), label_smoothing=0.1).rules
        ('masked-smoothing',)

    Fixed:
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
        text=(
            f"{hit.sum():,} of {len(case.rows):,} rows have masked classes (-inf); smoothing "
            f"{case.label_smoothing:g} gives each of these classes the target probability "
            f"{case.label_smoothing / case.classes:.3g}, whose loss is infinite."
        ),
        numbers={"rows": int(hit.sum()), "smoothing": case.label_smoothing},
        confidence="certain",
        why="-ln 0 is infinite",
        remedy="target = (1 - e) * onehot + e * allowed / allowed.sum(-1, keepdims=True)",
        not_checked="why the classes are masked.",
    )
