"""One row of logits told step by step, from the logits to the loss and its gradient.

The steps are those of a textbook (exponentials, sum, probabilities, minus log), with the digits
that the library computed. Nothing is computed here but sums over classes that aren't shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from softxent.explain.layout import (
    INDENT,
    aligned,
    bar,
    exact,
    paragraph,
    plural,
    short,
    sign_bar,
    table,
    ten_digits,
    wrap,
)
from softxent.explain.row import Goal, goal_of, label

if TYPE_CHECKING:
    from softxent.explain.trace import Trace

__all__ = ["tell_row"]

_ALL_CLASSES = 12  # up to here every class is shown,
_TOP_CLASSES = 8  # beyond it so many and the target
_LARGEST_EXPONENT = 700  # exp(710) overflows; exp(-710) has lost digits

Values = npt.NDArray[np.float64]
Step = tuple[str, list[str]]  # a sentence, and the lines below it


def tell_row(trace: Trace) -> Iterator[str]:
    """The lines on a trace of one row."""
    goal = goal_of(trace, 0)
    if goal is None:
        yield f"From {plural(len(trace.classes), 'logit')} to probabilities"
    else:
        yield f"Why the loss is {short(goal.loss if trace.value is None else trace.value)}"
    for number, (sentence, lines) in enumerate(_steps(trace, goal), start=1):
        yield ""
        yield from wrap(f"{number}. {sentence}", "", "   ")
        yield from lines


def _steps(trace: Trace, goal: Goal | None) -> Iterator[Step]:
    shown = _shown_classes(trace, goal)
    yield _logits(trace, shown, goal)
    if trace.softcap is not None or trace.temperature != 1:
        yield _scaled(trace, shown, goal)
    reason = _why_nan(trace.scaled[0])
    if reason:
        yield f"{reason}: the exponentials have no sum to be divided by.", []
    else:
        yield _exponentials(trace, shown)
        yield _probabilities(trace, shown)
    if goal is None:
        return
    # One class and nothing that spreads or adds: the loss is a single logarithm.
    single = None if trace.label_smoothing or trace.z_loss else goal.target
    if goal.ignored:
        yield _ignored(trace, goal), []
    elif reason:
        yield "The probabilities, the loss and the gradient of this row are NaN.", []
    elif single is None:
        yield _spread(trace, shown, goal)
        yield _gradient(trace, shown, goal)
        yield from _reduction(trace)
    else:
        yield _target(trace, single), []
        if goal.mass_sum == 0:
            yield "The weight of that class is 0: so are the loss and the gradient.", []
        else:
            yield _minus_log(trace, single, goal)
            yield _gradient(trace, shown, goal)
        yield from _reduction(trace)
        yield _in_practice(trace, single, goal)


def _shown_classes(trace: Trace, goal: Goal | None) -> list[int]:
    """Every class in order; of many the most probable ones, or what is to blame, and the target."""
    count = len(trace.classes)
    if count <= _ALL_CLASSES:
        return list(range(count))
    key = np.isfinite(trace.scaled[0]) if _why_nan(trace.scaled[0]) else -trace.probabilities[0]
    order = np.argsort(key, kind="stable")
    shown = [int(index) for index in order[:_TOP_CLASSES]]
    if goal is not None and not goal.ignored:
        target = int(goal.mass.argmax()) if goal.target is None else goal.target
        shown += [] if target in shown else [target]
    return shown


def _names(trace: Trace, shown: list[int]) -> list[str]:
    others = len(trace.classes) - len(shown)
    names = [label(trace, index) for index in shown]
    return [*names, plural(others, "other")] if others else names


def _with_others(values: Values, shown: list[int]) -> list[float]:
    """The shown classes' values and, where some classes aren't shown, the sum of theirs."""
    others = np.delete(values, shown)
    return [*values[shown].tolist(), *([math.fsum(others)] if others.size else [])]


def _logits(trace: Trace, shown: list[int], goal: Goal | None) -> Step:
    sentence = "The logits: one number a class. The higher, the likelier the class."
    if len(shown) < len(trace.classes):
        sentence += f" There are {len(trace.classes):,}, of which {len(shown)} are shown."
    return sentence, _listing(trace, trace.logits[0], shown, goal)


def _scaled(trace: Trace, shown: list[int], goal: Goal | None) -> Step:
    temperature, cap = exact(trace.temperature), trace.softcap
    sentence = f"The logits divided by the temperature, {temperature}."
    if cap is not None:
        slow = exact(cap * trace.temperature)
        sentence = (
            f"The logits held between -{exact(cap)} and {exact(cap)}: "
            f"{exact(cap)} tanh(logit / {slow})."
        )
        if trace.temperature != 1:
            sentence = sentence.removesuffix(".") + f", with the temperature {temperature}."
    return sentence, _listing(trace, trace.scaled[0], shown, goal)


def _listing(trace: Trace, values: Values, shown: list[int], goal: Goal | None) -> list[str]:
    cells = aligned([exact(value) for value in values[shown]])
    index = None if goal is None or goal.ignored else goal.target
    marks = ["  <- target" if i == index else "" for i in shown]
    others = np.delete(values, shown)
    if others.size:
        cells.append(f"up to {short(others.max())}")
        marks.append("")
    return table(_names(trace, shown), cells, marks)


def _why_nan(scaled: Values) -> str:
    """What makes a row's probabilities NaN; empty where nothing does."""
    if np.isnan(scaled).any():
        return "A logit is NaN"
    if np.isposinf(scaled).any():
        return "A logit is infinite"
    if np.isneginf(scaled).all():
        return "Every logit is -inf, which rules every class out"
    return ""


