"""Precision, recall, F1 and loss of each class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from softxent.metrics import Metrics
from softxent.render.markup import Child, Element, el, name
from softxent.render.numbers import MISSING, count, loss, percent
from softxent.render.tables import scrolling, table

__all__ = ["section"]

_MOST_CLASSES = 200


def section(classes: Sequence[str], metrics: Metrics) -> Element:
    """Rows, precision, recall, F1 and mean loss of each class."""
    counts = metrics.counts
    shown, which = list(range(metrics.classes)), f"{count(metrics.classes)} classes"
    if metrics.classes > _MOST_CLASSES:
        mistakes = counts.rows - counts.correct
        shown = sorted(np.argsort(-mistakes, kind="stable")[:_MOST_CLASSES].tolist())
        which = f"The {_MOST_CLASSES} of {which} with the most mistakes"
    precision, recall, f1 = counts.precision, counts.recall, counts.f1
    lines: list[list[Child]] = [
        [
            name(classes[i]),
            count(int(counts.rows[i])),
            percent(int(counts.correct[i]), int(counts.predicted[i]), 1),
            [_bar(float(recall[i])), percent(int(counts.correct[i]), int(counts.rows[i]), 1)],
            percent(2 * int(counts.correct[i]), int(counts.rows[i] + counts.predicted[i]), 1),
            loss(float(metrics.mean_loss[i])) if counts.rows[i] else MISSING,
        ]
        for i in shown
    ]
    mean = ["class mean", "", _mean(precision), _mean(recall), _mean(f1)]
    mean.append(loss(_plain_mean(metrics.mean_loss)))
    body = table(
        f"{which}, on {count(len(metrics.target))} test rows.",
        [
            ("class", "text"),
            ("rows", "number"),
            ("precision", "number"),
            ("recall", "number"),
            ("F1", "number"),
            ("mean loss (nats)", "number"),
        ],
        lines,
        foot=[mean],
        class_="wide",
    )
    return el(
        "section",
        el("h2", "Classes", id="classes"),
        el(
            "p",
            "Precision is the share of the rows predicted as the class that belong to it. Recall "
            "is the share of the class's rows that are predicted as it. F1 is the harmonic mean "
            "of the two. A dash means that there is nothing to divide by.",
        ),
        scrolling("Classes", body),
    )


def _plain_mean(values: npt.NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _mean(shares: npt.NDArray[np.float64]) -> str:
    return percent(_plain_mean(shares), 1, 1)


def _bar(share: float) -> Element:
    return el(
        "svg",
        el("rect", width=60, height=6, class_="trough"),
        el("rect", width=60 * share, height=6, class_="fill") if share > 0 else None,
        viewBox="0 0 60 6",
        class_="bar",
        aria_hidden="true",
    )
