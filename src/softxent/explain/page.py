"""A document as HTML: a page, or a fragment of a notebook. It runs no script."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from softxent.explain.steps import Block, Column, Detail, Document, Formula, Step, Table
from softxent.render.markup import Child, Element, el, name
from softxent.render.page import fragment, page, stylesheet
from softxent.render.tables import table

__all__ = ["write_fragment", "write_page"]

_STYLE = Path(__file__).with_name("style.css")


def write_page(document: Document, details: Iterable[Detail], caption: str) -> str:
    """A whole page.

    Args:
        document: what the page shows.
        details: what it can unfold.
        caption: what the numbers are of; may be empty.
    """
    return page(
        document.title,
        stylesheet(_STYLE),
        el("main", _article(document, details, caption), class_="softxent explain"),
        el("footer", el("p", "Made by softxent.")),
    )


def write_fragment(document: Document, details: Iterable[Detail]) -> str:
    """The output of a notebook's cell."""
    return fragment(_content(document, details), kind="explain", extensions=[_STYLE])


def _article(document: Document, details: Iterable[Detail], caption: str) -> Element:
    above = el("p", caption, class_="caption") if caption else None
    return el("article", above, _content(document, details))


def _content(document: Document, details: Iterable[Detail]) -> list[Element]:
    return [
        el("h1", document.title),
        _steps(document),
        *(el("details", el("summary", one.summary), _steps(one.document)) for one in details),
    ]


def _steps(document: Document) -> Element:
    outer, inner = ("ol", "li") if document.numbered else ("div", "section")
    steps = (el(inner, _heading(step), map(_block, step.blocks)) for step in document.steps)
    return el(outer, steps, class_="steps")


def _heading(step: Step) -> list[Element]:
    """The first sentence as a heading, the others below it."""
    first, stop, others = step.sentence.partition(". ")
    if not first:
        return []
    return [el("h2", first + stop.strip()), *([el("p", others)] if others else [])]


def _block(block: Block) -> Element:
    if isinstance(block, Table):
        rows = zip(*map(_cells, block.columns), strict=True)
        columns = [(column.head, column.kind) for column in block.columns]
        return el("div", table(None, columns, rows), class_="wide")
    if isinstance(block, Formula):
        return el("p", el("code", block.text), class_="formula")
    return el("p", block.text, class_="remark")


def _cells(column: Column) -> Sequence[Child]:
    if column.kind == "name":
        return [name(cell) for cell in column.cells]
    if column.kind in ("bar", "arrow"):
        draw = _bar if column.kind == "bar" else _arrow
        return [None if share is None else draw(share) for share in column.shares]
    return column.cells


def _bar(share: float) -> Element:
    """A bar from the left, as long as the share."""
    return _drawing(el("rect", width=f"{100 * share:.2f}%", height="100%", class_="up"))


def _arrow(share: float) -> Element:
    """A bar from the middle, to the right where the share is positive."""
    length = 50 * abs(share)
    x = 50 - length if share < 0 else 50
    return _drawing(
        el(
            "rect",
            x=f"{x:.2f}%",
            width=f"{length:.2f}%",
            height="100%",
            class_="down" if share < 0 else "up",
        ),
        el("line", x1="50%", x2="50%", y1="0", y2="100%"),
    )


def _drawing(*shapes: Element) -> Element:
    """Shapes for the eye alone: the number next to them says the same."""
    return el("svg", *shapes, width="100%", height="14", aria_hidden="true")
