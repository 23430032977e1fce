"""The parts of an explanation, before it is rendered as text or as a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["Block", "Column", "Detail", "Document", "Formula", "Remark", "Step", "Table"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Attributes:
        cells: the text of each row; numbers have their decimal points aligned.
        kind: `name` of a class, `number`, `mark` of the target, `note` in words; or a column
            without cells: `bar` from 0 to 1, `arrow` from -1 to 1.
        head: the header, where the table has one.
        shares: the lengths of bars or arrows; None for none.
    """

    cells: Sequence[str] = ()
    kind: Literal["name", "number", "mark", "note", "bar", "arrow"] = "number"
    head: str = ""
    shares: Sequence[float | None] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of equal length."""

    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class Formula:
    """A line of arithmetic."""

    text: str


@dataclass(frozen=True, slots=True)
class Remark:
    """A sentence or two below a table or a formula."""

    text: str


Block: TypeAlias = Table | Formula | Remark


@dataclass(frozen=True, slots=True)
class Step:
    """A sentence, and the blocks below it."""

    sentence: str
    blocks: Sequence[Block] = ()


@dataclass(frozen=True, slots=True)
class Document:
    """A title and its steps.

    Attributes:
        title: what is explained.
        steps: in order.
        numbered: whether each step follows from the one before.
    """

    title: str
    steps: Sequence[Step]
    numbered: bool = True


@dataclass(frozen=True, slots=True)
class Detail:
    """A document that a page can unfold, and the line that stands for it."""

    summary: str
    document: Document
