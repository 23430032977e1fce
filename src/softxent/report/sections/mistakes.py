"""The worst mistakes: the wrong predictions with the largest loss."""

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
    """The mistakes with the largest loss: cards for images, else a table."""
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
            "The wrong predictions with the largest losses, and the probabilities of the true and "
            "of the predicted class. Each is a hard row, or has a wrong label. To see how a row's "
            "loss is computed, run ",
            _command(record, "ROW"),
            ".",
        ),
        _cards(record, shown, classes) if pictured else _lines(record, shown, classes),
    )


def _test_row(record: Record, one: Mistake) -> int:
    """The number of the test row, as `softxent explain RUN --row` takes it."""
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
        f"{count(len(shown))} test rows. Rows are numbered from 0.",
        [
            ("test row", "number"),
            ("in the source", "number"),
            ("true class", "text"),
            ("its probability", "number"),
            ("predicted", "text"),
            ("its probability", "number"),
            ("loss (nats)", "number"),
            ("command", "whole"),
        ],
        [
            [
                str(_test_row(record, one)),
                str(one.row),
                name(classes[one.target], 32),
                _probability(one, one.target),
                name(classes[one.predicted], 32),
                _probability(one, one.predicted),
                _loss(one),
                _command(record, _test_row(record, one)),
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
                el("dt", "true ", el("b", name(classes[one.target], 16))),
                el("dd", _probability(one, one.target)),
                el("dt", "predicted ", el("b", name(classes[one.predicted], 16))),
                el("dd", _probability(one, one.predicted)),
                el("dt", "loss"),
                el("dd", f"{_loss(one)} nats"),
            ),
            el(
                "details",
                el("summary", f"test row {_test_row(record, one)}"),
                el("p", f"Row {one.row} of the source."),
                _command(record, _test_row(record, one)),
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
