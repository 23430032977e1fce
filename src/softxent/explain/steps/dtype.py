"""What the dtype of the logits does to the numbers, and where plain formulas fail in it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from softxent.explain.numbers import EPSILON, LARGEST, Computed, Numbers, Plain
from softxent.explain.steps.document import Block, Column, Remark, Step, Table
from softxent.explain.steps.row import RowLoss, shown_names
from softxent.render.numbers import exact, plural, short
from softxent.render.text import align_decimals

__all__ = ["dtype_step", "failure_step"]

_DIGITS_LOST = 1000  # three decimal digits: more than rounding, so there is a cause to name


def dtype_step(numbers: Numbers, shown: list[int], loss: RowLoss | None) -> Iterator[Step]:
    """One row in its dtype; nothing where the dtype is float64 and every formula is accurate."""
    if loss is not None and loss.ignored:
        return
    dtype, plain = numbers.dtype, numbers.plain
    wrong = [formula for formula in plain if _is_wrong(numbers, formula, loss)]
    if dtype == "float64" and not wrong:
        return
    computed = numbers.computed
    blocks: list[Block] = [] if dtype == "float64" else [_results(numbers, computed, shown)]
    sentence = "what softxent computes"
    if loss is not None:
        sentence += ", and what plain formulas give"
        blocks.append(_losses(dtype, computed, plain, loss))
    reasons: dict[str, list[str]] = {}
    for formula in wrong:
        reasons.setdefault(_why(numbers, formula, loss), []).append(formula.way)
    blocks += [Remark(f"{' and '.join(names)}: {reason}") for reason, names in reasons.items()]
    of_logits = "" if dtype == "float64" else ", the dtype of the logits"
    yield Step(f"In {dtype}{of_logits}: {sentence}.", blocks)


def failure_step(numbers: Numbers) -> Iterator[Step]:
    """The rows of a batch for which plain formulas fail; nothing where they don't."""
    if numbers.losses is None:
        return
    truth = numbers.losses
    remarks = []
    for formula in numbers.plain:
        given = _losses_of(formula).astype(np.float64)
        with np.errstate(invalid="ignore"):
            near = np.abs(given - truth) <= _allowed(numbers.dtype) * np.abs(truth)
        wrong = np.flatnonzero(~(near | (given == truth) | np.isnan(truth)))
        if len(wrong):
            first = wrong[0]
            remarks.append(
                Remark(
                    f"{formula.way}: {plural(len(wrong), 'row')}; the loss of row {first:,} would "
                    f"be {short(given[first])} instead of {short(truth[first])}."
                )
            )
    if remarks:
        yield Step(f"Where plain formulas fail in {numbers.dtype}:", remarks)


def _allowed(dtype: str) -> float:
    return min(_DIGITS_LOST * EPSILON[dtype], 0.05)


def _is_wrong(numbers: Numbers, formula: Plain, loss: RowLoss | None) -> bool:
    if loss is None:
        error = np.abs(formula.probabilities[0] - numbers.probabilities[0]).max()
        return not error <= _allowed(numbers.dtype)
    return _error(_losses_of(formula)[0], loss.loss) > _allowed(numbers.dtype)


def _losses_of(formula: Plain | Computed) -> np.ndarray:
    assert formula.losses is not None
    return formula.losses


def _error(value: float, truth: float) -> float:
    """The relative error; inf where one of the two isn't finite."""
    if value == truth or (math.isnan(value) and math.isnan(truth)):
        return 0.0
    if truth == 0 or not (math.isfinite(value) and math.isfinite(truth)):
        return math.inf
    return abs(float(value) / truth - 1)


def _in_dtype(value: np.floating) -> str:
    """With as many digits as its dtype needs to read it back."""
    return str(value + value.dtype.type(0)).removesuffix(".0")


