"""The steps from one row's target to its loss and gradient."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from softxent.explain.numbers import Numbers
from softxent.explain.steps.document import Block, Column, Formula, Remark, Step, Table
from softxent.explain.steps.row import RowLoss, class_label, shown_names, with_remainder
from softxent.ops.options import are_defaults_except
from softxent.render.numbers import exact, short, ten_digits
from softxent.render.text import align_decimals

__all__ = ["loss_steps"]


def loss_steps(numbers: Numbers, shown: list[int], loss: RowLoss) -> Iterator[Step]:
    """The target, the loss, the gradient, the mean, and how softxent computes it."""
    # With one true class, and no option that adds to the loss, it is a single logarithm.
    unchanged = are_defaults_except(
        numbers.options, "weight", "ignore_index", "reduction", "softcap", "temperature"
    )
    single = loss.target if unchanged else None
    if single is None:
        yield _sum_over_classes(numbers, shown, loss)
        yield _gradient(numbers, shown, loss)
        yield from _mean(numbers)
    else:
        yield Step(_target(numbers, single))
        if loss.s == 0:
            yield Step("The weight of that class is 0, and so are the loss and the gradient.")
        else:
            yield _minus_log(numbers, single, loss)
            yield _gradient(numbers, shown, loss)
        yield from _mean(numbers)
        yield _as_computed(numbers, single, loss)
    yield from _binary(numbers, loss)


def _target(numbers: Numbers, index: int) -> str:
    p = numbers.probabilities[0]
    best = int(p.argmax())
    comparison = (
        "the highest of all"
        if p[index] == p[best]
        else f"the highest is that of {class_label(numbers, best)}, {short(p[best])}"
    )
    sign = "," if p[index] == p[best] else ";"
    target = class_label(numbers, index)
    return f"The target is {target}. Its probability is {exact(p[index])}{sign} {comparison}."


def _minus_log(numbers: Numbers, index: int, loss: RowLoss) -> Step:
    p = numbers.probabilities[0]
    minus_log = -float(numbers.log_probabilities[0, index])
    others = math.fsum(np.delete(p, index))
    if p[index] == 0 and math.isfinite(minus_log):
        call = f"-log(exp({exact(-minus_log)}))"
        remark = "The probability is too small for a 64-bit number; its logarithm is not."
    elif p[index] > 0.5 and not math.isclose(-math.log(p[index]), minus_log, rel_tol=1e-12):
        call = f"-log(1 - {exact(others)})"
        remark = (
            f"{exact(others)} is the sum of the other probabilities. So close to 1, the "
            "probability itself has too few digits for its logarithm."
        )
    else:
        call = f"-log({exact(p[index])})"
        remark = ""
    blocks: list[Block] = [Formula(f"{call} = {exact(minus_log)}")]
    sentence = "The loss is minus the natural logarithm of that probability."
    if numbers.weight is not None:
        sentence = sentence.removesuffix(".") + ", times the weight of the class."
        blocks.append(Formula(f"{exact(loss.s)} x {exact(minus_log)} = {exact(loss.loss)}"))
    if remark:
        blocks.append(Remark(remark))
    count = len(numbers.classes)
    if count > 1:
        blocks.append(
            Remark(
                "For comparison: a certain and correct prediction has loss 0; the same probability "
                f"for each of {count:,} classes has loss log({count}) = {short(math.log(count))}."
            )
        )
    return Step(sentence, blocks)


def _sum_over_classes(numbers: Numbers, shown: list[int], loss: RowLoss) -> Step:
    t, minus_log = loss.t, -numbers.log_probabilities[0]
    with np.errstate(invalid="ignore"):
        terms = np.where(t == 0, 0.0, t * minus_log)  # 0 log 0 = 0
    what = "class probabilities" if loss.target is None else class_label(numbers, loss.target)
    if numbers.label_smoothing:
        what += f", smoothed by {exact(numbers.label_smoothing)}"
    if numbers.weight is not None:
        what += ", times the class weights"
    sentence = (
        f"The target is {what}: a distribution t over the classes. The loss is the sum of minus "
        "the logarithm of each probability, times t."
    )
    names = [*shown_names(numbers, shown), "sum"]
    logs = [ten_digits(value) for value in minus_log[shown]]
    total = math.fsum(terms) if np.isfinite(terms).all() else math.inf
    targets = map(ten_digits, [*with_remainder(t, shown), loss.s])
    parts = map(ten_digits, [*with_remainder(terms, shown), total])
    table = Table(
        (
            Column(names, "name"),
            Column(align_decimals(list(targets)), head="t"),
            Column(align_decimals([*logs, *([""] * (len(names) - len(logs)))]), head="-log p"),
            Column(align_decimals(list(parts)), head="t x -log p"),
        )
    )
    blocks: list[Block] = [table]
    if numbers.z_loss:
        lse = float(numbers.lse[0])
        blocks.append(
            Remark(
                "z_loss adds a multiple of lse squared, where lse is the logarithm of the sum of "
                f"exponentials: {exact(numbers.z_loss)} x {ten_digits(lse)}^2 = "
                f"{ten_digits(numbers.z_loss * lse**2)}."
            )
        )
    return Step(sentence, [*blocks, Formula(f"loss = {exact(loss.loss)}")])


def _gradient(numbers: Numbers, shown: list[int], loss: RowLoss) -> Step:
    formula = "p - t"
    if not math.isclose(loss.s, 1):
        formula = f"{short(loss.s)} p - t"
    if numbers.z_loss:
        formula = f"({short(loss.s)} + 2 z_loss lse) p - t"
    if numbers.softcap is not None:
        formula = f"({formula}) x the slope of the cap"
    if numbers.temperature != 1:
        formula = f"({formula}) / {exact(numbers.temperature)}"
    sentence = f"The gradient, {formula}"
    if loss.target is not None and not numbers.label_smoothing:
        sentence += f", with t = {exact(loss.s)} for the target and 0 for the other classes"
    sentence += ": how the loss changes when a logit grows."
    values = with_remainder(loss.gradient, shown)
    largest = max(map(abs, values)) or 1.0
    table = Table(
        (
            Column(shown_names(numbers, shown), "name"),
            Column(align_decimals([exact(value) for value in values])),
            Column(kind="arrow", shares=[value / largest for value in values]),
        )
    )
    if not any(values):
        return Step(sentence, [table])
    remark = Remark(
        "A training step moves each logit in the opposite direction: down where the bar is on the "
        "right, up where it is on the left."
    )
    return Step(sentence, [table, remark])


def _mean(numbers: Numbers) -> Iterator[Step]:
    mean = numbers.mean
    if mean is None or numbers.reduction != "mean" or mean.weight == 1:
        return
    formula = f"{exact(mean.total)} / {exact(mean.weight)}"
    z_mean = numbers.z_mean
    if numbers.z_loss and z_mean is not None:
        total = exact(mean.value + z_mean.value)
        yield Step(
            "The mean divides the loss by the summed weight of the targets, of which there is one "
            "here, but not what z_loss adds.",
            [Formula(f"{formula} + {exact(z_mean.value)} = {total}")],
        )
        return
    yield Step(
        "The mean, and its gradient, divide by the summed weight of the targets, of which there is "
        "one here.",
        [Formula(f"{formula} = {exact(mean.value)}")],
    )


def _as_computed(numbers: Numbers, index: int, loss: RowLoss) -> Step:
    lse, u = float(numbers.lse[0]), float(numbers.scaled[0, index])
    top, total = exact(numbers.maximum[0]), exact(numbers.shifted_sum[0])
    weight = "" if numbers.weight is None else f"{exact(loss.s)} x "
    difference = f"{exact(lse)} - " + (f"({exact(u)})" if u < 0 else exact(u))
    if weight:
        difference = f"({difference})"
    blocks: list[Block] = [
        Formula(f"lse  = {top} + log({total}) = {exact(lse)}"),
        Formula(f"loss = {weight}{difference} = {exact(loss.loss)}"),
    ]
    subtracted = loss.s * (lse - u)
    if math.isfinite(subtracted) and not math.isclose(subtracted, loss.loss, rel_tol=1e-12):
        blocks.append(
            Remark(
                f"Subtracting these rounded numbers would give {exact(subtracted)}. softxent "
                "computes with differences from the largest logit instead, which keep every digit."
            )
        )
    return Step(
        "The same without large numbers, as softxent computes it: the largest logit is subtracted "
        "before the exponentials and added to the logarithm of their sum.",
        blocks,
    )


def _binary(numbers: Numbers, loss: RowLoss) -> Iterator[Step]:
    """Two classes as binary cross-entropy, unless a number in it isn't finite."""
    binary = numbers.binary
    if binary is None or binary.losses is None or binary.target is None:
        return
    difference, p, y = (float(v[0]) for v in (binary.difference, binary.probability, binary.target))
    if not (math.isfinite(difference) and math.isfinite(y)):
        return
    first, second = numbers.scaled[0].tolist()
    minus = ten_digits(first) if first >= 0 else f"({ten_digits(first)})"
    name = class_label(numbers, 1)
    factor = "" if loss.s == 1 else f"{exact(loss.s)} x "
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
        value = exact(binary.losses[0] / loss.s)
        blocks.append(Formula(f"BCE = -y log(p) - (1 - y) log(1 - p) = {value}"))
    if factor:
        blocks.append(Formula(f"{factor}BCE = {exact(binary.losses[0])}"))
    yield Step(
        "Two classes: this is binary cross-entropy (BCE). It depends only on the difference d of "
        f"the logits, whose sigmoid is the probability p of {name}.",
        blocks,
    )
