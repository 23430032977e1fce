"""The trace of one loss: every number between the logits and the loss, then the gradient."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from softxent.errors import OptionError, ShapeError
from softxent.explain import typed
from softxent.explain.batch import SHOWN_ROWS, batch_story
from softxent.explain.binary import Binary, binary_of
from softxent.explain.change import WhatIf
from softxent.explain.numbers import margin_of, numbers_of
from softxent.explain.page import Detail, write_fragment, write_page
from softxent.explain.plain_data import plain_data
from softxent.explain.steps import row_story
from softxent.explain.story import Story
from softxent.explain.text import write_text
from softxent.ops.mean import Mean
from softxent.ops.spec import Reduction

__all__ = ["Trace"]

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Trace:
    """Every value on the way from N rows of C logits to a loss and its gradient.

    `print(trace)` tells it step by step; a notebook shows `trace` as a page; `to_html` and
    `to_json` are for keeping. Arrays are float64 unless said otherwise, read-only, and always have
    a row axis: one row of logits is a batch of one. Losses are in nats. What belongs to a target is
    None where no target was given.

    Attributes:
        dtype: the type of the logits: float64 (integers too), float32, float16 or bfloat16.
        logits: (N, C), as given.
        scaled: (N, C) u, the logits after the temperature and the softcap.
        maximum: (N,) the largest u of a row.
        shifted: (N, C) u - maximum.
        exponentials: (N, C) exp(u); may overflow to inf.
        exponential_sum: (N,) their sum; may overflow to inf.
        shifted_exponentials: (N, C) exp(u - maximum), at most 1.
        shifted_sum: (N,) their sum, from 1 to C.
        lse: (N,) log of the sum of exp(u), without overflow.
        log_probabilities: (N, C) u - lse.
        probabilities: (N, C) p, exp(u - lse).
        target: (N,) int64 class indices, or (N, C) class probabilities, as given.
        ignored: (N,) bool, the rows whose target is `ignore_index`.
        mass: (N, C) t, the target as a mass over the classes; 0 in ignored rows.
        mass_sum: (N,) s, the sum of t.
        target_probability: (N,) p of the target's class, NaN in ignored rows; None where the target
            is class probabilities.
        losses: (N,) each row's loss, s lse - sum_j t_j u_j + z_loss lse^2.
        row_gradient: (N, C) each row's loss derived by its logits.
        mean: the sum of the losses with the denominator of their mean.
        value: what `reduction` makes of the losses; None for "none".
        gradient: (N, C) `value` derived by the logits; for "none" the same as `row_gradient`.
        classes: (C,) class names; their numbers where none were given.
        named: whether names were given.
        weight: (C,) class weights, or None for ones.
        ignore_index, reduction, label_smoothing, z_loss, softcap, temperature: as given.
    """

    dtype: str
    logits: Float64
    scaled: Float64
    maximum: Float64
    shifted: Float64
    exponentials: Float64
    exponential_sum: Float64
    shifted_exponentials: Float64
    shifted_sum: Float64
    lse: Float64
    log_probabilities: Float64
    probabilities: Float64
    target: npt.NDArray[Any] | None = None
    ignored: npt.NDArray[np.bool_] | None = None
    mass: Float64 | None = None
    mass_sum: Float64 | None = None
    target_probability: Float64 | None = None
    losses: Float64 | None = None
    row_gradient: Float64 | None = None
    mean: Mean | None = None
    value: float | None = None
    gradient: Float64 | None = None
    classes: tuple[str, ...]
    named: bool
    weight: Float64 | None
    ignore_index: int
    reduction: Reduction
    label_smoothing: float
    z_loss: float
    softcap: float | None
    temperature: float

    @classmethod
    def of(
        cls,
        logits: Float64,
        dtype: str,
        target: npt.NDArray[Any] | None,
        options: dict[str, Any],
        *,
        reduction: Reduction,
        classes: tuple[str, ...],
        named: bool,
    ) -> Trace:
        """The trace of logits (N, C) and a target, both checked; `explain` checks them."""
        return cls(
            dtype=dtype,
            **numbers_of(logits, target, options, reduction),
            classes=classes,
            named=named,
            reduction=reduction,
            **options,
        )

    def __post_init__(self) -> None:
        typed.freeze(self)

    @property
    def computed(self) -> typed.Computed:
        """The same numbers as softxent computes them in the logits' own type."""
        return typed.compute(self.logits, self.dtype, self.target, self._options, self.reduction)

    @property
    def plain(self) -> tuple[typed.Plain, ...]:
        """What three plain formulas would have given in the logits' own type."""
        return typed.compute_plainly(self.logits, self.dtype, self.target, self._options)

    @property
    def binary(self) -> Binary | None:
        """Two classes as binary cross-entropy; None for any other number of classes."""
        if len(self.classes) != 2:
            return None
        return binary_of(self.scaled, self.mass, self.mass_sum)

    @property
    def margin(self) -> Float64:
        """By how much each logit alone would have to change to change the answer.

        (N, C): the rise that brings a logit level with the highest; for the highest itself the fall
        to the next, below 0. Infinite where nothing that is finite does it; NaN in rows with a NaN.
        """
        return margin_of(self.logits)

    def row(self, index: int) -> Trace:
        """One row of the batch alone, with the same options, before the reduction.

        Args:
            index: which row; negative ones count from the end.

        Raises:
            OptionError: there is no such row.

        Example:
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
        return self._again(self.logits[index : index + 1], target, "none")

    def what_if(self, changes: Mapping[int, float]) -> WhatIf:
        """The same row with other logits, and what that does to the probabilities and the loss.

        Args:
            changes: the new logits by class index.

        Returns:
            A `WhatIf`, which holds both traces: print it.

        Raises:
            ShapeError: the trace has more than one row.
            OptionError: there is no such class, or the number is too large for the logits' type.

        Example:
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
            logits[0, index] = typed.rounded(np.float64(logit), self.dtype)
            if np.isinf(logits[0, index]) and np.isfinite(logit):
                raise OptionError(f"[explain] {logit} is too large for {self.dtype}.")
        return WhatIf(self, self._again(logits, self.target, self.reduction))

    def _again(
        self, logits: Float64, target: npt.NDArray[Any] | None, reduction: Reduction
    ) -> Trace:
        return Trace.of(
            logits,
            self.dtype,
            target,
            self._options,
            reduction=reduction,
            classes=self.classes,
            named=self.named,
        )

    @property
    def _options(self) -> dict[str, Any]:
        return {
            "weight": self.weight,
            "ignore_index": self.ignore_index,
            "label_smoothing": self.label_smoothing,
            "z_loss": self.z_loss,
            "softcap": self.softcap,
            "temperature": self.temperature,
        }

    def _story(self) -> Story:
        return row_story(self) if len(self.logits) == 1 else batch_story(self)

    def text(self, *, colour: bool = False) -> str:
        """In words and numbers: one row step by step, or a batch row by row.

        Args:
            colour: with a terminal's escape sequences for colours; else as plain text.
        """
        return write_text(self._story(), colour=colour)

    def to_dict(self) -> dict[str, Any]:
        """All numbers as lists, dictionaries and strings, as `to_json` writes them."""
        return {
            "format": "softxent.trace",
            "version": 1,
            **plain_data(self),
            "binary": plain_data(self.binary),
            "margin": plain_data(self.margin),
            "computed": plain_data(self.computed),
            "plain": plain_data(self.plain),
        }

    def to_json(self, *, indent: int | None = None) -> str:
        """All numbers as JSON.

        Every float64 reads back to the same bits; numbers of other types are written as the float64
        of the same value. JSON has no infinities and no NaN: they are the strings "Infinity",
        "-Infinity" and "NaN", which Python's `float` and JavaScript's `Number` read.

        Args:
            indent: by how many columns to indent; None for a single line.
        """
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def to_html(self, *, caption: str = "") -> str:
        """The explanation as a page of its own: no script, and nothing fetched from anywhere.

        Args:
            caption: what the numbers are of; stands above the title.
        """
        return write_page(self._story(), self._details(), caption)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return write_fragment(self._story(), self._details())

    def _details(self) -> list[Detail]:
        """The shown rows of a batch, step by step."""
        rows = len(self.logits)
        if rows == 1:
            return []
        stories = [row_story(self.row(index)) for index in range(min(rows, SHOWN_ROWS))]
        return [Detail(f"Row {index}: {story.title}", story) for index, story in enumerate(stories)]

    def __str__(self) -> str:
        more = "" if len(self.logits) < 2 else "\n\nA row step by step: print(trace.row(0))"
        return self.text() + more

    def __repr__(self) -> str:
        rows, classes = self.logits.shape
        loss = "" if self.value is None else f", {self.reduction}={self.value!r}"
        return f"<Trace of {rows} x {classes} logits{loss}>"
