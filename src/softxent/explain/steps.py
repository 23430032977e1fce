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

from softxent.explain.precision import type_step
from softxent.explain.row import Goal, goal_of, label, mark, names_of, why_nan, with_others
from softxent.explain.story import Block, Column, Formula, Remark, Step, Story, Table
from softxent.render.numbers import exact, plural, short, ten_digits, with_sign
from softxent.render.text import align_decimals

if TYPE_CHECKING:
    from softxent.explain.trace import Trace

__all__ = ["row_story", "shown_classes"]

_ALL_CLASSES = 12  # up to here every class is shown,
_TOP_CLASSES = 8  # beyond it so many and the target
_NEAREST_CLASSES = 4
_LARGEST_EXPONENT = 700  # exp(710) overflows; exp(-710) has lost digits

Values = npt.NDArray[np.float64]


def row_story(trace: Trace) -> Story:
    """The story of a trace of one row."""
    goal = goal_of(trace, 0)
    if goal is None:
        title = f"From {plural(len(trace.classes), 'logit')} to probabilities"
    else:
        title = f"Why the loss is {short(goal.loss if trace.value is None else trace.value)}"
    return Story(title, list(_steps(trace, goal)))


def _steps(trace: Trace, goal: Goal | None) -> Iterator[Step]:
    shown = shown_classes(trace, goal)
    yield _logits(trace, shown, goal)
    if trace.softcap is not None or trace.temperature != 1:
        yield _scaled(trace, shown, goal)
    reason = why_nan(trace.scaled[0])
    if reason:
        yield Step(f"{reason}: the exponentials have no sum to be divided by.")
    else:
        yield _exponentials(trace, shown)
        yield _probabilities(trace, shown)
    if goal is not None:
        yield from _about_target(trace, shown, goal, reason)
    if not reason:
        yield from type_step(trace, shown, goal)
        yield from _margin(trace, shown, goal)


def _about_target(trace: Trace, shown: list[int], goal: Goal, reason: str) -> Iterator[Step]:
    # One class and nothing that spreads or adds: the loss is a single logarithm.
    single = None if trace.label_smoothing or trace.z_loss else goal.target
    if goal.ignored:
        yield Step(_ignored(trace, goal))
    elif reason:
        yield Step("The probabilities, the loss and the gradient of this row are NaN.")
    elif single is None:
        yield _spread(trace, shown, goal)
        yield _gradient(trace, shown, goal)
        yield from _reduction(trace)
        yield from _binary(trace, goal)
    else:
        yield Step(_target(trace, single))
        if goal.mass_sum == 0:
            yield Step("The weight of that class is 0: so are the loss and the gradient.")
        else:
            yield _minus_log(trace, single, goal)
            yield _gradient(trace, shown, goal)
        yield from _reduction(trace)
        yield _in_practice(trace, single, goal)
        yield from _binary(trace, goal)


def shown_classes(trace: Trace, goal: Goal | None) -> list[int]:
    """Every class in order; of many the most probable ones, or what is to blame, and the target."""
    count = len(trace.classes)
    if count <= _ALL_CLASSES:
        return list(range(count))
    key = np.isfinite(trace.scaled[0]) if why_nan(trace.scaled[0]) else -trace.probabilities[0]
    order = np.argsort(key, kind="stable")
    shown = [int(index) for index in order[:_TOP_CLASSES]]
    if goal is not None and not goal.ignored:
        target = int(goal.mass.argmax()) if goal.target is None else goal.target
        shown += [] if target in shown else [target]
    return shown


def _logits(trace: Trace, shown: list[int], goal: Goal | None) -> Step:
    sentence = "The logits: one number a class. The higher, the likelier the class."
    if trace.dtype != "float64":
        sentence += f" They are {trace.dtype} numbers, with all the digits that are stored."
    if len(shown) < len(trace.classes):
        sentence += f" There are {len(trace.classes):,}, of which {len(shown)} are shown."
    return Step(sentence, [_listing(trace, trace.logits[0], shown, goal)])


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
    return Step(sentence, [_listing(trace, trace.scaled[0], shown, goal)])


