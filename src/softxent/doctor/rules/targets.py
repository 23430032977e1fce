"""Rules on the target: labels, class probabilities, their shapes, and the order of the classes."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from softxent import ops
from softxent.doctor.cases import Arrays
from softxent.doctor.finding import Evidence, Level
from softxent.doctor.registry import rule

__all__: list[str] = []

Values = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


@rule("arrays")
def labels_from_one(case: Arrays) -> Evidence | None:
    """Labels count from 1, classes from 0.

    Symptom: an IndexError; on a GPU "device-side assert triggered", after which the process is of
    no use. With one output too many: nothing, but class 0 is never right.

    Cause: files and people count from 1.

    Cure: subtract 1, or map the sorted labels to 0 .. C - 1.

    Failing:
        >>> doctor.check(logits, target + 1).rules
        ('labels-from-one',)

    Mended:
        >>> doctor.check(logits, target).rules
        ()
    """
    if case.index is None or case.kept is None or not case.kept.any():
        return None
    values = case.index[case.kept]
    low, high = int(values.min()), int(values.max())
    if low != 1 or case.classes < 2 or high not in (case.classes, case.classes - 1):
        return None
    numbers = {"lowest": low, "highest": high, "classes": case.classes, "labels": len(values)}
    if high == case.classes:
        return Evidence(
            level="error",
            text=(
                f"{len(values):,} labels are 1 to {high}; {case.classes} classes are 0 to "
                f"{high - 1}."
            ),
            numbers=numbers,
            confidence="certain",
            why="no label is 0 and the highest is one too high",
            remedy="target = target - 1",
            not_checked="whether every class has the number that you think.",
        )
    if len(values) < 10 * case.classes:
        return None
    return Evidence(
        level="note",
        text=(
            f"{len(values):,} labels are 1 to {high} and none is 0, of {case.classes} classes: one "
            "output too many?"
        ),
        numbers=numbers,
        confidence="possible",
        why="class 0 may be kept free on purpose, for a background or a blank",
        remedy="target = target - 1  # and one output less",
        not_checked="what class 0 stands for.",
    )


@rule("arrays")
def labels_out_of_range(case: Arrays) -> Evidence | None:
    """A label names no class.

    Symptom: an IndexError; on a GPU "device-side assert triggered", a few steps later and somewhere
    else.

    Cause: -1 or 255 for "no label", classes that the training set didn't have, too few outputs.

    Cure: pass that value as ignore_index, or map the labels; run one batch on the CPU to see it.

    Failing:
        >>> target[5] = -1
        >>> doctor.check(logits, target).rules
        ('labels-out-of-range',)

    Mended:
        >>> doctor.check(logits, target, ignore_index=-1).rules
        ()
    """
    if case.index is None or case.kept is None:
        return None
    bad = case.kept & ((case.index < 0) | (case.index >= case.classes))
    if not bad.any():
        return None
    values, counts = np.unique(case.index[bad], return_counts=True)
    kept = case.index[case.kept]
    if kept.min() == 1 and kept.max() == case.classes:
        return None  # labels-from-one says it, with the cause
    first = int(bad.argmax())
    shown = ", ".join(f"{v} ({n:,} times)" for v, n in zip(values[:4], counts[:4], strict=True))
    one = len(values) == 1
    return Evidence(
        level="error",
        text=(
            f"{bad.sum():,} of {len(case.index):,} labels are outside 0 to {case.classes - 1}: "
            f"{shown}; the first at place {first}."
        ),
        numbers={
            "labels": int(bad.sum()),
            "first": first,
            "values": values[:16].tolist(),
            "classes": case.classes,
        },
        confidence="certain",
        why="there is no such class",
        remedy=f"loss = cross_entropy(logits, target, ignore_index={values[0]})"
        if one and (values[0] < 0 or values[0] == 255)
        else "classes, target = np.unique(labels, return_inverse=True)",
        not_checked="whether the labels inside the range are the right ones.",
    )


@rule("arrays")
def one_hot_integers(case: Arrays) -> Evidence | None:
    """One-hot rows of integers, where torch wants class indices, or probabilities as floats.

    Symptom: "multi-target not supported", or "Expected floating point type for target with class
    probabilities, got Long".

    Cause: one_hot gives integers. softxent takes them as class probabilities; torch refuses.

    Cure: class indices: smaller and faster. Or `.float()`.

    Failing:
        >>> doctor.check(logits, softxent.one_hot(target, 10)).rules
        ('one-hot-integers',)

    Mended:
        >>> doctor.check(logits, softxent.one_hot(target, 10).argmax(axis=-1)).rules
        ()
    """
    if case.kind != "masses" or case.target is None or case.target.dtype.kind not in "iub":
        return None
    if case.scores.ndim < 2:
        return None
    return Evidence(
        level="error" if case.tensor else "note",
        text=(
            f"The target has shape {case.target.shape}, that of the scores, and dtype "
            f"{case.target.dtype}."
        ),
        numbers={"shape": list(case.target.shape), "dtype": str(case.target.dtype)},
        confidence="certain",
        why="torch takes class indices of a smaller shape, or floats of this one"
        if case.tensor
        else "softxent takes it; torch would not",
        remedy=f"target = target.argmax({case.axis})",
        not_checked="whether every row has exactly one 1.",
    )


@rule("arrays")
def column_target(case: Arrays) -> Evidence | None:
    """Class indices come as a column, (N, 1) instead of (N,).

    Symptom: "multi-target not supported" or "0D or 1D target tensor expected".

    Cause: labels read as a table's column keep their second axis.

    Cure: drop it.

    Failing:
        >>> doctor.check(logits, target[:, None]).rules
        ('column-target',)

    Mended:
        >>> doctor.check(logits, target[:, None].squeeze(1)).rules
        ()
    """
    if case.kind != "column" or case.target is None:
        return None
    return Evidence(
        level="error",
        text=(
            f"The target has shape {case.target.shape}; class indices for scores of shape "
            f"{case.scores.shape} have shape {case.row_shape}."
        ),
        numbers={"shape": list(case.target.shape), "wanted": list(case.row_shape)},
        confidence="certain",
        why="the axis of length 1 is one too many",
        remedy="target = target.squeeze()",
        not_checked="where else the column is compared with (N,) predictions: it broadcasts.",
    )


@rule("arrays")
def unfitting_shapes(case: Arrays) -> Evidence | None:
    """The shapes of the scores and of the target don't fit.

    Symptom: "expected input batch_size to match target batch_size", or a broadcast loss.

    Cause: another number of classes or rows, or a target that was reshaped.

    Cure: one class index a row, or one probability for each score.

    Failing:
        >>> doctor.check(np.zeros((2, 3)), np.zeros((2, 4))).rules
        ('unfitting-shapes',)

    Mended:
        >>> doctor.check(logits, target).rules
        ()
    """
    if case.kind != "unknown" or case.target is None:
        return None
    shape = case.scores.shape
    wanted = f"{shape}" if case.binary else f"{case.row_shape} or {shape}"
    return Evidence(
        level="error",
        text=f"The target has shape {case.target.shape}; for scores of shape {shape} it has "
        f"shape {wanted}.",
        numbers={"shape": list(case.target.shape), "scores": list(shape)},
        confidence="certain",
        why="the loss refuses them, or broadcasts one against the other",
        remedy="print(logits.shape, target.shape)",
        not_checked="the values of the target.",
    )


@rule("arrays")
def float_indices(case: Arrays) -> Evidence | None:
    """Class indices are floating-point numbers.

    Symptom: "expected scalar type Long but found Float", or the reverse, depending on the version.

    Cause: labels from a CSV or through `torch.Tensor(...)` are floats.

    Cure: convert them to int64.

    Failing:
        >>> doctor.check(logits, target.astype(np.float32)).rules
        ('float-indices',)

    Mended:
        >>> doctor.check(logits, target.astype(np.int64)).rules
        ()
    """
    if case.kind not in ("index", "column") or case.target is None:
        return None
    if case.target.dtype.kind != "f":
        return None
    whole = case.index is not None
    return Evidence(
        level="error",
        text=(
            f"The target has the shape of class indices, {case.target.shape}, and dtype "
            f"{case.target.dtype}; "
            + ("its numbers are whole." if whole else "not all of its numbers are whole.")
        ),
        numbers={"dtype": str(case.target.dtype), "whole": whole},
        confidence="certain",
        why="class indices are integers",
        remedy="target = target.long()  # NumPy: target.astype(np.int64)",
        not_checked="nothing else."
        if whole
        else "what the numbers are: probabilities of one class? A regression's target?",
    )


@rule("arrays")
def narrow_indices(case: Arrays) -> Evidence | None:
    """Class indices are a tensor of int32, int16 or int8, which torch's own losses refuse.

    Symptom: "expected scalar type Long but found Int".

    Cause: labels made from NumPy int32 arrays or read as bytes keep their dtype.

    Cure: `.long()`. softxent takes every integer dtype.

    Failing:
        >>> import torch
        >>> short = torch.from_numpy(target.astype(np.int32))
        >>> doctor.check(torch.from_numpy(logits), short).rules
        ('narrow-indices',)

    Mended:
        >>> doctor.check(torch.from_numpy(logits), short.long()).rules
        ()
    """
    if not case.tensor or case.kind not in ("index", "column") or case.target is None:
        return None
    if case.target.dtype.kind not in "iu" or case.target.dtype.name in ("int64", "uint8"):
        return None
    return Evidence(
        level="warning",
        text=f"The target has dtype {case.target.dtype}; torch's losses take int64 (or uint8).",
        numbers={"dtype": str(case.target.dtype)},
        confidence="certain",
        why="torch raises; softxent's functions take it",
        remedy="target = target.long()",
        not_checked="which library's loss you call.",
    )


@rule("arrays")
def all_ignored(case: Arrays) -> Evidence | None:
    """No row counts: the mean divides by 0.

    Symptom: the loss is NaN now and then, more often with small batches.

    Cause: an empty batch, a batch whose targets are all ignore_index, or only classes of weight 0.
    NaN is what torch and softxent return on purpose: a mean over nothing is not a number.

    Cure: skip the batch, or divide the sum by max(count, 1).

    Failing:
        >>> doctor.check(logits, np.full(64, -100)).rules
        ('all-ignored',)

    Mended:
        >>> doctor.check(logits, np.full(64, -100), reduction="sum").rules
        ()
    """
    if case.reduction != "mean" or case.binary or case.index is None or case.kept is None:
        return None
    weightless = False
    if case.kept.any():
        if case.weight is None or case.labels is None or case.weight.shape != (case.classes,):
            return None
        weightless = float(case.weight[case.labels].sum()) == 0
        if not weightless:
            return None
    count = len(case.index)
    what = "every kept label has weight 0" if weightless else "every label is ignored"
    return Evidence(
        level="error",
        text=f"The batch has {count:,} rows" + (f" and {what}." if count else "."),
        numbers={"rows": count, "kept": int(case.kept.sum())},
        confidence="certain",
        why="0 / 0 is NaN",
        remedy="loss = cross_entropy(..., reduction='sum') / max(kept, 1)",
        not_checked="how often such batches come.",
    )


@rule("arrays")
def ignored_class(case: Arrays) -> Evidence | None:
    """ignore_index is the number of a real class.

    Symptom: one class is never learned, and its rows are missing from the loss.

    Cause: ignore_index=0 (a background, say) for labels in which 0 is a class like the others.

    Cure: a number that names no class, like -100; for padding, mark the padded places with it.

    Failing:
        >>> doctor.check(logits, target, ignore_index=0).rules
        ('ignored-class',)

    Mended:
        >>> doctor.check(logits, target, ignore_index=-100).rules
        ()
    """
    ignored = case.ignore_index
    if case.index is None or case.kept is None or not 0 <= ignored < case.classes:
        return None
    count = len(case.index) - int(case.kept.sum())
    if not count:
        level: Level = "note"
        why = "no label in this batch has it"
    elif _is_padding(case):
        level = "note"
        why = "the ignored places are all at the ends of their rows, as padding is"
    else:
        level = "warning"
        why = "the ignored rows stand among the others, as rows of a class do"
    return Evidence(
        level=level,
        text=(
            f"ignore_index={ignored} is one of the {case.classes} classes; {count:,} of "
            f"{len(case.index):,} labels ({count / max(1, len(case.index)):.0%}) have it."
        ),
        numbers={"ignore_index": ignored, "ignored": count, "labels": len(case.index)},
        confidence="likely" if level == "warning" else "possible",
        why=why,
        remedy="loss = cross_entropy(logits, target)  # ignore_index=-100",
        not_checked="whether that class is meant to be left out.",
    )


def _is_padding(case: Arrays) -> bool:
    """Whether ignored labels fill only the ends of sequences, (N, L)."""
    assert case.target is not None
    if case.target.ndim != 2 or case.target.shape[1] < 2:
        return False
    ignored = case.target == case.ignore_index
    after = np.all(ignored[:, 1:] >= ignored[:, :-1])
    before = np.all(ignored[:, 1:] <= ignored[:, :-1])
    return bool(after or before)


@rule("arrays")
def swapped_arguments(case: Arrays) -> Evidence | None:
    """Scores and target are given in the wrong order.

    Symptom: a loss that is negative or odd and doesn't fall, or an error about the target's dtype.

    Cause: torch takes (input, target), scikit-learn (y_true, y_pred), TensorFlow named logits and
    labels.

    Cure: scores first, target second.

    Failing:
        >>> doctor.check(np.eye(10)[target], logits).rules
        ('softmax-twice', 'swapped-arguments')

    Mended:
        >>> doctor.check(logits, np.eye(10)[target]).rules
        ()
    """
    if case.target is None:
        return None
    if case.kind == "swapped":
        text = (
            f"The scores are integers of shape {case.scores.shape}, the target {case.target.dtype} "
            f"of shape {case.target.shape}."
        )
    elif case.binary and case.kind == "elementwise":
        y = case.target
        if case.scores.size < 4 or not np.all((case.scores == 0) | (case.scores == 1)):
            return None
        if np.all((y == 0) | (y == 1)):
            return None
        text = (
            f"All {case.scores.size:,} scores are 0 or 1, as labels are, and the target's numbers "
            f"reach from {y.min():.4g} to {y.max():.4g}."
        )
    elif case.masses is not None and case.scores.ndim > 1:
        if case.look != "probabilities" or not case.masses.size:
            return None
        if case.masses.min() < 0 or case.masses.max() > 1 + case.tolerance:
            text = (
                "Rows of scores add up to 1, as a target's do, and the target's numbers reach from "
                f"{case.masses.min():.4g} to {case.masses.max():.4g}, as logits do."
            )
        elif len(case.rows) > 1 and _one_hot(case.rows) and not np.any(_is_sure(case.masses)):
            text = (
                f"All {len(case.rows):,} rows of scores are one-hot, as labels are, and none of "
                "the target's is: they are predicted probabilities."
            )
        else:
            return None
    else:
        return None
    return Evidence(
        level="error",
        text=text,
        numbers={
            "scores_dtype": str(case.scores.dtype),
            "target_lowest": float(case.target.min()),
            "target_highest": float(case.target.max()),
        },
        confidence="likely",
        why="each looks like the other",
        remedy="loss = cross_entropy(logits, target)  # scores first",
        not_checked="what the arrays are called where they come from.",
    )


@rule("arrays")
def negative_target(case: Arrays) -> Evidence | None:
    """Class probabilities as a target are negative or NaN.

    Symptom: a loss below 0, or NaN.

    Cause: logits or log-probabilities of a teacher as the target; arithmetic on one-hot rows.

    Cure: softmax of the teacher's logits.

    Failing:
        >>> doctor.check(logits, 2 * np.eye(10)[target] - 0.1).rules
        ('negative-target',)

    Mended:
        >>> doctor.check(logits, 0.9 * np.eye(10)[target] + 0.01).rules
        ()
    """
    masses = case.masses
    if masses is None or case.kind != "masses" or not masses.size or case.look == "probabilities":
        return None
    bad = ~(masses >= -case.tolerance)
    if not bad.any():
        return None
    lowest = float(np.nanmin(masses)) if not np.isnan(masses).all() else math.nan
    row = int(case.places[int(bad.any(axis=1).argmax())])
    return Evidence(
        level="error",
        text=(
            f"{bad.sum():,} of {masses.size:,} target masses are negative or NaN, the lowest "
            f"{lowest:.4g}; the first is in row {row}."
        ),
        numbers={"count": int(bad.sum()), "lowest": lowest, "first_row": row},
        confidence="certain",
        why="a mass is at least 0",
        remedy="target = softmax(teacher_logits)",
        not_checked="what the numbers are instead.",
    )


@rule("arrays")
def unnormalised_target(case: Arrays) -> Evidence | None:
    """Class probabilities as a target don't add up to 1.

    Symptom: a loss on another scale, with a lowest value that isn't the entropy of the target; rows
    count by their sum.

    Cause: counts or several labels a row (multi-hot) passed as class probabilities.

    Cure: divide each row by its sum; for labels that exclude nothing use a binary loss a class.

    Failing:
        >>> doctor.check(logits, np.eye(10)[target] + np.eye(10)[target - 1]).rules
        ('unnormalised-target',)

    Mended:
        >>> doctor.check(logits, (np.eye(10)[target] + np.eye(10)[target - 1]) / 2).rules
        ()
    """
    masses = case.masses
    if masses is None or masses.ndim != 2 or case.scores.ndim < 2 or not masses.size:
        return None
    if not np.all(masses >= -case.tolerance):
        return None
    sums = masses.sum(axis=1)
    off = np.abs(sums - 1) > 2 * case.tolerance
    if not off.any():
        return None
    several = np.all((masses == 0) | (masses == 1)) and sums.max() > 1
    return Evidence(
        level="warning",
        text=(
            f"{off.sum():,} of {len(masses):,} target rows don't add up to 1; the sums reach from "
            f"{sums.min():.4g} to {sums.max():.4g}."
            + (" All masses are 0 or 1: several labels a row." if several else "")
        ),
        numbers={
            "rows": int(off.sum()),
            "lowest_sum": float(sums.min()),
            "highest_sum": float(sums.max()),
            "several_labels": bool(several),
        },
        confidence="likely",
        why="the sums themselves are certain; that they are not meant is likely",
        remedy="loss = binary_cross_entropy_with_logits(logits, target)"
        if several
        else "target = target / target.sum(-1, keepdims=True)",
        not_checked="whether rows are weighted by their sum on purpose.",
    )


@rule("arrays")
def class_ids_in_binary_loss(case: Arrays) -> Evidence | None:
    """Class numbers go into a binary loss, whose target lies in [0, 1].

    Symptom: a loss that falls below 0 and on without end: -55, -300 ...

    Cause: binary_cross_entropy_with_logits doesn't check its target; y = 7 makes the loss linear.

    Cure: cross_entropy with one output a class, or a column of 0 and 1 for each class.

    Failing:
        >>> ids = target.astype(float)
        >>> doctor.check(logits[:, 0], ids, loss="binary_cross_entropy_with_logits").rules
        ('class-ids-in-binary-loss',)

    Mended:
        >>> doctor.check(logits, target, loss="cross_entropy").rules
        ()
    """
    if not case.binary or case.target is None or not case.target.size:
        return None
    low, high = float(case.target.min()), float(case.target.max())
    if low >= 0 and high <= 1:
        return None
    whole = bool(np.all(case.target == np.round(case.target)))
    return Evidence(
        level="error",
        text=(
            f"The target reaches from {low:.4g} to {high:.4g}"
            + (f" in whole numbers: {len(np.unique(case.target))} classes?" if whole else ".")
        ),
        numbers={"lowest": low, "highest": high, "whole": whole},
        confidence="certain",
        why="outside [0, 1] the loss has no lower bound",
        remedy="loss = cross_entropy(logits, target)  # logits (N, C)",
        not_checked="how many classes there are.",
    )


def _is_sure(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    return np.asarray(((rows == 0) | (rows == 1)).all(axis=1))


def _one_hot(rows: npt.NDArray[np.float64]) -> bool:
    return bool(np.all(_is_sure(rows)) and np.all(rows.sum(axis=1) == 1))


@rule("arrays")
def column_order(case: Arrays) -> Evidence | None:
    """The columns of the scores stand in another order than the class numbers.

    Symptom: a loss far above ln C and an accuracy below chance, from a model that is known to be
    good.

    Cause: columns in the order of names ("10" before "2"), of another file, or of the classes that
    the training set happened to have.

    Cure: take the order from the model (`classes_`) and index the columns with it.

    Failing:
        >>> right = 8 * np.eye(10)[target] + logits
        >>> order = np.roll(np.arange(10), 1)
        >>> doctor.check(right[:, order], target).rules
        ('column-order',)

    Mended:
        >>> doctor.check(right[:, order][:, np.argsort(order)], target).rules
        ()
    """
    if case.labels is None or case.classes < 2 or case.loss == "nll_loss":
        return None
    if len(case.labels) < 20 or not np.all(np.isfinite(case.rows)):
        return None
    if case.loss == "log_loss":
        if case.look != "probabilities":
            return None
        logits = np.log(np.maximum(case.rows, 1e-12))
    elif case.look == "probabilities":
        return None
    else:
        logits = case.rows
    labels, classes = case.labels, case.classes
    guess = math.log(classes)
    if case.mean_loss(logits, labels) < 1.2 * guess:
        return None
    # The order is read off one half of the rows and judged on the other: noise has no order.
    order = _best_order(logits[::2].argmax(axis=1), labels[::2], classes)
    # Few rows don't show every class; the order of the numbers as text is worth a try of its own.
    alphabetical = np.array(sorted(range(classes), key=str))
    by_text = np.argsort(alphabetical)
    first, seen = logits[::2], labels[::2]
    few = len(labels) < 4 * classes
    if few or case.mean_loss(first[:, by_text], seen) < case.mean_loss(first[:, order], seen):
        order = by_text
    held_out, truth = logits[1::2], labels[1::2]
    before, after = case.mean_loss(held_out, truth), case.mean_loss(held_out[:, order], truth)
    accuracy = float(np.mean(held_out[:, order].argmax(axis=1) == truth))
    was = float(np.mean(held_out.argmax(axis=1) == truth))
    if not (after < 0.6 * guess and before > 1.2 * guess and accuracy > was + 0.3):
        return None
    shown = ", ".join(map(str, order[:10].tolist())) + (" ..." if classes > 10 else "")
    by_name = bool(classes > 10 and np.array_equal(alphabetical[order], np.arange(classes)))
    return Evidence(
        level="warning",
        text=(
            f"As they stand the loss is {before:.4g} and {was:.1%} are right. With columns {shown} "
            f"as classes 0, 1, 2 ... it is {after:.4g} and {accuracy:.1%}."
            + (" That is the order of the numbers as text: 1, 10, 11 ..., 2." if by_name else "")
        ),
        numbers={
            "loss": before,
            "loss_reordered": after,
            "accuracy": was,
            "accuracy_reordered": accuracy,
            "order": order.tolist(),
        },
        confidence="likely",
        why="the order was read off every second row and tried on the others",
        remedy="scores = scores[:, np.argsort(column_classes)]",
        not_checked="whether the labels, not the columns, are numbered otherwise.",
    )


def _best_order(predicted: Labels, labels: Labels, classes: int) -> Labels:
    """The column that stands for each class, by the most frequent pairs first."""
    pairs = np.bincount(labels * classes + predicted, minlength=classes * classes)
    order = np.full(classes, -1)
    free = np.ones(classes, bool)
    for pair in np.argsort(-pairs, kind="stable"):
        if not pairs[pair]:
            break
        label, column = divmod(int(pair), classes)
        if order[label] < 0 and free[column]:
            order[label], free[column] = column, False
    order[order < 0] = np.flatnonzero(free)
    return order


@rule("arrays")
def absent_class(case: Arrays) -> Evidence | None:
    """Some class is never a target.

    Symptom: scikit-learn's log_loss raises for want of `labels=`, or pairs columns and classes
    wrongly.

    Cause: a class that the sample doesn't hold; or columns for classes that don't exist.

    Cure: pass all classes by name wherever a function would read them off the labels.

    Failing:
        >>> probs = softxent.softmax(np.tile(logits, (4, 1)))
        >>> doctor.check(probs, np.tile(target % 9, 4), loss="log_loss").rules
        ('absent-class',)

    Mended:
        >>> doctor.check(probs, np.tile(target, 4), loss="log_loss").rules
        ()
    """
    if case.index is None or case.kept is None or case.binary or case.classes < 2:
        return None
    values = case.index[case.kept]
    if len(values) < 20 * case.classes or values.min() < 0 or values.max() >= case.classes:
        return None
    if values.min() == 1 and values.max() == case.classes - 1:
        return None  # labels-from-one says it
    absent = np.flatnonzero(np.bincount(values, minlength=case.classes) == 0)
    if 0 <= case.ignore_index < case.classes:
        absent = absent[absent != case.ignore_index]
    if not absent.size:
        return None
    return Evidence(
        level="note",
        text=(
            f"Of {case.classes} classes {absent.size} are the target of none of {len(values):,} "
            f"rows: {', '.join(map(str, absent[:8]))}{' ...' if absent.size > 8 else ''}."
        ),
        numbers={"absent": absent[:64].tolist(), "rows": len(values)},
        confidence="possible",
        why="a rare class may be missing from a sample",
        remedy="log_loss(y, probs, labels=np.arange(probs.shape[1]))",
        not_checked="whether the class is in the training set.",
    )


@rule("arrays")
def ambiguous_axis(case: Arrays) -> Evidence | None:
    """The class axis can't be told from the shapes, and another one fits better.

    Symptom: a plausible loss that doesn't fall as it should; no error is raised.

    Cause: (N, L, C) logits where torch takes the classes from axis 1, with as many positions as
    classes.

    Cure: `logits.permute(0, 2, 1)` for torch; or name the axis.

    Failing:
        >>> tokens = rng.integers(0, 10, (64, 10))
        >>> told = 6 * np.eye(10)[tokens] + rng.standard_normal((64, 10, 10))
        >>> doctor.check(told, tokens, axis=1).rules
        ('ambiguous-axis',)

    Mended:
        >>> doctor.check(told, tokens, axis=2).rules
        ()
    """
    if case.binary or case.scores.ndim < 3 or case.kind != "index" or case.loss == "nll_loss":
        return None
    others = [
        axis
        for axis in range(case.scores.ndim)
        if axis != case.axis
        and case.scores.shape[:axis] + case.scores.shape[axis + 1 :] == case.row_shape
    ]
    if not others or case.labels is None or not np.all(np.isfinite(case.scores)):
        return None
    here = _fit(case, case.scores, case.axis)
    fits = {axis: _fit(case, case.scores, axis) for axis in others}
    best = min(fits, key=lambda axis: fits[axis][0])
    level: Level = "warning" if _is_better(fits[best], here, case) else "note"
    if level == "note" and not case.axes:
        return None  # the axis was named, and nothing speaks against it
    return Evidence(
        level=level,
        text=(
            f"Scores of shape {case.scores.shape} fit the target with the classes on axis "
            f"{case.axis} or {best}. On axis {case.axis} the loss is {here[0]:.4g} and "
            f"{here[1]:.1%} "
            f"are right; on axis {best} it is {fits[best][0]:.4g} and {fits[best][1]:.1%}."
        ),
        numbers={
            "axis": case.axis,
            "other": best,
            "loss": here[0],
            "other_loss": fits[best][0],
            "accuracy": here[1],
            "other_accuracy": fits[best][1],
        },
        confidence="likely" if level == "warning" else "possible",
        why="the other axis predicts the labels, this one doesn't"
        if level == "warning"
        else "neither predicts the labels better, as before training",
        remedy="loss = cross_entropy(logits.permute(0, 2, 1), target)  # torch: (N, C, L)",
        not_checked="what each axis stands for.",
    )


@rule("arrays")
def view_for_permute(case: Arrays) -> Evidence | None:
    """Scores were brought into shape with view or reshape, which mixes positions and classes.

    Symptom: the shapes are right, the loss stays high, and each position learns from another's
    label.

    Cause: `logits.view(N, C, L)` of (N, L, C) logits reads the same memory in another order; only
    permute moves an axis.

    Cure: `logits.permute(0, 2, 1)`.

    Failing:
        >>> tokens = rng.integers(0, 10, (64, 7))
        >>> told = 6 * np.eye(10)[tokens] + rng.standard_normal((64, 7, 10))
        >>> doctor.check(told.reshape(64, 10, 7), tokens, axis=1).rules
        ('view-for-permute',)

    Mended:
        >>> doctor.check(told.transpose(0, 2, 1), tokens, axis=1).rules
        ()
    """
    if case.binary or case.scores.ndim < 3 or case.kind != "index" or case.loss == "nll_loss":
        return None
    if case.axis != 1 or case.labels is None or not np.all(np.isfinite(case.scores)):
        return None
    here = _fit(case, case.scores, case.axis)
    viewed = case.scores.reshape(*case.row_shape, case.classes)
    there = _fit(case, viewed, viewed.ndim - 1)
    moved = _fit(case, case.scores, case.scores.ndim - 1) if _square(case) else None
    if not _is_better(there, here, case) or (moved is not None and moved[0] <= there[0] + 1e-9):
        return None
    return Evidence(
        level="warning",
        text=(
            f"As (N, C, ...) the loss is {here[0]:.4g} and {here[1]:.1%} are right; the same "
            "memory "
            f"read as (N, ..., C) gives {there[0]:.4g} and {there[1]:.1%}."
        ),
        numbers={
            "loss": here[0],
            "viewed_loss": there[0],
            "accuracy": here[1],
            "viewed_accuracy": there[1],
        },
        confidence="likely",
        why="memory in that order predicts the labels, in this order it doesn't",
        remedy="logits = logits.permute(0, 2, 1)  # not view, not reshape",
        not_checked="the code that reshaped it.",
    )


def _square(case: Arrays) -> bool:
    """Whether the last axis could be the class axis as well."""
    return case.scores.shape[:-1] == case.row_shape


def _fit(case: Arrays, scores: npt.NDArray[np.generic], axis: int) -> tuple[float, float, int]:
    """(mean loss, accuracy, rows) of the sampled rows, were the classes on that axis."""
    assert case.labels is not None
    moved = np.moveaxis(scores, axis, -1).reshape(-1, scores.shape[axis])
    rows = moved[case.places].astype(np.float64)
    loss = float(ops.cross_entropy(rows, case.labels))
    return loss, float(np.mean(rows.argmax(axis=1) == case.labels)), len(rows)


def _is_better(
    other: tuple[float, float, int], here: tuple[float, float, int], case: Arrays
) -> bool:
    """Whether another reading predicts the labels, beyond chance, where this one doesn't."""
    chance = 1 / case.classes
    noise = math.sqrt(chance * (1 - chance) / max(1, here[2]))
    margin = max(6 * noise, 0.1)
    return other[0] < here[0] and other[1] > here[1] + margin and other[1] > chance + margin
