"""A document as text for a terminal: at most 80 columns, in colour on request."""

from __future__ import annotations

from collections.abc import Iterator

from softxent.explain.steps import Column, Document, Formula, Table
from softxent.render.terminal import Style, paint
from softxent.render.text import bar, pad, signed_bar, width, wrap

__all__ = ["write_text"]

_INDENT = "     "


def write_text(document: Document, *, colour: bool = False) -> str:
    """The whole document, without a line break at the end."""
    return "\n".join(_lines(document, colour))


def _lines(document: Document, colour: bool) -> Iterator[str]:
    yield from _painted(wrap(document.title), "title", colour)
    margin = "   " if document.numbered else ""
    for number, step in enumerate(document.steps, start=1):
        yield ""
        head = f"{number}. " if document.numbered else ""
        yield from _painted(wrap(head + step.sentence, "", margin), "heading", colour)
        for block in step.blocks:
            if isinstance(block, Table):
                yield from _table(block, colour)
            elif isinstance(block, Formula):
                yield from wrap(block.text, _INDENT, _INDENT + "  ")
            else:
                yield from wrap(block.text, margin, margin)


def _table(table: Table, colour: bool) -> Iterator[str]:
    headed = any(column.head for column in table.columns)
    columns = [_cells(column, headed, colour) for column in table.columns]
    for row in zip(*columns, strict=True):
        yield (_INDENT + "  ".join(row)).rstrip()


def _cells(column: Column, headed: bool, colour: bool) -> list[str]:
    """A column's cells, all of one width."""
    styles: list[Style | None]
    if column.kind == "bar":
        cells = ["" if share is None else bar(share) for share in column.shares]
        styles = ["bar"] * len(cells)
    elif column.kind == "arrow":
        cells = ["" if share is None else signed_bar(share) for share in column.shares]
        styles = ["negative" if (share or 0) < 0 else "positive" for share in column.shares]
    else:
        cells = list(column.cells)
        styles = ["marker" if column.kind == "mark" else None] * len(cells)
    if headed:
        cells, styles = [column.head, *cells], [None, *styles]
    if column.kind not in ("bar", "arrow", "mark"):
        widest = max(map(width, cells))
        cells = [pad(cell, widest) for cell in cells]
    return [paint(cell, style, colour=colour) for cell, style in zip(cells, styles, strict=True)]


def _painted(lines: list[str], style: Style, colour: bool) -> Iterator[str]:
    for line in lines:
        yield paint(line, style, colour=colour)
