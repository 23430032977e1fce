"""Which classes are taken for which."""

from __future__ import annotations

from collections.abc import Sequence

from softxent.render.markup import Element, el, name
from softxent.render.numbers import count, percent
from softxent.render.tables import scrolling, table
from softxent.report.metrics import Metrics

__all__ = ["section"]

_MOST_CLASSES = 40  # a larger matrix is not read cell by cell
_MOST_PAIRS = 30
_LEVELS = (0.005, 0.01, 0.02, 0.05, 0.10, 0.20)
"""Where the shading of a mistake's share of its class changes: most mistakes are rare."""


def section(classes: Sequence[str], metrics: Metrics) -> Element:
    """The confusion matrix, or for many classes the pairs that are confused most."""
    if metrics.classes <= _MOST_CLASSES:
        body = [_in_words(classes, metrics), _matrix(classes, metrics), _legend()]
    else:
        body = [_pairs(classes, metrics)]
    return el("section", el("h2", "Confused classes", id="confusion"), body)


def _in_words(classes: Sequence[str], metrics: Metrics) -> Element:
    pairs = metrics.confused_pairs()
    if not pairs:
        return el("p", "No test row was taken for another class.")
    phrases = [
        [
            ", " if i else "",
            el("b", name(classes[pair.target], 24)),
            " for " if i else " taken for ",
            el("b", name(classes[pair.predicted], 24)),
            f" ({count(pair.rows)} of {count(int(metrics.rows[pair.target]))} rows)",
        ]
        for i, pair in enumerate(pairs[:3])
    ]
    return el("p", "Most often: ", phrases, ".")


def _matrix(classes: Sequence[str], metrics: Metrics) -> Element:
    counts = metrics.confusion()
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
            (_cell(int(n), int(metrics.rows[i]), right=i == j) for j, n in enumerate(counts[i])),
            el("td", count(int(metrics.rows[i])), class_="total"),
        )
        for i in range(metrics.classes)
    ]
    matrix = el(
        "table",
        el("caption", "Test rows by true class (lines) and predicted class (columns)."),
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
    # What is right fills most of a line, so its shade is linear; mistakes need the fine steps.
    level = round(7 * share) if right else 1 + sum(share >= step for step in _LEVELS)
    return el("td", count(rows), class_=f"{'right' if right else 'wrong'} l{level}")


def _legend() -> Element:
    texts = [f"under {_LEVELS[0]:.1%}", *(f"{step:.1%}".replace(".0%", "%") for step in _LEVELS)]
    return el(
        "p",
        "Mistakes, as a share of all rows of their true class: ",
        (el("span", text, class_=f"swatch wrong l{level}") for level, text in enumerate(texts, 1)),
        " and more. What is right is ",
        el("span", "blue", class_="swatch right l7"),
        ", the deeper the larger its share.",
        class_="legend",
    )


def _pairs(classes: Sequence[str], metrics: Metrics) -> Element:
    pairs = metrics.confused_pairs()
    wrong = sum(pair.rows for pair in pairs)
    shown = pairs[:_MOST_PAIRS]
    body = table(
        f"The {count(len(shown))} most confused of {count(len(pairs))} confused pairs; together "
        f"{count(sum(pair.rows for pair in shown))} of {count(wrong)} mistakes.",
        [
            ("true class", "text"),
            ("taken for", "text"),
            ("rows", "number"),
            ("of the class", "number"),
        ],
        [
            [
                name(classes[pair.target], 32),
                name(classes[pair.predicted], 32),
                count(pair.rows),
                percent(pair.rows, int(metrics.rows[pair.target]), 1),
            ]
            for pair in shown
        ],
    )
    return scrolling("Most confused pairs", body)
