"""A story as HTML: a page of its own, or a piece of a notebook. Nothing in it runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from softxent.explain.story import Block, Column, Formula, Step, Story, Table
from softxent.render.markup import Element, el, name, to_html
from softxent.render.page import page, stylesheet

__all__ = ["Detail", "write_fragment", "write_page"]

_STYLE = Path(__file__).with_name("style.css")


class Detail(NamedTuple):
    """A story that is told on demand."""

    summary: str
    story: Story


def write_page(story: Story, details: Iterable[Detail], caption: str) -> str:
    """A whole page.

    Args:
        story: what the page tells.
        details: what it can unfold.
        caption: what the numbers are of; empty for nothing.
    """
    return page(
        story.title,
        stylesheet(_STYLE),
        el("main", _article(story, details, caption), class_="softxent"),
        el("footer", el("p", "Made by softxent.")),
    )


def write_fragment(story: Story, details: Iterable[Detail]) -> str:
    """A piece of a page, with its style; it takes its colours from the page around it."""
    style = _STYLE.read_text(encoding="utf-8")
    return to_html(el("div", el("style", style), _article(story, details, ""), class_="softxent"))


def _article(story: Story, details: Iterable[Detail], caption: str) -> Element:
    return el(
        "article",
        el("p", caption, class_="caption") if caption else None,
        el("h1", story.title),
        _steps(story),
        (el("details", el("summary", detail.summary), _steps(detail.story)) for detail in details),
    )


def _steps(story: Story) -> Element:
    return el("ol" if story.numbered else "div", _each(story), class_="steps")


def _each(story: Story) -> Iterable[Element]:
    for step in story.steps:
        yield el("li" if story.numbered else "section", _head(step), map(_block, step.blocks))


def _head(step: Step) -> list[Element]:
    """The first sentence as a heading, and the rest below it."""
    first, stop, rest = step.sentence.partition(". ")
    if not first:
        return []
    return [el("h2", first + stop.strip()), *([el("p", rest)] if rest else [])]


def _block(block: Block) -> Element:
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Formula):
        return el("p", el("code", block.text), class_="formula")
    return el("p", block.text, class_="remark")


def _table(table: Table) -> Element:
    columns = table.columns
    rows = zip(*(_cells(column) for column in columns), strict=True)
    head = None
    if any(column.head for column in columns):
        head = el(
            "thead", el("tr", (el("th", c.head, class_=c.kind, scope="col") for c in columns))
        )
    return el("div", el("table", head, el("tbody", (el("tr", row) for row in rows))), class_="wide")


def _cells(column: Column) -> Sequence[Element]:
    if column.kind == "name":
        return [el("th", name(cell), class_="name", scope="row") for cell in column.cells]
    if column.kind in ("bar", "arrow"):
        draw = _bar if column.kind == "bar" else _arrow
        return [
            el("td", None if share is None else draw(share), class_=column.kind)
            for share in column.shares
        ]
    return [el("td", cell, class_=column.kind) for cell in column.cells]


def _bar(share: float) -> Element:
    """From the left, as long as the share; the number beside it says the same."""
    return _drawing(el("rect", width=f"{100 * share:.2f}%", height="100%", class_="up"))


def _arrow(share: float) -> Element:
    """From the middle, to the right where positive."""
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
    return el("svg", *shapes, width="100%", height="14", aria_hidden="true")
