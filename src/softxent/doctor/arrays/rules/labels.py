"""Rules on class indices."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from softxent.doctor.arrays.loss_arguments import LossArguments
from softxent.doctor.finding import Evidence, Severity
from softxent.doctor.registry import rule

__all__: list[str] = []


@rule("arrays", severity="error")
def labels_from_one(case: LossArguments) -> Evidence | None:
    """Labels count from 1, but classes from 0.

    Symptom: an IndexError; on a GPU "device-side assert triggered", after which the process can't
    use the GPU. With one output too many there is no error, but class 0 is never correct.

    Cause: the labels in the file count from 1.

    Fix: subtract 1, or map the sorted labels to 0 ... C - 1.

    Source: https://github.com/milesial/Pytorch-UNet/issues/375

    Wrong:
        >>> doctor.check(logits, target + 1).rules
        ('labels-from-one',)

    Fixed:
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
            text=(
                f"{len(values):,} labels range from 1 to {high}; {case.classes} classes are "
                f"numbered 0 to {high - 1}."
            ),
            numbers=numbers,
            confidence="certain",
            why="no label is 0 and the highest is too large by one",
            remedy="target = target - 1",
            not_checked="whether every label is the number of its class.",
        )
    if len(values) < 10 * case.classes:
        return None
    return Evidence(
        severity="note",
        text=(
            f"{len(values):,} labels range from 1 to {high} and none is 0, but there are "
            f"{case.classes} classes. Is there one output too many?"
        ),
        numbers=numbers,
        confidence="possible",
        why="class 0 may be unused on purpose, for a background or a blank",
        remedy="target = target - 1  # and one output fewer",
        not_checked="what class 0 stands for.",
    )


@rule("arrays", severity="error")
def labels_out_of_range(case: LossArguments) -> Evidence | None:
    """A label is out of range.

    Symptom: an IndexError; on a GPU "device-side assert triggered", a few steps later and in
    another place.

    Cause: -1 or 255 for "no label", classes that the training set doesn't have, too few outputs.

    Fix: pass that value as ignore_index, or map the labels. On the CPU the error names the label.

    Source: https://github.com/pytorch/pytorch/issues/18014

    Wrong:
        >>> target[5] = -1
        >>> doctor.check(logits, target).rules
        ('labels-out-of-range',)

    Fixed:
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
        return None  # labels-from-one reports it, with its cause
    first = int(bad.argmax())
    shown = ", ".join(f"{v} ({n:,} times)" for v, n in zip(values[:4], counts[:4], strict=True))
    return Evidence(
        text=(
            f"{bad.sum():,} of {len(case.index):,} labels are outside 0 to {case.classes - 1}: "
            f"{shown}; the first is at position {first}."
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
        if len(values) == 1 and (values[0] < 0 or values[0] == 255)
        else "classes, target = np.unique(labels, return_inverse=True)",
        not_checked="whether the labels inside the range are correct.",
    )


@rule("arrays", severity="error")
def all_ignored(case: LossArguments) -> Evidence | None:
    """No row counts, so the mean is divided by 0.

    Symptom: the loss is NaN in some batches, more often in small ones.

    Cause: an empty batch, a batch whose targets are all ignore_index, or only classes of weight 0.
    torch and softxent return NaN on purpose: the mean of nothing is not a number.

    Fix: skip the batch, or divide the sum by max(count, 1).

    Source: https://github.com/pytorch/pytorch/issues/70348

    Wrong:
        >>> doctor.check(logits, np.full(64, -100)).rules
        ('all-ignored',)

    Fixed:
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
        text=f"The batch has {count:,} rows" + (f" and {what}." if count else "."),
        numbers={"rows": count, "kept": int(case.kept.sum())},
        confidence="certain",
        why="0 / 0 is NaN",
        remedy="loss = cross_entropy(..., reduction='sum') / max(kept, 1)",
        not_checked="how often such batches occur.",
    )


