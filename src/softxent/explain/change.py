"""What if: the same row with other logits, before and after."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from softxent.explain.page import Detail, write_fragment, write_page
from softxent.explain.row import goal_of, label, mark, why_nan
from softxent.explain.steps import row_story, shown_classes
from softxent.explain.story import Block, Column, Formula, Remark, Step, Story, Table
from softxent.explain.text import write_text
from softxent.render.numbers import exact, short, with_sign
from softxent.render.text import align_decimals

if TYPE_CHECKING:
    from softxent.explain.trace import Trace

__all__ = ["WhatIf"]

_NAME_WIDTH = 11


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class WhatIf:
    """One row before and after some of its logits were changed; `print` compares the two.

    Attributes:
        before: the trace of the row as it was.
        after: the trace of the row as it would be.
    """

    before: Trace
    after: Trace

    def text(self, *, colour: bool = False) -> str:
        """The probabilities and the loss, before and after.

        Args:
            colour: as `Trace.text`.
        """
        return write_text(self._story(), colour=colour)

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return f"<WhatIf {_title(self.before, self.after)}>"

    def to_dict(self) -> dict[str, Any]:
        """Both traces, as `Trace.to_dict` gives them."""
        return {
            "format": "softxent.what_if",
            "version": 1,
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
        }

    def to_json(self, *, indent: int | None = None) -> str:
        """Both traces as JSON, as `Trace.to_json` writes it."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def to_html(self, *, caption: str = "") -> str:
        """The comparison as a page of its own, with the row after the change step by step.

        Args:
            caption: what the numbers are of; stands above the title.
        """
        return write_page(self._story(), self._details(), caption)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return write_fragment(self._story(), self._details())

    def _details(self) -> list[Detail]:
        """Both rows step by step."""
        return [
            Detail(f"{when}: {story.title}", story)
            for when, story in (
                ("Before", row_story(self.before)),
                ("After", row_story(self.after)),
            )
        ]

    def _story(self) -> Story:
        return _story(self.before, self.after)


def _title(before: Trace, after: Trace) -> str:
    changed = _changed(before, after)
    if not changed:
        return "What if nothing changed"
    if len(changed) > 1:
        return f"What if {len(changed)} logits were others"
    new = exact(after.logits[0, changed[0]])
    return f"What if the logit of {label(before, changed[0])} were {new}"


def _changed(before: Trace, after: Trace) -> list[int]:
    old, new = before.logits[0], after.logits[0]
    return np.flatnonzero(~((old == new) | (np.isnan(old) & np.isnan(new)))).tolist()


def _story(before: Trace, after: Trace) -> Story:
    goal = goal_of(before, 0)
    changed = _changed(before, after)
    shown = shown_classes(before, goal)
    shown += [index for index in changed if index not in shown]
    steps = [_logits(before, after, changed)] if changed else []
    steps += [_probabilities(before, after, shown), _answer(before, after)]
    if goal is not None and not goal.ignored:
        steps.append(_loss(before, after, changed))
    return Story(_title(before, after), steps, numbered=False)


def _logits(before: Trace, after: Trace, changed: list[int]) -> Step:
    columns = (
        Column([label(before, index) for index in changed], "name"),
        Column(
            align_decimals([exact(value) for value in before.logits[0, changed]]), head="before"
        ),
        Column(align_decimals([exact(value) for value in after.logits[0, changed]]), head="after"),
    )
    return Step("The logits that change:", [Table(columns)])


def _probabilities(before: Trace, after: Trace, shown: list[int]) -> Step:
    goal = goal_of(before, 0)
    old, new = before.probabilities[0, shown], after.probabilities[0, shown]
    marks = [mark(index, goal).strip("<- ") for index in shown]
    moves = [None if math.isnan(move) else move for move in (new - old).tolist()]
    columns = [
        Column([label(before, index, _NAME_WIDTH) for index in shown], "name"),
        Column([short(value) for value in old], head="before"),
        Column([short(value) for value in new], head="after"),
        Column(marks, "note"),
        Column(kind="arrow", shares=moves, head="change"),
    ]
    return Step("The probabilities:", [Table(tuple(columns))])


def _answer(before: Trace, after: Trace) -> Step:
    answers = [
        "none" if why_nan(trace.scaled[0]) else label(trace, int(trace.logits[0].argmax()))
        for trace in (before, after)
    ]
    if answers[0] == answers[1]:
        return Step(f"The answer stays {answers[0]}.")
    return Step(f"The answer changes from {answers[0]} to {answers[1]}.")


def _loss(before: Trace, after: Trace, changed: list[int]) -> Step:
    old, new = goal_of(before, 0), goal_of(after, 0)
    assert old is not None
    assert new is not None
    blocks: list[Block] = [
        Formula(f"before  {exact(old.loss)}"),
        Formula(f"after   {exact(new.loss)}"),
    ]
    with np.errstate(invalid="ignore"):
        moves = after.logits[0, changed] - before.logits[0, changed]
        straight = float(old.gradient[changed] @ moves) if changed else 0.0
        change = float(np.subtract(new.loss, old.loss))
    if changed and np.isfinite([straight, change]).all():
        blocks.append(
            Remark(
                f"A change of {with_sign(float(short(change)))}. The gradient, times the change of "
                f"the logit{'s' * (len(changed) > 1)}, would have said "
                f"{with_sign(float(short(straight)))}: it is the slope at the start, right for "
                "small steps."
            )
        )
    return Step("The loss:", blocks)
