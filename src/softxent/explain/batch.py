"""A batch told in brief: a line a row, and how the losses become one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from softxent.explain.precision import type_notes
from softxent.explain.row import goal_of, label
from softxent.explain.story import Block, Column, Formula, Remark, Step, Story, Table
from softxent.render.numbers import exact, plural, short
from softxent.render.text import align_decimals

if TYPE_CHECKING:
    from softxent.explain.trace import Trace
    from softxent.ops.mean import Mean

__all__ = ["SHOWN_ROWS", "batch_story"]

SHOWN_ROWS = 10
_NAME_WIDTH = 11


def batch_story(trace: Trace) -> Story:
    """The story of a trace of any number of rows."""
    rows, classes = trace.logits.shape
    title = f"{plural(rows, 'row')} of {plural(classes, 'logit')}"
    if trace.value is not None:
        title += f": why the loss is {short(trace.value)}"
    steps = []
    if rows:
        steps.append(_table(trace))
    if trace.mean is not None:
        steps.append(_reduction(trace, trace.mean))
    steps.extend(type_notes(trace))
    return Story(title, steps, numbered=False)


def _table(trace: Trace) -> Step:
    rows = len(trace.logits)
    lines = [_batch_row(trace, row) for row in range(min(rows, SHOWN_ROWS))]
    columns = []
    for head in lines[0]:
        cells = [line[head] for line in lines]
        name = head in ("target", "highest")
        columns.append(
            Column(cells if name else align_decimals(cells), "name" if name else "number", head)
        )
    blocks: list[Block] = [Table(tuple(columns))]
    if rows > SHOWN_ROWS:
        blocks.append(Remark(_other_rows(trace)))
    return Step(_options(trace), blocks)


def _options(trace: Trace) -> str:
    """The options that are in use, in words."""
    used = []
    if trace.temperature != 1:
        used.append(f"logits divided by the temperature, {exact(trace.temperature)}")
    if trace.softcap is not None:
        used.append(f"capped at {exact(trace.softcap)} by tanh")
    if trace.losses is not None:
        if trace.target is not None and trace.target.ndim == 2:
            used.append("targets that are class probabilities")
        if trace.label_smoothing:
            used.append(f"targets smoothed by {exact(trace.label_smoothing)}")
        if trace.weight is not None:
            used.append("class weights")
        if trace.z_loss:
            used.append(f"z_loss, {exact(trace.z_loss)} lse^2")
    return f"With {', '.join(used)}." if used else ""


def _batch_row(trace: Trace, row: int) -> dict[str, str]:
    goal, p = goal_of(trace, row), trace.probabilities[row]
    cells = {"row": str(row)}
    if goal is not None:
        if goal.target is not None:
            cells["target"] = "ignored" if goal.ignored else label(trace, goal.target, _NAME_WIDTH)
            cells["p(target)"] = "" if goal.ignored else short(p[goal.target])
            if trace.weight is not None:
                cells["weight"] = short(0 if goal.ignored else trace.weight[goal.target])
        cells["loss"] = short(goal.loss)
    broken = bool(np.isnan(p).any())
    cells["highest"] = "" if broken else label(trace, int(p.argmax()), _NAME_WIDTH)
    cells["p(highest)"] = "nan" if broken else short(p.max())
    return cells


def _other_rows(trace: Trace) -> str:
    rows = len(trace.logits)
    sentence = f"and {plural(rows - SHOWN_ROWS, 'row')} more."
    if trace.losses is not None and not np.isnan(trace.losses).all():
        worst = int(np.nanargmax(trace.losses))
        sentence += f" The largest loss is that of row {worst:,}: {short(trace.losses[worst])}."
    return sentence


def _reduction(trace: Trace, mean: Mean) -> Step:
    if trace.reduction == "none":
        return Step("No reduction: one loss a row.")
    if trace.reduction == "sum":
        return Step(f"The losses add up to {exact(mean.total)}.")
    if mean.weight == 0:
        return Step("No row counts, and a mean over nothing is not a number.")
    rows = len(trace.logits)
    ignored = 0 if trace.ignored is None else int(trace.ignored.sum())
    over = plural(rows - ignored, "row") + (" that count" if ignored else "")
    if trace.weight is not None and trace.target is not None and trace.target.ndim == 1:
        over = f"the summed weight of the targets of {over}"
    return Step(
        f"The mean: the sum of the losses over {over}.",
        [
            Formula(f"{exact(mean.total)} / {exact(mean.weight)} = {exact(mean.value)}"),
            Remark("Each row's gradient is divided by the same number."),
        ],
    )