def _exponentials(trace: Trace, shown: list[int]) -> Step:
    top = float(trace.maximum[0])
    sentence = "Exponentials make every number positive."
    arguments, values = trace.scaled[0], trace.exponentials[0]
    total = float(trace.exponential_sum[0])
    if not (abs(top) <= _LARGEST_EXPONENT and math.isfinite(total)):
        sentence = (
            f"Exponentials make every number positive. exp({short(top)}) doesn't fit into 64 "
            f"bits, so the largest logit, {exact(top)}, is subtracted from each first. That "
            "divides all of them by the same number, which the next step cancels."
        )
        arguments, values = trace.shifted[0], trace.shifted_exponentials[0]
        total = float(trace.shifted_sum[0])
    calls = [f"exp({exact(argument)})" for argument in arguments[shown]]
    names = _names(trace, shown)
    calls += [""] * (len(names) - len(calls))
    cells = aligned([exact(value) for value in [*_with_others(values, shown), total]])
    return sentence, table([*names, "sum"], [*calls, ""], [f"= {cell}" for cell in cells])


def _probabilities(trace: Trace, shown: list[int]) -> Step:
    values = _with_others(trace.probabilities[0], shown)
    cells = aligned([*map(exact, values), f"{math.fsum(trace.probabilities[0]):.15g}"])
    return (
        "Probabilities: each exponential divided by the sum. They add up to 1.",
        table([*_names(trace, shown), "sum"], cells, [*(bar(value) for value in values), ""]),
    )


def _ignored(trace: Trace, goal: Goal) -> str:
    sentence = (
        f"The target is {goal.target}, which is ignore_index: the row is ignored. It adds nothing "
        "to the loss, and its gradient is exactly 0."
    )
    if trace.reduction == "mean":
        sentence += " A mean over no other row is not a number."
    return sentence


def _target(trace: Trace, index: int) -> str:
    p = trace.probabilities[0]
    best = int(p.argmax())
    verdict = (
        "the highest of all"
        if p[index] == p[best]
        else f"not the highest, which is that of {label(trace, best)}, {short(p[best])}"
    )
    return f"The target is {label(trace, index)}. Its probability is {exact(p[index])}: {verdict}."


def _minus_log(trace: Trace, index: int, goal: Goal) -> Step:
    p = trace.probabilities[0]
    minus_log = -float(trace.log_probabilities[0, index])
    others = math.fsum(np.delete(p, index))
    if p[index] == 0 and math.isfinite(minus_log):
        call = f"-log(exp({exact(-minus_log)}))"
        remark = "The probability is less than 64 bits can hold; its logarithm isn't."
    elif p[index] > 0.5 and not math.isclose(-math.log(p[index]), minus_log, rel_tol=1e-12):
        call = f"-log(1 - {exact(others)})"
        remark = (
            f"{exact(others)} is what the other classes have: so close to 1, the digits of the "
            "probability itself are not enough."
        )
    else:
        call = f"-log({exact(p[index])})"
        remark = ""
    lines = [f"{INDENT}{call} = {exact(minus_log)}"]
    sentence = "The loss is minus the natural logarithm of that probability."
    if trace.weight is not None:
        sentence = sentence.removesuffix(".") + ", times the weight of the class."
        lines.append(f"{INDENT}{exact(goal.mass_sum)} x {exact(minus_log)} = {exact(goal.loss)}")
    if remark:
        lines += paragraph(remark)
    count = len(trace.classes)
    if count > 1:
        lines += paragraph(
            "For scale: a model that is certain and right has 0, one that gives all "
            f"{count:,} classes the same probability log({count}) = {short(math.log(count))}."
        )
    return sentence, lines