def _results(numbers: Numbers, computed: Computed, shown: list[int]) -> Table:
    """The shown classes' probabilities and gradient in the dtype of the logits."""
    names = shown_names(numbers, shown)
    gap = [""] * (len(names) - len(shown))
    p = align_decimals([_in_dtype(value) for value in computed.probabilities[0, shown]])
    columns = [Column(names, "name"), Column([*p, *gap], head="p")]
    if computed.row_gradient is not None:
        cells = align_decimals([_in_dtype(value) for value in computed.row_gradient[0, shown]])
        columns.append(Column([*cells, *gap], head="gradient"))
    return Table(tuple(columns))


def _losses(dtype: str, computed: Computed, plain: tuple[Plain, ...], loss: RowLoss) -> Table:
    rows = [("in float64", exact(loss.loss))] if dtype != "float64" else []
    rows.append(("softxent", _in_dtype(_losses_of(computed)[0])))
    rows += [(formula.way, _in_dtype(_losses_of(formula)[0])) for formula in plain]
    names, cells = zip(*rows, strict=True)
    return Table((Column(names, "name", head=""), Column(align_decimals(cells), head="loss")))


def _why(numbers: Numbers, formula: Plain, loss: RowLoss | None) -> str:
    """Why a plain formula is wrong, and what that does to training."""
    cause = _cause(numbers, formula, loss)
    if loss is None or formula.row_gradient is None:
        return cause
    given = formula.row_gradient[0]
    if np.isnan(given).any():
        return f"{cause} The gradient is NaN too, and so is the model after a training step."
    if loss.gradient.any() and not given.any():
        right = short(np.abs(loss.gradient).max())
        return f"{cause} The gradient is 0 instead of {right}: the row has no effect on training."
    return cause


def _cause(numbers: Numbers, formula: Plain, loss: RowLoss | None) -> str:
    if formula.way == "exp / sum":
        cause = _overflow(numbers, formula)
        if cause:
            return cause
    if loss is None:
        return "the exponentials have lost digits."
    given, single = float(_losses_of(formula)[0]), loss.target
    if single is None:
        return _how_wrong(given, loss.loss)
    if formula.way == "lse - logit":
        lse, logit = _in_dtype(formula.lse[0]), short(numbers.scaled[0, single])
        if given == 0:
            return f"lse is {lse} and the logit {logit}: no digit of their difference remains."
        return f"lse is {lse} and the logit {logit}: {_how_wrong(given, loss.loss)}"
    p = formula.probabilities[0, single]
    if p == 0:
        return "the probability underflows to 0, and -log(0) is infinite."
    others = short(math.fsum(np.delete(numbers.probabilities[0], single)))
    if p == 1:
        return f"the probability, 1 - {others}, rounds to 1, and -log(1) is 0."
    if p > 0.5:
        return (
            f"so close to 1, the probability has few digits for 1 - p, {others}: "
            f"{_how_wrong(given, loss.loss)}"
        )
    return _how_wrong(given, loss.loss)


def _overflow(numbers: Numbers, formula: Plain) -> str:
    """What happens to the exponentials of unshifted logits; empty where nothing does."""
    top, dtype = exact(numbers.maximum[0]), numbers.dtype
    if np.isinf(formula.exponentials[0]).any():
        return (
            f"exp({top}) overflows, since the largest {dtype} is {LARGEST[dtype]}; inf / inf is "
            "not a number, and any other number / inf is 0."
        )
    if np.isinf(formula.exponential_sum[0]):
        return (
            f"the sum of the exponentials overflows, since the largest {dtype} is "
            f"{LARGEST[dtype]}; any number / inf is 0."
        )
    if formula.exponential_sum[0] == 0:
        return f"even exp({top}), the largest, underflows to 0, and 0 / 0 is not a number."
    return ""


def _how_wrong(loss: float, truth: float) -> str:
    error = _error(loss, truth)
    if not math.isfinite(error):
        return f"the loss is {short(loss)} instead of {short(truth)}."
    digits = max(0, math.floor(-math.log10(error)))
    if digits == 0:
        return f"no digit is correct: {short(loss)} instead of {short(truth)}."
    return f"only {plural(digits, 'digit')} of the loss {'is' if digits == 1 else 'are'} correct."