def _listing(trace: Trace, values: Values, shown: list[int], goal: Goal | None) -> Table:
    cells = align_decimals([exact(value) for value in values[shown]])
    marks = [mark(index, goal) for index in shown]
    others = np.delete(values, shown)
    if others.size:
        cells.append(f"up to {short(others.max())}")
        marks.append("")
    return Table((Column(names_of(trace, shown), "name"), Column(cells), Column(marks, "mark")))


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
    names = names_of(trace, shown)
    calls += [""] * (len(names) - len(calls))
    cells = align_decimals([exact(value) for value in [*with_others(values, shown), total]])
    table = Table(
        (
            Column([*names, "sum"], "name"),
            Column([*calls, ""]),
            Column([f"= {cell}" for cell in cells]),
        )
    )
    return Step(sentence, [table])


def _probabilities(trace: Trace, shown: list[int]) -> Step:
    values = with_others(trace.probabilities[0], shown)
    cells = align_decimals([*map(exact, values), f"{math.fsum(trace.probabilities[0]):.15g}"])
    table = Table(
        (
            Column([*names_of(trace, shown), "sum"], "name"),
            Column(cells),
            Column(kind="bar", shares=[*values, None]),
        )
    )
    return Step("Probabilities: each exponential divided by the sum. They add up to 1.", [table])


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
    blocks: list[Block] = [Formula(f"{call} = {exact(minus_log)}")]
    sentence = "The loss is minus the natural logarithm of that probability."
    if trace.weight is not None:
        sentence = sentence.removesuffix(".") + ", times the weight of the class."
        blocks.append(Formula(f"{exact(goal.mass_sum)} x {exact(minus_log)} = {exact(goal.loss)}"))
    if remark:
        blocks.append(Remark(remark))
    count = len(trace.classes)
    if count > 1:
        blocks.append(
            Remark(
                "For scale: a model that is certain and right has 0, one that gives all "
                f"{count:,} classes the same probability log({count}) = {short(math.log(count))}."
            )
        )
    return Step(sentence, blocks)


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
    names = [*names_of(trace, shown), "sum"]
    logs = [ten_digits(value) for value in minus_log[shown]]
    total = math.fsum(products) if np.isfinite(products).all() else math.inf
    masses = [*with_others(t, shown), goal.mass_sum]
    parts = [*with_others(products, shown), total]
    table = Table(
        (
            Column(names, "name"),
            Column(align_decimals([ten_digits(value) for value in masses]), head="t"),
            Column(align_decimals([*logs, *([""] * (len(names) - len(logs)))]), head="-log p"),
            Column(align_decimals([ten_digits(value) for value in parts]), head="t x -log p"),
        )
    )
    blocks: list[Block] = [table]
    if trace.z_loss:
        lse = float(trace.lse[0])
        blocks.append(
            Remark(
                "z_loss adds its share of the square of lse, the logarithm of the sum of "
                f"exponentials: {exact(trace.z_loss)} x {ten_digits(lse)}^2 = "
                f"{ten_digits(trace.z_loss * lse**2)}."
            )
        )
    return Step(sentence, [*blocks, Formula(f"loss = {exact(goal.loss)}")])


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
    values = with_others(goal.gradient, shown)
    largest = max(map(abs, values)) or 1.0
    table = Table(
        (
            Column(names_of(trace, shown), "name"),
            Column(align_decimals([exact(value) for value in values])),
            Column(kind="arrow", shares=[value / largest for value in values]),
        )
    )
    if not any(values):
        return Step(sentence, [table])
    return Step(
        sentence,
        [
            table,
            Remark(
                "A training step moves each logit the other way: down where the bar is on the "
                "right, up where it is on the left."
            ),
        ],
    )


def _reduction(trace: Trace) -> Iterator[Step]:
    mean = trace.mean
    if mean is None or trace.reduction != "mean" or mean.weight == 1:
        return
    yield Step(
        "The mean divides by the summed weight of the targets, of which there is one here. So does "
        "its gradient.",
        [Formula(f"{exact(mean.total)} / {exact(mean.weight)} = {exact(mean.value)}")],
    )