def _spread(trace: Trace, shown: list[int], goal: Goal) -> Step:
    t = goal.mass
    minus_log = -trace.log_probabilities[0]
    with np.errstate(invalid="ignore"):
        products = np.where(t == 0, 0.0, t * minus_log)  # 0 log 0 = 0
    what = "class probabilities" if goal.target is None else label(trace, goal.target)
    if trace.label_smoothing:
        what += f", smoothed by {exact(trace.label_smoothing)}"
    if trace.weight is not None:
        what += ", times the class weights"
    sentence = (
        f"The target is {what}: a mass t over the classes. The loss is minus the logarithm of each "
        "probability, times t, added up."
    )
    names = [*_names(trace, shown), "sum"]
    logs = [ten_digits(value) for value in minus_log[shown]]
    total = math.fsum(products) if np.isfinite(products).all() else math.inf
    masses = [*_with_others(t, shown), goal.mass_sum]
    lines = table(
        ["", *names],
        ["t", *aligned([ten_digits(value) for value in masses])],
        ["-log p", *aligned([*logs, *([""] * (len(names) - len(logs)))])],
        ["t x -log p", *aligned([ten_digits(v) for v in [*_with_others(products, shown), total]])],
    )
    if trace.z_loss:
        lse = float(trace.lse[0])
        lines += paragraph(
            "z_loss adds its share of the square of lse, the logarithm of the sum of exponentials: "
            f"{exact(trace.z_loss)} x {ten_digits(lse)}^2 = {ten_digits(trace.z_loss * lse**2)}."
        )
    return sentence, [*lines, f"{INDENT}loss = {exact(goal.loss)}"]


def _gradient(trace: Trace, shown: list[int], goal: Goal) -> Step:
    formula = "p - t"
    if not math.isclose(goal.mass_sum, 1):
        formula = f"{short(goal.mass_sum)} p - t"
    if trace.z_loss:
        formula = f"({short(goal.mass_sum)} + 2 z_loss lse) p - t"
    if trace.softcap is not None:
        formula = f"({formula}) x the slope of the cap"
    if trace.temperature != 1:
        formula = f"({formula}) / {exact(trace.temperature)}"
    sentence = f"The gradient, {formula}: how the loss changes as a logit grows."
    if goal.target is not None and not trace.label_smoothing:
        one = exact(goal.mass_sum)
        sentence = (
            f"The gradient, {formula}, with t = {one} for the target and 0 for the others: how the "
            "loss changes as a logit grows."
        )
    values = _with_others(goal.gradient, shown)
    largest = max(map(abs, values)) or 1.0
    cells = aligned([exact(value) for value in values])
    lines = table(_names(trace, shown), cells, [sign_bar(value / largest) for value in values])
    if any(values):
        lines += paragraph(
            "A training step moves each logit the other way: down where the bar is on the right, "
            "up where it is on the left."
        )
    return sentence, lines


def _reduction(trace: Trace) -> Iterator[Step]:
    mean = trace.mean
    if mean is None or trace.reduction != "mean" or mean.weight == 1:
        return
    yield (
        "The mean divides by the summed weight of the targets, of which there is one here. So does "
        "its gradient.",
        [f"{INDENT}{exact(mean.total)} / {exact(mean.weight)} = {exact(mean.value)}"],
    )


def _in_practice(trace: Trace, index: int, goal: Goal) -> Step:
    lse, u = float(trace.lse[0]), float(trace.scaled[0, index])
    top, total = exact(trace.maximum[0]), exact(trace.shifted_sum[0])
    weight = "" if trace.weight is None else f"{exact(goal.mass_sum)} x "
    difference = f"{exact(lse)} - " + (f"({exact(u)})" if u < 0 else exact(u))
    if weight:
        difference = f"({difference})"
    lines = [
        f"{INDENT}lse  = {top} + log({total}) = {exact(lse)}",
        f"{INDENT}loss = {weight}{difference} = {exact(goal.loss)}",
    ]
    plain = goal.mass_sum * (lse - u)
    if math.isfinite(plain) and not math.isclose(plain, goal.loss, rel_tol=1e-12):
        lines += paragraph(
            f"Subtracting these rounded numbers would leave {exact(plain)}: softxent works with "
            "the differences to the largest logit, and keeps every digit."
        )
    return (
        "The same without large numbers, as softxent does it: the largest logit is subtracted "
        "first, and added to the logarithm of the sum.",
        lines,
    )
