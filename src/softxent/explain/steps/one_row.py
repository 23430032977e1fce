"""The document of one row: the steps of a textbook, with the digits that the library computes."""

from __future__ import annotations

from collections.abc import Iterator

from softxent.explain.numbers import Numbers
from softxent.explain.steps.document import Document, Step
from softxent.explain.steps.dtype import dtype_step
from softxent.explain.steps.loss import loss_steps
from softxent.explain.steps.prediction import prediction_step
from softxent.explain.steps.probabilities import probability_steps
from softxent.explain.steps.row import RowLoss, shown_classes, why_undefined
from softxent.render.numbers import plural, short

__all__ = ["row_document"]


def row_document(numbers: Numbers) -> Document:
    """Explain a trace of one row."""
    loss = RowLoss.of(numbers, 0)
    if loss is None:
        title = f"From {plural(len(numbers.classes), 'logit')} to probabilities"
    else:
        title = f"Why the loss is {short(loss.loss if numbers.value is None else numbers.value)}"
    return Document(title, list(_steps(numbers, loss)))


def _steps(numbers: Numbers, loss: RowLoss | None) -> Iterator[Step]:
    shown = shown_classes(numbers, loss)
    undefined = bool(why_undefined(numbers.scaled[0]))
    yield from probability_steps(numbers, shown, loss)
    if loss is not None and loss.ignored:
        yield Step(_ignored(numbers, loss))
    elif loss is not None and undefined:
        yield Step("The probabilities, the loss and the gradient of this row are NaN.")
    elif loss is not None:
        yield from loss_steps(numbers, shown, loss)
    if not undefined:
        yield from dtype_step(numbers, shown, loss)
        if len(numbers.classes) > 1:
            yield prediction_step(numbers, shown, loss)


def _ignored(numbers: Numbers, loss: RowLoss) -> str:
    sentence = (
        f"The target is {loss.target}, which is ignore_index: the row is ignored. It adds nothing "
        "to the loss, and its gradient is exactly 0."
    )
    if numbers.reduction == "mean":
        sentence += " The mean over no rows is not a number (NaN)."
    return sentence
