"""The document of a batch: a line per row, and how the losses are reduced."""

from __future__ import annotations

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
from softxent.explain.steps.dtype import failure_step
from softxent.explain.steps.one_row import row_document
from softxent.explain.steps.row import RowLoss, class_label
from softxent.ops import Mean
from softxent.render.numbers import exact, plural, short
from softxent.render.text import align_decimals

__all__ = ["batch_details", "batch_document"]

_SHOWN_ROWS = 10
_NAME_WIDTH = 11


def batch_document(numbers: Numbers) -> Document:
    """Explain a trace of any number of rows."""
    rows, classes = numbers.logits.shape
    title = f"{plural(rows, 'row')} of {plural(classes, 'logit')}"
    if numbers.value is not None:
        title += f": why the loss is {short(numbers.value)}"
    steps = []
    if rows:
        steps.append(_table(numbers))
    if numbers.mean is not None and numbers.z_mean is not None:
        steps.append(_reduction(numbers, numbers.mean, numbers.z_mean))
    steps.extend(failure_step(numbers))
    return Document(title, steps, numbered=False)


def batch_details(numbers: Numbers) -> list[Detail]:
    """The shown rows of a batch, step by step."""
    details = []
    for index in range(min(len(numbers.logits), _SHOWN_ROWS)):
        target = None if numbers.target is None else numbers.target[index : index + 1]
        row = numbers.replaced(numbers.logits[index : index + 1], target, "none")
        document = row_document(row)
        details.append(Detail(f"Row {index}: {document.title}", document))
    return details


def _table(numbers: Numbers) -> Step:
    rows = len(numbers.logits)
    lines = [_line(numbers, row) for row in range(min(rows, _SHOWN_ROWS))]
    columns = []
    for head in lines[0]:
        cells = [line[head] for line in lines]
        if head in ("target", "highest"):
            columns.append(Column(cells, "name", head))
        else:
            columns.append(Column(align_decimals(cells), "number", head))
    blocks: list[Block] = [Table(tuple(columns))]
    if rows > _SHOWN_ROWS:
        blocks.append(Remark(_other_rows(numbers)))
    return Step(_options(numbers), blocks)


def _options(numbers: Numbers) -> str:
    """The options that differ from their defaults, in words."""
    used = []
    if numbers.temperature != 1:
        used.append(f"temperature {exact(numbers.temperature)}")
    if numbers.softcap is not None:
        used.append(f"softcap {exact(numbers.softcap)}")
    if numbers.losses is not None:
        if numbers.target is not None and numbers.target.ndim == 2:
            used.append("class probabilities as targets")
        if numbers.label_smoothing:
            used.append(f"label smoothing {exact(numbers.label_smoothing)}")
        if numbers.weight is not None:
            used.append("class weights")
        if numbers.z_loss:
            used.append(f"z_loss {exact(numbers.z_loss)}")
    return f"With {', '.join(used)}." if used else ""


def _line(numbers: Numbers, row: int) -> dict[str, str]:
    """A row's cells by the headers of the table."""
    loss, p = RowLoss.of(numbers, row), numbers.probabilities[row]
    cells = {"row": str(row)}
    if loss is not None:
        if loss.target is not None:
            name = "ignored" if loss.ignored else class_label(numbers, loss.target, _NAME_WIDTH)
            cells["target"] = name
            cells["p(target)"] = "" if loss.ignored else short(p[loss.target])
            if numbers.weight is not None:
                cells["weight"] = short(0 if loss.ignored else numbers.weight[loss.target])
        cells["loss"] = short(loss.loss)
    undefined = bool(np.isnan(p).any())
    cells["highest"] = "" if undefined else class_label(numbers, int(p.argmax()), _NAME_WIDTH)
    cells["p(highest)"] = "nan" if undefined else short(p.max())
    return cells


def _other_rows(numbers: Numbers) -> str:
    rows, losses = len(numbers.logits), numbers.losses
    more = rows - _SHOWN_ROWS
    sentence = f"{plural(more, 'more row')} {'is' if more == 1 else 'are'} not shown."
    if losses is not None and not np.isnan(losses).all():
        worst = int(np.nanargmax(losses))
        sentence += f" Row {worst:,} has the largest loss: {short(losses[worst])}."
    return sentence


def _reduction(numbers: Numbers, mean: Mean, z_mean: Mean) -> Step:
    if numbers.reduction == "none":
        return Step("No reduction: one loss per row.")
    if numbers.reduction == "sum":
        return Step(f"The losses add up to {exact(mean.total + z_mean.total)}.")
    if mean.weight == 0:
        return Step("There is no row to average over, so the mean is not a number (NaN).")
    rows = len(numbers.logits)
    ignored = 0 if numbers.ignored is None else int(numbers.ignored.sum())
    over = kept = plural(rows - ignored, "row") + (" that are not ignored" if ignored else "")
    if numbers.weight is not None and numbers.target is not None and numbers.target.ndim == 1:
        over = f"the summed weight of the targets of {over}"
    if numbers.z_loss:
        return Step(
            f"The mean: the sum of the losses without z_loss over {over}, and the sum of the terms "
            f"of z_loss over {kept}.",
            [Formula(_both_means(mean, z_mean))],
        )
    return Step(
        f"The mean: the sum of the losses over {over}.",
        [
            Formula(f"{exact(mean.total)} / {exact(mean.weight)} = {exact(mean.value)}"),
            Remark("Each row's gradient is divided by the same number."),
        ],
    )


def _both_means(mean: Mean, z_mean: Mean) -> str:
    parts = (f"{exact(part.total)} / {exact(part.weight)}" for part in (mean, z_mean))
    return f"{' + '.join(parts)} = {exact(mean.value + z_mean.value)}"
