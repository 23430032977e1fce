"""A story as text for a terminal: at most 80 columns, in colour only where asked for."""

from __future__ import annotations

from collections.abc import Iterator

from softxent.explain.layout import INDENT, bar, pad, sign_bar, width_of, wrap
from softxent.explain.story import Column, Formula, Story, Table

__all__ = ["write_text"]

_TITLE, _STEP, _BAR, _DOWN, _UP, _MARK = "1;36", "1", "36", "34", "33", "32"


def write_text(story: Story, *, colour: bool = False) -> str:
    """The whole story, without a line break at the end."""
    return "\n".join(_lines(story, colour))


def _lines(story: Story, colour: bool) -> Iterator[str]:
    yield from _painted(wrap(story.title), _TITLE, colour)
    margin = "   " if story.numbered else ""
    for number, step in enumerate(story.steps, start=1):
        yield ""
        head = f"{number}. " if story.numbered else ""
        yield from _painted(wrap(head + step.sentence, "", margin), _STEP, colour)
        for block in step.blocks:
            if isinstance(block, Table):
                yield from _table(block, colour)
            elif isinstance(block, Formula):
                yield from wrap(block.text, INDENT, INDENT + "  ")
            else:
                yield from wrap(block.text, margin, margin)


def _table(table: Table, colour: bool) -> Iterator[str]:
    headed = any(column.head for column in table.columns)
    columns = [_cells(column, headed, colour) for column in table.columns]
    for row in zip(*columns, strict=True):
        yield (INDENT + "  ".join(row)).rstrip()


def _cells(column: Column, headed: bool, colour: bool) -> list[str]:
    """A column's cells, all of one width."""
    if column.kind == "bar":
        cells = ["" if share is None else bar(share) for share in column.shares]
        colours = [_BAR] * len(cells)
    elif column.kind == "arrow":
        cells = ["" if share is None else sign_bar(share) for share in column.shares]
        colours = [_DOWN if (share or 0) < 0 else _UP for share in column.shares]
    else:
        cells = list(column.cells)
        colours = [_MARK if column.kind == "mark" else ""] * len(cells)
    if headed:
        cells, colours = [column.head, *cells], ["", *colours]
    width = max(map(width_of, cells))
    padded = cells if column.kind in ("bar", "arrow", "mark") else [pad(c, width) for c in cells]
    return [_paint(cell, code, colour) for cell, code in zip(padded, colours, strict=True)]


def _painted(lines: list[str], code: str, colour: bool) -> Iterator[str]:
    for line in lines:
        yield _paint(line, code, colour)


def _paint(text: str, code: str, colour: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if colour and code and text.strip() else text
