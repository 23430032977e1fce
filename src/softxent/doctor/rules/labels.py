"""Rules on class indices: which numbers they are, and which of them count."""

from __future__ import annotations

import math

import numpy as np

from softxent.doctor.cases import Arrays
from softxent.doctor.finding import Evidence, Level
from softxent.doctor.registry import rule

__all__: list[str] = []


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
        why = "the ignored places stand together at the ends of rows, as padding does"
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
    """Whether ignored labels fill only the ends of sequences: (N, L), (L, N), or end to end."""
    assert case.target is not None
    ignored = case.target == case.ignore_index
    if ignored.ndim == 2:
        return any(
            bool(np.all(turned[:, 1:] >= turned[:, :-1]) or np.all(turned[:, 1:] <= turned[:, :-1]))
            for turned in (ignored, ignored.T)
            if turned.shape[1] > 1
        )
    if ignored.ndim != 1:
        return False
    runs = int(ignored[0]) + int(np.sum(ignored[1:] & ~ignored[:-1]))
    kept, of = int(np.sum(~ignored)), len(ignored)
    by_chance = (of - kept) * (kept + 1) / of
    # Four standard deviations below what labels in random order have.
    return runs < by_chance - 4 * math.sqrt(by_chance * (of - kept) * kept) / of


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
