"""A run as the output of a notebook's cell: its result, its epochs, how it was made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from softxent.record.schema import Data, Epoch, Run, Sum
from softxent.render.markup import Child, Element, el, name
from softxent.render.numbers import count, loss, number, percent, plural
from softxent.render.page import fragment
from softxent.render.tables import scrolling, table

__all__ = ["write_html"]

_MOST_EPOCHS = 20
_MOST_CLASSES = 12
_LONGEST_NAME = 24


def write_html(run: Run, epochs: Sequence[Epoch] | None = None) -> str:
    """The fragment.

    Args:
        run: run.json.
        epochs: epochs.json; None where it has not been read.
    """
    return fragment(
        el("h1", "A run on ", name(run.data.name)),
        _result(run),
        el("ul", (el("li", note) for note in run.notes)) if run.notes else None,
        None if epochs is None else _epochs(epochs),
        _wide("How it was made", _facts(run)),
        kind="run",
    )


def _result(run: Run) -> Element:
    right, rows = run.test_accuracy.mean.total, run.test_accuracy.weight
    return el(
        "p",
        f"{count(right)} of {count(rows)} test rows are classified correctly: ",
        el("strong", percent(right, rows)),
        ". Mean loss: ",
        el("strong", f"{loss(run.test_loss.mean.value)} nats"),
        ".",
    )


def _epochs(epochs: Sequence[Epoch]) -> Element | None:
    """The first and the last epochs in numbers."""
    if not epochs:
        return None
    shown, half = list(epochs), _MOST_EPOCHS // 2
    caption = f"{plural(len(epochs), 'epoch')}; losses in nats."
    if len(epochs) > _MOST_EPOCHS:
        shown = [*epochs[:half], *epochs[-half:]]
        caption = f"The first and the last {half} of {count(len(epochs))} epochs; losses in nats."
    rows: list[list[Child]] = [
        [
            count(epoch.number),
            loss(epoch.train_loss.mean.value),
            loss(epoch.test_loss.mean.value),
            _accuracy(epoch.train_accuracy),
            _accuracy(epoch.test_accuracy),
            number(epoch.learning_rate, 3),
        ]
        for epoch in shown
    ]
    heads = ("epoch", "train loss", "test loss", "train accuracy", "test accuracy", "learning rate")
    return _wide("Epochs", table(caption, [(head, "number") for head in heads], rows))


def _accuracy(share: Sum) -> str:
    return percent(share.mean.total, share.weight)


def _facts(run: Run) -> Element:
    data, model = run.data, run.model
    widths = " \N{RIGHTWARDS ARROW} ".join(map(str, model.layers))
    rows: list[list[Child]] = [
        ["data", data.description or data.name],
        ["classes", [f"{count(len(data.classes))}: ", _names(data.classes)]],
        ["rows", [f"{count(data.train_rows)} train, {count(data.test_rows)} test", _split(data)]],
        ["model", f"{model.kind}, {widths}; {count(model.parameters)} parameters"],
        ["recipe", _settings(run.recipe.items())],
        ["seed", str(run.seed)],
        ["command", el("code", run.command)],
        ["made", f"{run.created}, in {number(run.seconds, 3)} s"],
        ["versions", _settings(run.versions.items())],
    ]
    return table(None, [("", "whole"), ("", "text")], rows)


def _names(classes: Sequence[str]) -> list[Child]:
    shown: list[Child] = []
    for one in classes[:_MOST_CLASSES]:
        shown += [", " if shown else "", name(one, _LONGEST_NAME)]
    return [*shown, ", \N{HORIZONTAL ELLIPSIS}"] if len(classes) > _MOST_CLASSES else shown


def _split(data: Data) -> str:
    return f"; {data.split}" if data.split else ""


def _settings(settings: Iterable[tuple[str, object]]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in settings)


def _wide(label: str, content: Element) -> Element:
    """A table in a frame that scrolls, if it is wider than the cell."""
    frame = scrolling(label, content)
    frame.set("class", "wide")
    return frame
