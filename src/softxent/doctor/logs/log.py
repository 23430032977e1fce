"""A training log as the rules see it: losses and accuracies, with their lines and data splits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from softxent.doctor.printed_number import PrintedNumber

__all__ = ["Accuracy", "Log", "NotFinite", "Row", "Split"]

Split = Literal["train", "validation", "test", ""]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """A printed accuracy.

    Attributes:
        text: the accuracy as printed.
        value: the fraction of correct rows.
        resolution: how far the true fraction may be off, whether rounded or truncated; 0 if rows
            were counted.
        correct, total: the counts, if they were printed.
        percent: the percentage beside the counts, if it was printed.
    """

    text: str
    value: float
    resolution: float
    correct: int | None = None
    total: int | None = None
    percent: PrintedNumber | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one line says about one data split.

    Attributes:
        line: from 1; in a JSON file, the number of the entry.
        split: the data split; empty if the line doesn't say.
        epoch: if known.
        loss, accuracy: as printed, if present.
        guessed: whether the split of one of them was inferred from the number beside it.
        gradient_norm: as printed, if present.
    """

    line: int
    split: Split
    epoch: float | None
    loss: PrintedNumber | None
    accuracy: Accuracy | None
    guessed: bool = False
    gradient_norm: PrintedNumber | None = None

    @property
    def held_out(self) -> bool:
        """Whether the log says that these are validation or test rows."""
        return self.split in ("validation", "test")

    @property
    def both(self) -> tuple[PrintedNumber, Accuracy]:
        """The loss and the accuracy of a row in `Log.pairs`, which has both."""
        assert self.loss is not None
        assert self.accuracy is not None
        return self.loss, self.accuracy


@dataclass(frozen=True, slots=True, kw_only=True)
class NotFinite:
    """A NaN or an infinity under a name that may not be that of a cross-entropy: `box_loss: nan`.

    Attributes:
        line: as in `Row`.
        name, text: as printed.
    """

    line: int
    name: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Log:
    """All rows of a log, and what the caller knows besides.

    Attributes:
        rows: in the order of the log.
        classes: C, if the caller passed it.
        batch_size: rows per batch, if the caller passed it.
        written_classes: from `10 classes` or `num_classes = 10` in the text, if the text has only
            one number of classes.
        written_batch_size: from `batch_size = 64` in the text, if the text has only one.
        uncounted: lines with a number of correct rows but no total.
        stride: how many training rows lie between two progress lines; None if there are none.
        not_finite: NaN and infinities of losses that may not be cross-entropies.
        missing: lines whose loss is empty or null, where similar lines have one.
        signed: whether the log names a quantity whose loss may be negative, such as a reward.
    """

    rows: tuple[Row, ...]
    classes: int | None = None
    batch_size: int | None = None
    written_classes: int | None = None
    written_batch_size: int | None = None
    uncounted: tuple[int, ...] = ()
    stride: int | None = None
    not_finite: tuple[NotFinite, ...] = ()
    missing: tuple[int, ...] = ()
    signed: bool = False

    @cached_property
    def losses(self) -> tuple[Row, ...]:
        """The rows with a finite loss."""
        return tuple(row for row in self.rows if row.loss and math.isfinite(row.loss.value))

    @cached_property
    def pairs(self) -> tuple[Row, ...]:
        """The rows with a finite loss and an accuracy in [0, 1]."""
        return tuple(row for row in self.losses if row.accuracy and 0 <= row.accuracy.value <= 1)

    @cached_property
    def start_classes(self) -> int | None:
        """C: as passed, as written, or the number whose logarithm the first loss is."""
        known = self.classes or self.written_classes
        if known is not None:
            return known
        first = next((row.loss.value for row in self.losses if row.loss and not row.held_out), None)
        if first is None or not 0.6 < first < 7:
            return None
        classes = round(math.exp(first))
        return classes if abs(math.log(classes) - first) <= 0.02 else None