@rule("arrays", severity="warning")
def ignored_class(case: LossArguments) -> Evidence | None:
    """ignore_index is the number of a real class.

    Symptom: one class is never learned, and its rows are missing from the loss.

    Cause: ignore_index=0, meant for a background, with labels in which 0 is a class as well.

    Fix: use a number that isn't a class, such as -100. Set padded positions to that number.

    Source: https://github.com/pytorch/pytorch/issues/63004

    Wrong:
        >>> doctor.check(logits, target, ignore_index=0).rules
        ('ignored-class',)

    Fixed:
        >>> doctor.check(logits, target, ignore_index=-100).rules
        ()
    """
    ignored = case.ignore_index
    if case.index is None or case.kept is None or ignored is None:
        return None
    if not 0 <= ignored < case.classes:
        return None
    count = len(case.index) - int(case.kept.sum())
    if not count:
        severity: Severity = "note"
        why = "no label in this batch has it"
    elif case.target is not None and _is_padding(case.target == ignored):
        severity = "note"
        why = "the ignored positions are together at the ends of rows, like padding"
    else:
        severity = "warning"
        why = "the ignored rows are mixed with the others, like the rows of a class"
    return Evidence(
        severity=severity,
        text=(
            f"ignore_index={ignored} is one of the {case.classes} classes; {count:,} of "
            f"{len(case.index):,} labels ({count / max(1, len(case.index)):.0%}) have it."
        ),
        numbers={"ignore_index": ignored, "ignored": count, "labels": len(case.index)},
        confidence="likely" if severity == "warning" else "possible",
        why=why,
        remedy="loss = cross_entropy(logits, target)  # ignore_index=-100",
        not_checked="whether that class is ignored on purpose.",
    )


def _is_padding(ignored: npt.NDArray[np.bool_]) -> bool:
    """Whether the ignored labels are only the ends of sequences: (N, L), (L, N), or end to end."""
    if ignored.ndim == 2:
        return any(
            bool(np.all(turned[:, 1:] >= turned[:, :-1]) or np.all(turned[:, 1:] <= turned[:, :-1]))
            for turned in (ignored, ignored.T)
            if turned.shape[1] > 1
        )
    if ignored.ndim != 1:
        return False
    runs = int(ignored[0]) + int(np.sum(ignored[1:] & ~ignored[:-1]))
    kept, total = int(np.sum(~ignored)), len(ignored)
    by_chance = (total - kept) * (kept + 1) / total
    # Four standard deviations fewer runs than labels in random order have.
    return runs < by_chance - 4 * math.sqrt(by_chance * (total - kept) * kept) / total


@rule("arrays", severity="note")
def absent_class(case: LossArguments) -> Evidence | None:
    """Some class is never a target.

    Symptom: scikit-learn's log_loss raises an error that asks for `labels=`, or assigns the columns
    to the wrong classes.

    Cause: a class that doesn't occur in the sample, or columns for classes that don't exist.

    Fix: pass all classes explicitly wherever a function would infer them from the labels.

    Source: https://github.com/scikit-learn/scikit-learn/issues/4033

    Wrong:
        >>> probs = softxent.softmax(np.tile(logits, (4, 1)))
        >>> doctor.check(probs, np.tile(target % 9, 4), loss="log_loss").rules
        ('absent-class',)

    Fixed:
        >>> doctor.check(probs, np.tile(target, 4), loss="log_loss").rules
        ()
    """
    if case.index is None or case.kept is None or case.binary or case.classes < 2:
        return None
    values = case.index[case.kept]
    if len(values) < 20 * case.classes or values.min() < 0 or values.max() >= case.classes:
        return None
    if values.min() == 1 and values.max() == case.classes - 1:
        return None  # labels-from-one reports it
    absent = np.flatnonzero(np.bincount(values, minlength=case.classes) == 0)
    if case.ignore_index is not None and 0 <= case.ignore_index < case.classes:
        absent = absent[absent != case.ignore_index]
    if not absent.size:
        return None
    return Evidence(
        text=(
            f"{absent.size} of {case.classes} classes are the target of none of {len(values):,} "
            f"rows: {', '.join(map(str, absent[:8]))}{' ...' if absent.size > 8 else ''}."
        ),
        numbers={"absent": absent[:64].tolist(), "rows": len(values)},
        confidence="possible",
        why="a rare class may be absent from a sample",
        remedy="log_loss(y, probs, labels=np.arange(probs.shape[1]))",
        not_checked="whether the class is in the training set.",
    )
