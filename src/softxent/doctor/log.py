"""A training log, as the rules see it: losses and accuracies with their lines and rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from softxent.doctor.printed import Printed

__all__ = ["Accuracy", "Log", "Row", "Split"]

Split = Literal["train", "validation", "test", ""]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """An accuracy as printed.

    Attributes:
        text: as it stood there.
        value: the fraction of correct rows.
        unit: how far the true fraction may be off, rounded or cut; 0 where rows were counted.
        correct, total: the counts, where they were printed.
        percent: the percentage beside the counts, where it was printed.
    """

    text: str
    value: float
    unit: float
    correct: int | None = None
    total: int | None = None
    percent: Printed | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one line says about one set of rows.

    Attributes:
        line: from 1; of a whole JSON file, the entry.
        split: which rows; empty where the line doesn't say.
        epoch: where it is known.
        loss, accuracy: as printed, where there are any.
        guessed: whether the split of one of them was taken from a neighbour's name.
    """

    line: int
    split: Split
    epoch: float | None
    loss: Printed | None
    accuracy: Accuracy | None
    guessed: bool = False

    @property
    def held_out(self) -> bool:
        """Whether these are said to be validation or test rows."""
        return self.split in ("validation", "test")

    @property
    def both(self) -> tuple[Printed, Accuracy]:
        """The loss and the accuracy of a row that has both, as those of `Log.pairs` have."""
        assert self.loss is not None
        assert self.accuracy is not None
        return self.loss, self.accuracy


@dataclass(frozen=True, kw_only=True)
class Log:
    """All rows of a log, and what the caller knows beside it.

    Attributes:
        rows: in the order of the log.
        classes: C, where the caller gave it.
        batch_size: rows a batch, where the caller gave it.
        written_batch_size: `batch_size = 64`, where the text says it once and for all.
        uncounted: lines with a number of correct rows and no total.
        stride: how many training rows lie between two progress lines; None where none are shown.
    """

    rows: tuple[Row, ...]
    classes: int | None = None
    batch_size: int | None = None
    written_batch_size: int | None = None
    uncounted: tuple[int, ...] = ()
    stride: int | None = None

    @cached_property
    def losses(self) -> tuple[Row, ...]:
        """The rows with a finite loss."""
        return tuple(row for row in self.rows if row.loss and math.isfinite(row.loss.value))

    @cached_property
    def pairs(self) -> tuple[Row, ...]:
        """The rows with a finite loss and an accuracy that can be."""
        return tuple(row for row in self.losses if row.accuracy and 0 <= row.accuracy.value <= 1)

    @cached_property
    def start_classes(self) -> int | None:
        """C; where it wasn't given, the number whose logarithm the first training loss is."""
        if self.classes is not None:
            return self.classes
        first = next((row.loss.value for row in self.losses if row.loss and not row.held_out), None)
        if first is None or not 0.6 < first < 7:
            return None
        classes = round(math.exp(first))
        return classes if abs(math.log(classes) - first) <= 0.02 else None
