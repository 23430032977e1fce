"""Loss and accuracy by epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from softxent.record import Epoch, Sum
from softxent.render.markup import Child, Element, el
from softxent.render.numbers import count, loss, number, percent
from softxent.render.tables import scrolling, table
from softxent.report.charts import Axis, Series, axis, line_chart

__all__ = ["section"]


def section(epochs: Sequence[Epoch]) -> Element | None:
    """Two charts, and a table of their numbers."""
    if not epochs:
        return None
    return el(
        "section",
        el("h2", "Learning", id="learning"),
        el("div", _loss_chart(epochs), _accuracy_chart(epochs), class_="pair"),
        el(
            "p",
            "The train curves average over each epoch, while the model is still learning; the test "
            "curves are measured at the end of each epoch. The train curves may therefore be the "
            "worse ones. A test loss that rises while the train loss falls is a sign of "
            "overfitting.",
        ),
        el(
            "details",
            el("summary", "Every epoch in numbers"),
            scrolling("Every epoch in numbers", _numbers(epochs)),
        ),
    )


def _loss_chart(epochs: Sequence[Epoch]) -> Element:
    train, test = [e.train_loss for e in epochs], [e.test_loss for e in epochs]
    highest = max(_finite(train) + _finite(test), default=math.nan)
    if math.isnan(highest):
        return el("p", "No epoch has a finite loss.", class_="warning")
    return el(
        "figure",
        line_chart(
            "loss",
            "Loss by epoch",
            f"Train loss {_course(train, _nats)}; test loss {_course(test, _nats)}.",
            _epoch_axis(epochs),
            axis(0, highest or 1.0, "loss (nats per row)"),
            [e.number for e in epochs],
            [_series("train", train, 1, _nats), _series("test", test, 1, _nats)],
        ),
    )


def _accuracy_chart(epochs: Sequence[Epoch]) -> Element:
    train, test = [e.train_accuracy for e in epochs], [e.test_accuracy for e in epochs]
    lowest = 100 * min(_finite(train) + _finite(test), default=0.0)
    return el(
        "figure",
        line_chart(
            "accuracy",
            "Accuracy by epoch",
            f"Train accuracy {_course(train, _share)}; test accuracy {_course(test, _share)}.",
            _epoch_axis(epochs),
            axis(min(lowest, 99.5), 100, "accuracy (%)"),
            [e.number for e in epochs],
            [_series("train", train, 100, _share), _series("test", test, 100, _share)],
        ),
    )


def _epoch_axis(epochs: Sequence[Epoch]) -> Axis:
    return axis(epochs[0].number, epochs[-1].number, "epoch", whole=True, most=10)


def _series(name: str, sums: Sequence[Sum], scale: float, text: Callable[[Sum], str]) -> Series:
    return Series(
        name=name,
        style=name,
        values=[scale * s.mean.value for s in sums],
        last=text(next((s for s in reversed(sums) if math.isfinite(s.mean.value)), sums[-1])),
    )


def _finite(sums: Sequence[Sum]) -> list[float]:
    return [s.mean.value for s in sums if math.isfinite(s.mean.value)]


def _nats(one: Sum) -> str:
    return number(one.mean.value, 3)


def _share(one: Sum) -> str:
    return percent(one.mean.total, one.weight)


def _course(sums: Sequence[Sum], text: Callable[[Sum], str]) -> str:
    if len(sums) == 1:
        return f"{text(sums[0])} after the only epoch"
    return f"from {text(sums[0])} after the first epoch to {text(sums[-1])} after the last"


def _numbers(epochs: Sequence[Epoch]) -> Element:
    columns: list[tuple[Child, str]] = [
        ("epoch", "number"),
        ("train loss", "number"),
        ("test loss", "number"),
        ("train accuracy", "number"),
        ("test accuracy", "number"),
        ("learning rate", "number"),
        ("time", "number"),
    ]
    return table(
        "Losses in nats; the time is that of training, without the test. Train means are over "
        f"{count(epochs[-1].train_loss.weight)} rows, test means over "
        f"{count(epochs[-1].test_loss.weight)}.",
        columns,
        [
            [
                count(e.number),
                loss(e.train_loss.mean.value),
                loss(e.test_loss.mean.value),
                _share(e.train_accuracy),
                _share(e.test_accuracy),
                f"{e.learning_rate:.4g}",
                f"{e.seconds:,.2f} s",
            ]
            for e in epochs
        ],
    )
