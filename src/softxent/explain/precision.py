"""What the logits' own type makes of a loss, and where plain formulas go wrong in it, in words."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from softxent.explain.row import Goal, names_of
from softxent.explain.story import Block, Column, Remark, Step, Table
from softxent.explain.typed import EPSILON, Plain
from softxent.render.numbers import exact, plural, short
from softxent.render.text import align_decimals

if TYPE_CHECKING:
    from softxent.explain.trace import Trace

__all__ = ["type_notes", "type_step"]

_LARGEST = {"float64": "1.8e308", "float32": "3.4e38", "float16": "65504", "bfloat16": "3.4e38"}
_DIGITS_LOST = 1000  # three decimal digits: more than rounding, so it has a cause to be told


def type_step(trace: Trace, shown: list[int], goal: Goal | None) -> Iterator[Step]:
    """What one row's type makes of it; nothing where float64 and plain formulas do well."""
    if goal is not None and goal.ignored:
        return
    dtype, plain = trace.dtype, trace.plain
    wrong = [way for way in plain if _is_wrong(trace, way, goal)]
    if dtype == "float64" and not wrong:
        return
    blocks: list[Block] = [] if dtype == "float64" else [_computed(trace, shown)]
    sentence = "what softxent computes"
    if goal is not None:
        sentence += ", and what plain formulas give"
        blocks.append(_losses(trace, plain, goal))
    reasons: dict[str, list[str]] = {}
    for way in wrong:
        reasons.setdefault(_why(trace, way, goal), []).append(way.way)
    blocks += [Remark(f"{' and '.join(ways)}: {reason}") for reason, ways in reasons.items()]
    owner = "" if dtype == "float64" else ", the logits' own type"
    yield Step(f"In {dtype}{owner}: {sentence}.", blocks)


def type_notes(trace: Trace) -> Iterator[Step]:
    """What plain formulas would do to a batch; nothing where they do well."""
    if trace.losses is None:
        return
    truth = trace.losses
    remarks = []
    for way in trace.plain:
        assert way.losses is not None
        given = way.losses.astype(np.float64)
        with np.errstate(invalid="ignore"):
            near = np.abs(given - truth) <= _allowed(trace.dtype) * np.abs(truth)
        wrong = np.flatnonzero(~(near | (given == truth) | np.isnan(truth)))
        if len(wrong):
            first = wrong[0]
            remarks.append(
                Remark(
                    f"{way.way}: {plural(len(wrong), 'row')}; row {first:,} would have "
                    f"{short(given[first])} instead of {short(truth[first])}."
                )
            )
    if remarks:
        yield Step(f"Where plain formulas would go wrong in {trace.dtype}:", remarks)


def _allowed(dtype: str) -> float:
    return min(_DIGITS_LOST * EPSILON[dtype], 0.05)


def _is_wrong(trace: Trace, way: Plain, goal: Goal | None) -> bool:
    if goal is None:
        error = np.abs(way.probabilities[0] - trace.probabilities[0]).max()
        return not error <= _allowed(trace.dtype)
    return _error(_loss(way), goal.loss) > _allowed(trace.dtype)


def _loss(way: Plain) -> float:
    assert way.losses is not None
    return float(way.losses[0])


def _error(value: float, truth: float) -> float:
    """The relative error; inf where one of the two isn't finite."""
    if value == truth or (math.isnan(value) and math.isnan(truth)):
        return 0.0
    if truth == 0 or not (math.isfinite(value) and math.isfinite(truth)):
        return math.inf
    return abs(value / truth - 1)


def _in_type(value: np.floating) -> str:
    """As many digits as the number's type needs to read it back."""
    return str(value + value.dtype.type(0)).removesuffix(".0")


def _computed(trace: Trace, shown: list[int]) -> Table:
    """The shown classes' probabilities and gradient in the logits' type."""
    computed = trace.computed
    names = names_of(trace, shown)
    gap = [""] * (len(names) - len(shown))
    columns = [
        Column(names, "name"),
        Column(
            [*align_decimals([_in_type(v) for v in computed.probabilities[0, shown]]), *gap],
            head="p",
        ),
    ]
    if computed.row_gradient is not None:
        cells = align_decimals([_in_type(value) for value in computed.row_gradient[0, shown]])
        columns.append(Column([*cells, *gap], head="gradient"))
    return Table(tuple(columns))


def _losses(trace: Trace, plain: tuple[Plain, ...], goal: Goal) -> Table:
    computed = trace.computed
    assert computed.losses is not None
    rows = [("exact, in 64 bits", exact(goal.loss))] if trace.dtype != "float64" else []
    rows.append(("softxent", _in_type(computed.losses[0])))
    for way in plain:
        assert way.losses is not None
        rows.append((way.way, _in_type(way.losses[0])))
    names, cells = zip(*rows, strict=True)
    return Table((Column(names, "name", head=""), Column(align_decimals(cells), head="loss")))


def _why(trace: Trace, way: Plain, goal: Goal | None) -> str:
    """Why a plain formula is wrong, and what it does to learning."""
    cause = _cause(trace, way, goal)
    if goal is None or way.row_gradient is None:
        return cause
    given = way.row_gradient[0]
    if np.isnan(given).any():
        return f"{cause} The gradient is NaN too, and after a training step so is the model."
    if goal.gradient.any() and not given.any():
        worst = short(np.abs(goal.gradient).max())
        return f"{cause} The gradient is 0 instead of {worst}: from this row nothing is learned."
    return cause


def _cause(trace: Trace, way: Plain, goal: Goal | None) -> str:
    top = exact(trace.maximum[0])
    if way.way == "exp / sum":
        if np.isinf(way.exponentials[0]).any():
            return (
                f"exp({top}) overflows, since {trace.dtype} ends at {_LARGEST[trace.dtype]}; "
                "inf / inf is not a number, and anything else / inf is 0."
            )
        if np.isinf(way.exponential_sum[0]):
            return (
                f"the sum of the exponentials overflows, since {trace.dtype} ends at "
                f"{_LARGEST[trace.dtype]}; anything / inf is 0."
            )
        if way.exponential_sum[0] == 0:
            return f"even exp({top}), the largest, underflows to 0, and 0 / 0 is not a number."
    if goal is None:
        return "the exponentials have lost their digits."
    loss, single = _loss(way), goal.target
    if single is None:
        return _how_far(loss, goal.loss)
    if way.way == "lse - logit":
        lse, logit = _in_type(way.lse[0]), short(trace.scaled[0, single])
        if loss == 0:
            return f"lse is {lse} and the logit {logit}: of their difference nothing is left."
        return f"lse is {lse} and the logit {logit}: {_how_far(loss, goal.loss)}"
    p = way.probabilities[0, single]
    if p == 0:
        return "the probability underflows to 0, and -log(0) is infinite."
    rest = short(math.fsum(np.delete(trace.probabilities[0], single)))
    if p == 1:
        return f"the probability, 1 - {rest}, rounds to 1, and -log(1) is 0."
    if p > 0.5:
        return f"so close to 1, the probability has few digits for 1 - p, {rest}: " + _how_far(
            loss, goal.loss
        )
    return _how_far(loss, goal.loss)


def _how_far(loss: float, truth: float) -> str:
    error = _error(loss, truth)
    if not math.isfinite(error):
        return f"the loss is {short(loss)} instead of {short(truth)}."
    digits = max(0, math.floor(-math.log10(error)))
    if digits == 0:
        return f"no digit is right: {short(loss)} instead of {short(truth)}."
    return f"only {plural(digits, 'digit')} of the loss {'is' if digits == 1 else 'are'} right."
