"""The worst mistakes: where the model was sure and wrong."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence

import numpy as np

from softxent.record import Mistake, Record
from softxent.render.markup import Element, el, name
from softxent.render.numbers import count, number, probability
from softxent.render.tables import scrolling, table
from softxent.report.png import data_uri

__all__ = ["section"]

_SHOWN = 24


def section(record: Record) -> Element:
    """The mistakes with the largest loss: cards where there are images, else a table."""
    heading = el("h2", "Worst mistakes", id="mistakes")
    shown = record.mistakes[:_SHOWN]
    if not shown:
        return el("section", heading, el("p", "No mistake was recorded."))
    classes = record.run.data.classes
    pictured = any(one.image is not None for one in shown)
    return el(
        "section",
        heading,
        el(
            "p",
            "Where the model was most sure and wrong, the largest loss first, with the probability "
            "that it gave to the true class and to the one it named. Each is a row to learn from, "
            "or a wrong label. Every step to the loss of a row is shown by ",
            _command(record, "ROW"),
            ".",
        ),
        _cards(record, shown, classes) if pictured else _lines(record, shown, classes),
    )


def _place(record: Record, one: Mistake) -> int:
    """Which test row it is: what `softxent explain RUN --row` takes."""
    return record.test.rows.index(one.row)


def _command(record: Record, row: int | str) -> Element:
    path = shlex.quote(str(record.path))
    return el("code", f"softxent explain {path} ", el("span", f"--row {row}", class_="whole"))


def _loss(one: Mistake) -> str:
    return "∞" if one.loss is None else number(one.loss)


def _probability(one: Mistake, index: int) -> str:
    value = one.probabilities[index]
    return probability(math.nan if value is None else value)


def _lines(record: Record, shown: Sequence[Mistake], classes: Sequence[str]) -> Element:
    body = table(
        f"{count(len(shown))} test rows; all rows are numbered from 0.",
        [
            ("test row", "number"),
            ("in the source", "number"),
            ("true class", "text"),
            ("its probability", "number"),
            ("predicted", "text"),
            ("its probability", "number"),
            ("loss (nats)", "number"),
            ("to explain it", "whole"),
        ],
        [
            [
                str(_place(record, one)),
                str(one.row),
                name(classes[one.target], 32),
                _probability(one, one.target),
                name(classes[one.predicted], 32),
                _probability(one, one.predicted),
                _loss(one),
                _command(record, _place(record, one)),
            ]
            for one in shown
        ],
    )
    return scrolling("The worst mistakes", body)


def _cards(record: Record, shown: Sequence[Mistake], classes: Sequence[str]) -> Element:
    return el("ol", (_card(record, one, classes) for one in shown), class_="cards")


def _card(record: Record, one: Mistake, classes: Sequence[str]) -> Element:
    return el(
        "li",
        _picture(one),
        el(
            "div",
            el(
                "dl",
                el("dt", "is ", el("b", name(classes[one.target], 16))),
                el("dd", _probability(one, one.target)),
                el("dt", "taken for ", el("b", name(classes[one.predicted], 16))),
                el("dd", _probability(one, one.predicted)),
                el("dt", "loss"),
                el("dd", f"{_loss(one)} nats"),
            ),
            el(
                "details",
                el("summary", f"test row {_place(record, one)}"),
                el("p", f"Row {one.row} of the source."),
                _command(record, _place(record, one)),
            ),
        ),
    )


def _picture(one: Mistake) -> Element | None:
    if one.image is None:
        return None
    pixels = np.clip(np.array(one.image), 0, 255).astype(np.uint8)
    height, width = pixels.shape
    return el(
        "img",
        src=data_uri(pixels),
        alt=f"row {one.row}",
        width=width,
        height=height,
        class_="pixels",
    )
