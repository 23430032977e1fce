"""What `explain` returns: the numbers, which can be read as text, as a page or as JSON."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from softxent.errors import OptionError, ShapeError
from softxent.explain.json_data import trace_data, what_if_data
from softxent.explain.numbers import Numbers, rounded
from softxent.explain.page import write_fragment, write_page
from softxent.explain.steps import (
    Detail,
    Document,
    batch_details,
    batch_document,
    row_document,
    what_if_details,
    what_if_document,
    what_if_title,
)
from softxent.explain.text import write_text

__all__ = ["Trace", "WhatIf"]


class _Explanation(ABC):
    """What `Trace` and `WhatIf` have in common: their output."""

    __slots__ = ()

    @abstractmethod
    def _document(self) -> Document: ...

    @abstractmethod
    def _details(self) -> list[Detail]: ...

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """All numbers as lists, dictionaries and strings, as `to_json` writes them."""

    def to_json(self, *, indent: int | None = None) -> str:
        """All numbers as JSON.

        Every float64 reads back to the same bits; numbers of other dtypes are written as the
        float64 of the same value. JSON has no infinities and no NaN: they are the strings
        "Infinity", "-Infinity" and "NaN", which Python's `float` and JavaScript's `Number` read.

        Args:
            indent: the number of columns to indent; None for a single line.
        """
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def text(self, *, colour: bool = False) -> str:
        """The explanation in words and numbers, at most 80 columns wide.

        Args:
            colour: whether to add a terminal's escape sequences for colours.
        """
        return write_text(self._document(), colour=colour)

    def to_html(self, *, caption: str = "") -> str:
        """The explanation as a whole page, which runs no script and fetches nothing.

        Args:
            caption: what the numbers are of; shown above the title.
        """
        return write_page(self._document(), self._details(), caption)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return write_fragment(self._document(), self._details())


class Trace(Numbers, _Explanation):
    """Every value on the way from N rows of C logits to a loss and its gradient.

    `print(trace)` explains it step by step: one row from its logits to its gradient, or a batch row
    by row. A notebook shows `trace` as a page; `to_html` and `to_json` are for files. The numbers
    are attributes, which `softxent.explain.numbers.Numbers` lists.
    """

    __slots__ = ()

    def row(self, index: int) -> Trace:
        """One row of the batch, with the same options, before the reduction.

        Args:
            index: which row; negative ones count from the end.

        Raises:
            OptionError: there is no such row.

        Example:
            >>> from softxent import explain
            >>> batch = explain([[2, -1, 0.1], [2.5, 2, 1.8]], [2, 0])
            >>> batch.row(1).losses.round(4)
            array([0.7434])
        """
        rows = len(self.logits)
        if not -rows <= index < rows:
            raise OptionError(
                f"[explain] there is no row {index}: this trace has {rows:,}"
                f"{f', 0 to {rows - 1}' if rows else ''}."
            )
        index %= rows
        target = None if self.target is None else self.target[index : index + 1]
        return self.replaced(self.logits[index : index + 1], target, "none")

    def what_if(self, changes: Mapping[int, float]) -> WhatIf:
        """The same row with other logits, and how that changes the probabilities and the loss.

        Args:
            changes: the new logits by class index.

        Returns:
            A `WhatIf`, which holds both traces: print it.

        Raises:
            ShapeError: the trace has more than one row.
            OptionError: there is no such class, or the number is too large for the logits' dtype.

        Example:
            >>> from softxent import explain
            >>> changed = explain([2, -1, 0.1], 2).what_if({2: 3.5})
            >>> round(changed.before.value, 4), round(changed.after.value, 4)
            (2.0818, 0.2105)
        """
        rows, count = self.logits.shape
        if rows != 1:
            raise ShapeError(
                f"[explain] what_if changes a single row, and this trace has {rows:,}: choose one, "
                "e.g. trace.row(0).what_if(...)."
            )
        logits = self.logits.copy()
        for index, logit in changes.items():
            if not 0 <= index < count:
                raise OptionError(
                    f"[explain] there is no logit {index} to set: there are {count}, 0 to "
                    f"{count - 1}."
                )
            logits[0, index] = rounded(np.float64(logit), self.dtype)
            if np.isinf(logits[0, index]) and np.isfinite(logit):
                raise OptionError(f"[explain] {logit} is too large for {self.dtype}.")
        return WhatIf(self, self.replaced(logits, self.target, self.reduction))

    def to_dict(self) -> dict[str, Any]:
        """All numbers as lists, dictionaries and strings, as `to_json` writes them."""
        return trace_data(self)

    def _document(self) -> Document:
        return row_document(self) if len(self.logits) == 1 else batch_document(self)

    def _details(self) -> list[Detail]:
        return [] if len(self.logits) == 1 else batch_details(self)

    def __str__(self) -> str:
        hint = "\n\nTo see a row step by step: print(trace.row(0))" if len(self.logits) > 1 else ""
        return self.text() + hint

    def __repr__(self) -> str:
        rows, classes = self.logits.shape
        loss = "" if self.value is None else f", {self.reduction}={self.value!r}"
        return f"<Trace of {rows} x {classes} logits{loss}>"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class WhatIf(_Explanation):
    """One row before and after some of its logits were changed; `print` compares the two.

    Attributes:
        before: the trace of the row as it was.
        after: the trace of the row with the changed logits.
    """

    before: Trace
    after: Trace

    def to_dict(self) -> dict[str, Any]:
        """Both traces, as `Trace.to_dict` returns them."""
        return what_if_data(self.before, self.after)

    def _document(self) -> Document:
        return what_if_document(self.before, self.after)

    def _details(self) -> list[Detail]:
        return what_if_details(self.before, self.after)

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return f"<WhatIf {what_if_title(self.before, self.after)}>"
