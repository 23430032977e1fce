"""A batch told in brief: a line a row, and how the losses become one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from softxent.explain.layout import INDENT, aligned, exact, paragraph, plural, short, table, wrap
from softxent.explain.row import goal_of, label

if TYPE_CHECKING:
    from softxent.explain.trace import Trace
    from softxent.ops.mean import Mean

__all__ = ["tell_batch"]

_ALL_ROWS = 10
_NAME_WIDTH = 11


def tell_batch(trace: Trace) -> Iterator[str]:
    """The lines on a trace of any number of rows."""
    rows, classes = trace.logits.shape
    size = f"{plural(rows, 'row')} of {plural(classes, 'logit')}"
    yield size if trace.value is None else f"{size}: why the loss is {short(trace.value)}"
    if rows:
        yield ""
        lines = [_batch_row(trace, row) for row in range(min(rows, _ALL_ROWS))]
        columns = []
        for head in lines[0]:
            cells = [line[head] for line in lines]
            columns.append([head, *(cells if head in ("target", "highest") else aligned(cells))])
        yield from table(*columns)
    if rows > _ALL_ROWS:
        yield from paragraph(_other_rows(trace))
    if trace.mean is not None:
        yield ""
        yield from _batch_reduction(trace, trace.mean)
    if rows:
        yield ""
        one = "logits[0]" if trace.mean is None else "logits[0], target[0]"
        yield f"A row step by step: print(explain({one}))"


def _batch_row(trace: Trace, row: int) -> dict[str, str]:
    goal, p = goal_of(trace, row), trace.probabilities[row]
    cells = {"row": str(row)}
    if goal is not None:
        if goal.target is not None:
            cells["target"] = "ignored" if goal.ignored else label(trace, goal.target, _NAME_WIDTH)
            cells["p(target)"] = "" if goal.ignored else short(p[goal.target])
            if trace.weight is not None:
                cells["weight"] = short(goal.mass_sum)
        cells["loss"] = short(goal.loss)
    broken = bool(np.isnan(p).any())
    cells["highest"] = "" if broken else label(trace, int(p.argmax()), _NAME_WIDTH)
    cells["p(highest)"] = "nan" if broken else short(p.max())
    return cells


def _other_rows(trace: Trace) -> str:
    rows = len(trace.logits)
    sentence = f"and {plural(rows - _ALL_ROWS, 'row')} more."
    if trace.losses is not None and not np.isnan(trace.losses).all():
        worst = int(np.nanargmax(trace.losses))
        sentence += f" The largest loss is that of row {worst:,}: {short(trace.losses[worst])}."
    return sentence


def _batch_reduction(trace: Trace, mean: Mean) -> Iterator[str]:
    if trace.reduction == "none":
        yield "No reduction: one loss a row."
    elif trace.reduction == "sum":
        yield f"The losses add up to {exact(mean.total)}."
    elif mean.weight == 0:
        yield "No row counts, and a mean over nothing is not a number."
    else:
        rows = len(trace.logits)
        ignored = 0 if trace.ignored is None else int(trace.ignored.sum())
        counted = plural(rows - ignored, "row") + (" that count" if ignored else "")
        over = counted
        if trace.weight is not None and trace.target is not None and trace.target.ndim == 1:
            over = f"the summed weight of the targets of {counted}"
        yield from wrap(f"The mean: the sum of the losses over {over}.")
        yield f"{INDENT}{exact(mean.total)} / {exact(mean.weight)} = {exact(mean.value)}"
        yield "Each row's gradient is divided by the same number."
