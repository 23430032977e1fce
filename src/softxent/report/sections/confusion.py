"""Which classes are confused with which."""

from __future__ import annotations

from collections.abc import Sequence

from softxent.metrics import Metrics
from softxent.render.markup import Element, el, name
from softxent.render.numbers import count, percent
from softxent.render.tables import scrolling, table

__all__ = ["section"]

_MOST_CLASSES = 40  # nobody reads a larger matrix cell by cell
_MOST_PAIRS = 30
_LEVELS = (0.005, 0.01, 0.02, 0.05, 0.10, 0.20)
"""Shares of a class at which the shading of a mistake changes; fine, since most are rare."""


def section(classes: Sequence[str], metrics: Metrics) -> Element:
    """The confusion matrix, or for many classes the most confused pairs."""
    if metrics.classes <= _MOST_CLASSES:
        body = [_in_words(classes, metrics), _matrix(classes, metrics), _legend()]
    else:
        body = [_pairs(classes, metrics)]
    return el("section", el("h2", "Confused classes", id="confusion"), body)


def _in_words(classes: Sequence[str], metrics: Metrics) -> Element:
    pairs = metrics.confusions()
    if not pairs:
        return el("p", "No test row was predicted as another class.")
    phrases = [
        [
            ", " if i else "",
            el("b", name(classes[pair.target], 24)),
            " as " if i else " is predicted as ",
            el("b", name(classes[pair.predicted], 24)),
            f" ({count(pair.rows)} of {count(int(metrics.counts.rows[pair.target]))} rows)",
        ]
        for i, pair in enumerate(pairs[:3])
    ]
    return el("p", "Most often ", phrases, ".")


def _matrix(classes: Sequence[str], metrics: Metrics) -> Element:
    counts = metrics.confusion_matrix()
    rows: list[int] = metrics.counts.rows.tolist()
    longest = 14 if metrics.classes <= 12 else 10
    wordy = max(len(one) for one in classes) > 3 and metrics.classes > 5
    head = el(
        "tr",
        el("th", "true class", scope="col", class_="text"),
        (
            el(
                "th",
                el("span", name(one, longest)),
                scope="col",
                class_="turned" if wordy else None,
            )
            for one in classes
        ),
        el("th", "rows", scope="col", class_="total"),
    )
    lines = [
        el(
            "tr",
            el("th", name(classes[i], longest), scope="row", class_="text"),
            (_cell(int(n), rows[i], right=i == j) for j, n in enumerate(counts[i])),
            el("td", count(rows[i]), class_="total"),
        )
        for i in range(metrics.classes)
    ]
    matrix = el(
        "table",
        el("caption", "Number of test rows by true class (down) and predicted class (across)."),
        el("thead", head),
        el("tbody", lines),
        class_="matrix finest"
        if metrics.classes > 26
        else "matrix fine"
        if metrics.classes > 16
        else "matrix",
    )
    return scrolling("Confusion matrix", matrix)


def _cell(rows: int, of: int, *, right: bool) -> Element:
    if not rows:
        return el("td", "·", class_="none right" if right else "none")
    share = rows / of
    # Correct predictions take most of a row: linear shades. Mistakes need finer steps.
    level = round(7 * share) if right else 1 + sum(share >= step for step in _LEVELS)
    return el("td", count(rows), class_=f"{'right' if right else 'wrong'} l{level}")


def _legend() -> Element:
    texts = [f"under {_LEVELS[0]:.1%}", *(f"{step:.1%}".replace(".0%", "%") for step in _LEVELS)]
    return el(
        "p",
        "Mistakes, as a share of all rows of their true class: ",
        (el("span", text, class_=f"swatch wrong l{level}") for level, text in enumerate(texts, 1)),
        " and more. Correct predictions are ",
        el("span", "blue", class_="swatch right l7"),
        ", the deeper the larger their share.",
        class_="legend",
    )


def _pairs(classes: Sequence[str], metrics: Metrics) -> Element:
    pairs = metrics.confusions()
    wrong = sum(pair.rows for pair in pairs)
    shown = pairs[:_MOST_PAIRS]
    body = table(
        f"The {count(len(shown))} most confused of {count(len(pairs))} confused pairs; together "
        f"{count(sum(pair.rows for pair in shown))} of {count(wrong)} mistakes.",
        [
            ("true class", "text"),
            ("predicted as", "text"),
            ("rows", "number"),
            ("of the class", "number"),
        ],
        [
            [
                name(classes[pair.target], 32),
                name(classes[pair.predicted], 32),
                count(pair.rows),
                percent(pair.rows, int(metrics.counts.rows[pair.target]), 1),
            ]
            for pair in shown
        ],
    )
    return scrolling("Most confused pairs", body)