def _in_practice(trace: Trace, index: int, goal: Goal) -> Step:
    lse, u = float(trace.lse[0]), float(trace.scaled[0, index])
    top, total = exact(trace.maximum[0]), exact(trace.shifted_sum[0])
    weight = "" if trace.weight is None else f"{exact(goal.mass_sum)} x "
    difference = f"{exact(lse)} - " + (f"({exact(u)})" if u < 0 else exact(u))
    if weight:
        difference = f"({difference})"
    blocks: list[Block] = [
        Formula(f"lse  = {top} + log({total}) = {exact(lse)}"),
        Formula(f"loss = {weight}{difference} = {exact(goal.loss)}"),
    ]
    plain = goal.mass_sum * (lse - u)
    if math.isfinite(plain) and not math.isclose(plain, goal.loss, rel_tol=1e-12):
        blocks.append(
            Remark(
                f"Subtracting these rounded numbers would leave {exact(plain)}: softxent works "
                "with the differences to the largest logit, and keeps every digit."
            )
        )
    return Step(
        "The same without large numbers, as softxent does it: the largest logit is subtracted "
        "first, and added to the logarithm of the sum.",
        blocks,
    )


def _binary(trace: Trace, goal: Goal) -> Iterator[Step]:
    """Two classes as one yes-or-no question, where that has finite numbers to show."""
    binary = trace.binary
    if binary is None or binary.losses is None or binary.target is None:
        return
    difference, p, y = (float(v[0]) for v in (binary.difference, binary.probability, binary.target))
    if not (math.isfinite(difference) and math.isfinite(y)):
        return
    first, second = trace.scaled[0].tolist()
    minus = ten_digits(first) if first >= 0 else f"({ten_digits(first)})"
    name = label(trace, 1)
    factor = "" if goal.mass_sum == 1 else f"{exact(goal.mass_sum)} x "
    # -log p and -log(1 - p) from the logits, since p may have rounded to 0 or 1.
    yes, no = (exact(np.logaddexp(0.0, -difference)), exact(np.logaddexp(0.0, difference)))
    terms = {1.0: f"-log(p) = {yes}", 0.0: f"-log(1 - p) = {no}"}
    blocks: list[Block] = [
        Formula(f"d = {ten_digits(second)} - {minus} = {exact(difference)}"),
        Formula(f"p = 1 / (1 + exp({exact(-difference)})) = {exact(p)}"),
    ]
    if y in terms:
        blocks.append(Formula(f"BCE = {terms[y]}"))
    else:
        blocks.append(Formula(f"y = {exact(y)}, the target's share of {name}"))
        blocks.append(Formula(f"-log(p) = {yes}, -log(1 - p) = {no}"))
        blocks.append(Formula(f"BCE = -y log(p) - (1 - y) log(1 - p) = {exact(binary.losses[0])}"))
    if factor and y in terms:
        blocks.append(Formula(f"{factor}BCE = {exact(binary.losses[0])}"))
    yield Step(
        "Two classes: the same as binary cross-entropy (BCE). Only the difference d of the logits "
        f"counts; its sigmoid is the probability p of {name}.",
        blocks,
    )


def _margin(trace: Trace, shown: list[int], goal: Goal | None) -> Iterator[Step]:
    """How far each logit alone is from changing the answer."""
    if len(trace.classes) == 1:
        return
    if len(shown) < len(trace.classes):  # of many classes the nearest, and the target
        target = None if goal is None or goal.ignored else goal.target
        shown = [*shown[:_NEAREST_CLASSES], *(i for i in shown[_NEAREST_CLASSES:] if i == target)]
    margin, best = trace.margin[0], int(trace.logits[0].argmax())
    second = int(np.where(np.arange(len(margin)) == best, np.inf, margin).argmin())
    answer = f"The answer is {label(trace, best)}, which has the highest logit"
    if margin[second] == 0:
        answer += f", as has {label(trace, second)}; the first of them is taken"
    if goal is not None and goal.target is not None and not goal.ignored:
        answer += "; it is right" if goal.target == best else "; it is wrong"
    cells = align_decimals([with_sign(value) for value in margin[shown]])
    then = f"  then {label(trace, second)} wins" if np.isfinite(margin[best]) else ""
    notes = [then if index == best else "" for index in shown]
    others = np.delete(margin, shown)
    if others.size:
        cells.append(f"{with_sign(others.min())} or more")
        notes.append("")
    yield Step(
        f"{answer}. To change it, one logit alone would have to move by more than:",
        [Table((Column(names_of(trace, shown), "name"), Column(cells), Column(notes, "note")))],
    )
