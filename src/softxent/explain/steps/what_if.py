"""The document of one row before and after some of its logits were changed."""

from __future__ import annotations

import math

import numpy as np

from softxent.explain.numbers import Numbers
from softxent.explain.steps.document import (
    Block,
    Column,
    Detail,
    Document,
    Formula,
    Remark,
    Step,
    Table,
)
from softxent.explain.steps.one_row import row_document
from softxent.explain.steps.row import (
    RowLoss,
    class_label,
    shown_classes,
    target_mark,
    why_undefined,
)
from softxent.render.numbers import exact, short, with_sign
from softxent.render.text import align_decimals

__all__ = ["what_if_details", "what_if_document", "what_if_title"]

_NAME_WIDTH = 11


def what_if_title(before: Numbers, after: Numbers) -> str:
    """The question that the comparison answers."""
    changed = _changed(before, after)
    if not changed:
        return "What if nothing changed"
    if len(changed) > 1:
        return f"What if {len(changed)} logits were different"
    new = exact(after.logits[0, changed[0]])
    return f"What if the logit of {class_label(before, changed[0])} were {new}"


def what_if_document(before: Numbers, after: Numbers) -> Document:
    """Compare two traces of one row."""
    loss = RowLoss.of(before, 0)
    changed = _changed(before, after)
    shown = shown_classes(before, loss)
    shown += [index for index in changed if index not in shown]
    steps = [_logits(before, after, changed)] if changed else []
    steps += [_probabilities(before, after, shown, loss), _prediction(before, after)]
    if loss is not None and not loss.ignored:
        new = RowLoss.of(after, 0)
        assert new is not None
        moves = after.logits[0, changed] - before.logits[0, changed]
        steps.append(_losses(loss, new, changed, moves))
    return Document(what_if_title(before, after), steps, numbered=False)


def what_if_details(before: Numbers, after: Numbers) -> list[Detail]:
    """Both rows step by step."""
    documents = {"Before": row_document(before), "After": row_document(after)}
    return [Detail(f"{when}: {document.title}", document) for when, document in documents.items()]


def _changed(before: Numbers, after: Numbers) -> list[int]:
    old, new = before.logits[0], after.logits[0]
    return np.flatnonzero(~((old == new) | (np.isnan(old) & np.isnan(new)))).tolist()


def _logits(before: Numbers, after: Numbers, changed: list[int]) -> Step:
    columns = (
        Column([class_label(before, index) for index in changed], "name"),
        Column(align_decimals(list(map(exact, before.logits[0, changed]))), head="before"),
        Column(align_decimals(list(map(exact, after.logits[0, changed]))), head="after"),
    )
    return Step("The logits that change:", [Table(columns)])


def _probabilities(before: Numbers, after: Numbers, shown: list[int], loss: RowLoss | None) -> Step:
    old, new = before.probabilities[0, shown], after.probabilities[0, shown]
    marks = [target_mark(index, loss).strip("<- ") for index in shown]
    moves = [None if math.isnan(move) else move for move in (new - old).tolist()]
    columns = (
        Column([class_label(before, index, _NAME_WIDTH) for index in shown], "name"),
        Column([short(value) for value in old], head="before"),
        Column([short(value) for value in new], head="after"),
        Column(marks, "note"),
        Column(kind="arrow", shares=moves, head="change"),
    )
    return Step("The probabilities:", [Table(columns)])


def _prediction(before: Numbers, after: Numbers) -> Step:
    old, new = (
        "none"
        if why_undefined(numbers.scaled[0])
        else class_label(numbers, int(numbers.logits[0].argmax()))
        for numbers in (before, after)
    )
    if old == new:
        return Step(f"The prediction remains {old}.")
    return Step(f"The prediction changes from {old} to {new}.")


def _losses(old: RowLoss, new: RowLoss, changed: list[int], moves: np.ndarray) -> Step:
    blocks: list[Block] = [
        Formula(f"before  {exact(old.loss)}"),
        Formula(f"after   {exact(new.loss)}"),
    ]
    with np.errstate(invalid="ignore"):
        linear = float(old.gradient[changed] @ moves) if changed else 0.0
        change = float(np.subtract(new.loss, old.loss))
    if changed and np.isfinite([linear, change]).all():
        logits = "logit" if len(changed) == 1 else "logits"
        blocks.append(
            Remark(
                f"A change of {with_sign(float(short(change)))}. The gradient times the change of "
                f"the {logits} gives {with_sign(float(short(linear)))}: the gradient is the slope "
                "at the starting point, which is accurate for small changes."
            )
        )
    return Step("The loss:", blocks)
