"""Rules on what a loss is divided by: class weights, label smoothing, batches, comparisons."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from softxent import ops
from softxent.doctor.cases import Arrays, Batches, Predictions
from softxent.doctor.finding import Evidence
from softxent.doctor.registry import rule
from softxent.errors import SoftxentError

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
    """Batches of different sizes were averaged as if they were equal.

    Symptom: the epoch's loss depends on the batch size; accumulating gradients isn't the same as
    one big batch; ranks with unequal shares disagree with a single process.

    Cause: the mean of means counts a short last batch, or a micro-batch of few tokens, like a full
    one.

    Cure: add up sums and counts, and divide once.

    Failing:
        >>> doctor.check_mean(3.0, means=[2.0, 4.0], counts=[64, 16]).rules
        ('mean-of-means',)

    Mended:
        >>> doctor.check_mean(2.4, means=[2.0, 4.0], counts=[64, 16]).rules
        ()
    """
    plain = float(case.means.mean())
    right = float(case.means @ case.counts / case.counts.sum())
    if abs(case.reported - right) <= case.half or abs(case.reported - plain) > case.half:
        return None
    return Evidence(
        level="warning",
        text=(
            f"{case.reported:.6g} is the mean of {len(case.means):,} means; weighted by their "
            "counts "
            f"({case.counts.min():g} to {case.counts.max():g}) it is {right:.6g}."
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


@rule("predictions")
def broadcast_comparison(case: Predictions) -> Evidence | None:
    """Predictions and labels of different shapes are compared, all with all.

    Symptom: "6 of 4 correct"; an accuracy above 1, or one that hovers around chance.

    Cause: (N, 1) == (N,) broadcasts to (N, N): N * N comparisons.

    Cure: give both the same shape before comparing.

    Failing:
        >>> doctor.check_predictions(target[:, None], target).rules
        ('broadcast-comparison',)

    Mended:
        >>> doctor.check_predictions(target[:, None].squeeze(1), target).rules
        ()
    """
    a, b = case.predicted, case.target
    if a.shape == b.shape:
        return None
    try:
        wide = np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        return None
    made, rows = math.prod(wide), max(b.size, 1)
    text = f"Shapes {a.shape} and {b.shape} compare as {wide}: {made:,} comparisons"
    numbers = {"predicted": list(a.shape), "target": list(b.shape), "comparisons": made}
    if made <= 1 << 24:
        counted = int(np.sum(a == b))
        text += f", of which {counted:,} are equal, for {rows:,} labels."
        numbers["equal"] = counted
    else:
        text += f" for {rows:,} labels."
    return Evidence(
        level="error" if made > rows else "warning",
        text=text,
        numbers=numbers,
        confidence="certain",
        why="it follows from the shapes",
        remedy="correct = (predicted.reshape(target.shape) == target).sum()",
        not_checked="the values of the predictions.",
    )


@rule("predictions")
def more_correct_than_rows(case: Predictions) -> Evidence | None:
    """More rows were counted as correct than there are.

    Symptom: an accuracy above 100%.

    Cause: a comparison that broadcasts, or a count that isn't reset between epochs.

    Cure: compare equal shapes; start each epoch's count at 0.

    Failing:
        >>> doctor.check_predictions([0, 1, 1, 1], [0, 1, 1, 1], correct=6).rules
        ('more-correct-than-rows',)

    Mended:
        >>> doctor.check_predictions([0, 1, 1, 1], [0, 1, 1, 1], correct=4).rules
        ()
    """
    rows = case.target.size
    if case.correct is None or case.correct <= rows:
        return None
    return Evidence(
        level="error",
        text=f"{case.correct:g} correct of {rows:,} rows.",
        numbers={"correct": case.correct, "rows": rows},
        confidence="certain",
        why="no more rows can be right than there are",
        remedy="correct = (predicted.reshape(target.shape) == target).sum()",
        not_checked="how they were counted.",
    )
