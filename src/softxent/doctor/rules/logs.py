"""Rules on numbers that somebody printed: arithmetic that a true log can't contradict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from softxent.doctor.finding import Confidence, Evidence, Level
from softxent.doctor.log import Accuracy, Log, Row
from softxent.doctor.printed import Printed
from softxent.doctor.registry import rule
from softxent.doctor.rules.scores import double_softmax_floor

__all__: list[str] = []

_USUAL_SIZES = (64, 32, 128, 256, 100, 16, 512, 1000, 1024, 50, 200, 8, 20, 10, 4)
_SHOWN = 12  # rows of a table


def _both(row: Row) -> tuple[Printed, Accuracy]:
    assert row.loss is not None
    assert row.accuracy is not None
    return row.loss, row.accuracy


def _least(accuracy: Accuracy) -> float:
    """The lowest mean loss that an accuracy allows: every wrong row has p <= 1/2."""
    return max(0.0, 1 - accuracy.value - accuracy.unit) * math.log(2)


def _is_impossible(row: Row) -> bool:
    loss, accuracy = _both(row)
    return loss.value >= 0 and loss.value + loss.unit < _least(accuracy)


@rule("log")
def impossible_loss(log: Log) -> Evidence | None:
    """The mean loss is lower than the accuracy allows.

    Symptom: a test loss of 0.0017 at 97% accuracy, far below the training loss.

    Cause: a row that is predicted wrongly gives its target at most probability 1/2, so it costs at
    least ln 2: with accuracy a the mean is at least (1-a) ln 2. Usually batch means were added up
    (`total += loss.item()`) and divided by the number of rows.

    Cure: `total += loss.item() * len(target)`, or divide by the number of batches.

    Failing:
        >>> log = "Test set: Average loss: 0.0070, Accuracy: 8688/10000 (87%)"
        >>> doctor.audit_log(log).rules
        ('impossible-loss',)

    Mended:
        >>> log = "Test set: Average loss: 0.4459, Accuracy: 8688/10000 (87%)"
        >>> doctor.audit_log(log).rules
        ()
    """
    held_out = [row for row in log.pairs if row.held_out]
    rows = held_out if any(map(_is_impossible, held_out)) else list(log.pairs)
    bad = [row for row in rows if _is_impossible(row)]
    if not bad:
        return None
    kind = f"{bad[0].split} loss" if bad[0].split else "loss"
    first = (
        f"Every {kind} is impossible"
        if len(bad) == len(rows) > 1
        else f"{len(bad)} of {len(rows)} {kind}es are impossible"
        if len(rows) > 1
        else f"The {kind} is impossible"
    )
    totals = {_both(row)[1].total for row in bad}
    total = totals.pop() if len(totals) == 1 else None
    least_factor = max(_needed(row) for row in bad)
    sizes = _sizes(log, total, least_factor)
    text = f"{first}: with accuracy a the mean loss is at least (1-a) ln 2."
    numbers: dict[str, object] = {
        "lines": [row.line for row in bad],
        "printed": [_both(row)[0].value for row in bad],
        "least": [_least(_both(row)[1]) for row in bad],
        "least_factor": least_factor if math.isfinite(least_factor) else None,
        "rows": total,
    }
    factor = None
    if sizes:
        size, source = sizes[0]
        factor, words = _factor(size, total)
        numbers |= {"batch_size": size, "factor": factor}
        numbers |= {"true": [_both(row)[0].value * factor for row in bad]}
        numbers |= {"other_batch_sizes": [other for other, _ in sizes[1:]]}
        text += (
            f"\nThey are what comes out when batch means are added up and divided by the number of "
            f"rows. With batch size {size} ({source}) the factor is {words}; it must be at least "
            f"{least_factor:.3g}."
        )
        if len(sizes) > 1:
            text += " Other sizes that fit: " + ", ".join(
                f"{other} ({_factor(other, total)[0]:.1f})" for other, _ in sizes[1:6]
            )
            text += "."
    text += "\n" + "\n".join(_table(bad, factor))
    level, confidence, why = _sureness(bad)
    return Evidence(
        level=level,
        text=text,
        numbers=numbers,
        confidence=confidence,
        why=why + ("; the cause and the factor are the likely explanation" if factor else ""),
        remedy="total += loss.item() * len(target)  # then total / len(dataset)",
        not_checked=(
            "whether the loss is a cross-entropy over the rows that the accuracy counts: a binary "
            "loss averaged over labels, a loss a token beside an accuracy a sequence, class "
            "weights, focal or squared losses may all be lower; a short last batch, which a sum of "
            "means counts like a full one."
        ),
    )


def _sureness(bad: Sequence[Row]) -> tuple[Level, Confidence, str]:
    """How much of what the bound takes for granted the log itself shows."""
    if not any(row.held_out for row in bad):
        return (
            "note",
            "possible",
            "the log doesn't say that both are of the same held-out rows: a last batch's loss "
            "beside a test accuracy, or class weights in training, would explain it",
        )
    counted = all(_both(row)[1].total is not None and not row.guessed for row in bad)
    if not counted:
        return (
            "warning",
            "likely",
            "no model has such numbers if both are means over the same rows and the loss is a "
            "cross-entropy in nats; the log doesn't count rows, so neither is sure",
        )
    return (
        "error",
        "certain",
        "no model has such numbers, if loss and accuracy are means over the same rows and the "
        "loss is a cross-entropy in nats",
    )


def _needed(row: Row) -> float:
    """What the printed loss has to be multiplied by, at least, to be possible."""
    loss, accuracy = _both(row)
    highest = loss.value + loss.unit
    return _least(accuracy) / highest if highest > 0 else math.inf


def _factor(size: int, total: int | None) -> tuple[float, str]:
    """Rows over batches, and how to say it."""
    if total is None:
        return float(size), f"about {size}"
    batches = math.ceil(total / size)
    return total / batches, f"{total}/{batches} = {total / batches:.1f}"


def _sizes(log: Log, total: int | None, least: float) -> list[tuple[int, str]]:
    """Batch sizes that would explain it, the likeliest first, and where each comes from."""
    if log.batch_size is not None:
        known = [(log.batch_size, "as given")]
    else:
        known = [
            (log.stride // every, f"the log's training lines step by {log.stride} rows")
            for every in (10, 1, 100, 20, 50)
            if log.stride is not None and log.stride % every == 0
        ]
        known = [one for one in known if one[0] in _USUAL_SIZES]
        if log.written_batch_size is not None:
            known.insert(0, (log.written_batch_size, "as the text says"))
        known += [
            (size, "not in the log; the usual one" if size == 64 else "not in the log; a usual one")
            for size in _USUAL_SIZES
        ]
    fitting: dict[int, str] = {}
    for size, source in known:
        if size <= (total or size) and _factor(size, total)[0] >= least:
            fitting.setdefault(size, source)
    return list(fitting.items())


def _table(bad: Sequence[Row], factor: float | None) -> list[str]:
    head = f"  {'line':>6}  {'printed':>9}  {'accuracy':>18}  {'at least':>8}"
    lines = [head + ("  true value" if factor else "")]
    for row in bad[:_SHOWN]:
        loss, accuracy = _both(row)
        line = f"  {row.line:>6}  {loss.text:>9}  {accuracy.text:>18}  {_least(accuracy):>8.4f}"
        if factor:
            line += f"  {_with_error(loss.value * factor, loss.half * factor)}"
        lines.append(line)
    if len(bad) > _SHOWN:
        lines.append(f"  and {len(bad) - _SHOWN} more lines")
    return lines


def _with_error(value: float, half: float) -> str:
    """A number with as many decimals as its uncertainty leaves."""
    decimals = max(0, -math.floor(math.log10(half))) if half > 0 else 4
    return f"{value:.{decimals}f} ± {half:.{decimals}f}"


@rule("log")
def small_held_out_loss(log: Log) -> Evidence | None:
    r"""The held-out loss is a constant factor below the training loss.

    Symptom: a test loss of 0.03 beside a training loss of 1.9, from the first epoch on.

    Cause: the two are divided by different numbers: batch means added up and divided by the number
    of rows, as a rule.

    Cure: divide both by what was added up (`softxent.Mean`).

    Failing:
        >>> one = "epoch 1  train loss 1.92  test loss 0.0271"
        >>> two = "epoch 2  train loss 0.52  test loss 0.0074"
        >>> doctor.audit_log(f"{one}\n{two}").rules
        ('small-held-out-loss',)

    Mended:
        >>> one = "epoch 1  train loss 1.92  test loss 1.7266"
        >>> two = "epoch 2  train loss 0.52  test loss 0.4713"
        >>> doctor.audit_log(f"{one}\n{two}").rules
        ()
    """
    if any(map(_is_impossible, log.pairs)):
        return None  # impossible-loss says it, and more surely
    ratios: list[tuple[int, float, Printed]] = []
    train: float | None = None
    for row in log.losses:
        assert row.loss is not None
        if row.split == "train":
            train = row.loss.value
        elif row.held_out and train is not None and row.loss.value > 0 and train > 0:
            ratios.append((row.line, train / row.loss.value, row.loss))
    if len(ratios) < 2:
        return None
    # The training loss is that of one batch, as a rule, and noisy.
    middle = sorted(ratio for _, ratio, _ in ratios)[len(ratios) // 2]
    if middle < 8 or min(ratio for _, ratio, _ in ratios) < 3:
        return None
    size = min(_USUAL_SIZES, key=lambda one: abs(math.log(one / middle)))
    return Evidence(
        level="warning",
        text=(
            f"In all {len(ratios)} places where both are printed the training loss is at least "
            f"{min(ratio for _, ratio, _ in ratios):.3g} times the held-out one, {middle:.3g} "
            "times "
            f"as a rule. Batch means divided by rows would give about the batch size, {size} say."
        ),
        numbers={
            "lines": [line for line, _, _ in ratios],
            "ratios": [ratio for _, ratio, _ in ratios],
            "batch_size": size,
        },
        confidence="likely",
        why="augmentation, smoothing and dropout explain a factor of two or three, and not at once",
        remedy="total += loss.item() * len(target)  # then total / len(dataset)",
        not_checked="whether training uses mixup or a loss with other terms.",
    )


@rule("log")
def cut_percentage(log: Log) -> Evidence | None:
    """Percentages are cut off, not rounded.

    Symptom: 9696 of 10000 is printed as 96%.

    Cause: integer division, or int(), before printing.

    Cure: let the format round: `f"{correct / total:.2%}"`.

    Failing:
        >>> doctor.audit_log("loss 0.11, accuracy 9696/10000 (96%)").rules
        ('cut-percentage',)

    Mended:
        >>> doctor.audit_log("loss 0.11, accuracy 9696/10000 (97%)").rules
        ()
    """
    cut = [row for row in log.rows if _percentage(row) == "cut"]
    if not cut:
        return None
    counted = sum(_percentage(row) is not None for row in log.rows)
    named = [f'"{row.accuracy.text}"' for row in cut if row.accuracy]
    shown = ", ".join(named[:-1]) + (" and " if len(named) > 1 else "") + named[-1]
    if len(named) > _SHOWN:
        shown = ", ".join(named[:_SHOWN]) + f" and {len(named) - _SHOWN} more"
    return Evidence(
        level="warning",
        text=f"{shown} {'are' if len(cut) > 1 else 'is'} cut off, not rounded: rounded "
        f"{'they' if len(cut) > 1 else 'it'} would read "
        + ", ".join(_rounded(row) for row in cut[:_SHOWN])
        + ".",
        numbers={
            "lines": [row.line for row in cut],
            "printed": [row.accuracy.text for row in cut if row.accuracy],
            "rounded": [_rounded(row) for row in cut],
            "percentages": counted,
        },
        confidence="certain" if len(cut) > 1 else "likely",
        why=f"of {counted} percentages none is rounded up where cutting and rounding differ",
        remedy='print(f"{correct}/{total} ({correct / total:.2%})")',
        not_checked="nothing else: it changes what is shown, not what is computed.",
    )


@rule("log")
def wrong_percentage(log: Log) -> Evidence | None:
    """A percentage doesn't fit the fraction beside it.

    Symptom: 9505/10000 beside 97%.

    Cause: the two count different rows: a mean of batch accuracies, another epoch, another
    denominator.

    Cure: compute the percentage from the printed counts.

    Failing:
        >>> doctor.audit_log("loss 0.21, accuracy 9505/10000 (97.1%)").rules
        ('wrong-percentage',)

    Mended:
        >>> doctor.audit_log("loss 0.21, accuracy 9505/10000 (95.0%)").rules
        ()
    """
    wrong = [row for row in log.rows if _percentage(row) == "wrong"]
    if not wrong:
        return None
    shown = ", ".join(f"line {row.line}: {row.accuracy.text}" for row in wrong[:4] if row.accuracy)
    return Evidence(
        level="error",
        text=f"{shown}: rounded or cut, it would read {_rounded(wrong[0])}.",
        numbers={"lines": [row.line for row in wrong], "rounded": [_rounded(r) for r in wrong]},
        confidence="certain",
        why="a fraction has one percentage",
        remedy='print(f"{correct}/{total} ({correct / total:.2%})")',
        not_checked="which of the two is right.",
    )


def _exact(row: Row) -> tuple[Fraction, Printed] | None:
    """The percentage of the counts, and the printed one beside them."""
    accuracy = row.accuracy
    if accuracy is None or accuracy.percent is None or accuracy.correct is None:
        return None
    if not accuracy.total or not math.isfinite(accuracy.percent.value):
        return None
    return Fraction(100 * accuracy.correct, accuracy.total), accuracy.percent


def _percentage(row: Row) -> str | None:
    """`rounded`, `cut` or `wrong`; `either` where cut and rounded are the same."""
    both = _exact(row)
    if both is None:
        return None
    exact, printed = both
    unit = Fraction(printed.unit).limit_denominator(10**12)
    shown = Fraction(printed.text)
    rounded = abs(shown - exact) <= unit / 2
    cut = 0 <= exact - shown < unit
    return "either" if rounded and cut else "rounded" if rounded else "cut" if cut else "wrong"


def _rounded(row: Row) -> str:
    both = _exact(row)
    assert both is not None
    decimals = max(0, round(-math.log10(both[1].unit)))
    return f"{float(both[0]):.{decimals}f}%"


@rule("log")
def accuracy_above_one(log: Log) -> Evidence | None:
    """More rows are counted as correct than there are.

    Symptom: "6 of 4 correct", an accuracy of 150%.

    Cause: (N, 1) predictions compared with (N,) labels broadcast to N x N comparisons; or a count
    that isn't reset.

    Cure: compare equal shapes: `pred.squeeze(1) == target`.

    Failing:
        >>> doctor.audit_log("loss 0.61, accuracy 6/4 (150%)").rules
        ('accuracy-above-one',)

    Mended:
        >>> doctor.audit_log("loss 0.61, accuracy 3/4 (75%)").rules
        ()
    """
    bad = [row for row in log.rows if row.accuracy and row.accuracy.value > 1]
    if not bad:
        return None
    shown = ", ".join(f"line {row.line}: {row.accuracy.text}" for row in bad[:4] if row.accuracy)
    return Evidence(
        level="error",
        text=f"{len(bad)} accurac{'ies are' if len(bad) > 1 else 'y is'} above 1: {shown}.",
        numbers={
            "lines": [row.line for row in bad],
            "accuracies": [row.accuracy.value for row in bad if row.accuracy],
        },
        confidence="certain",
        why="no more rows can be right than there are",
        remedy="correct += (predicted.reshape(target.shape) == target).sum().item()",
        not_checked="how they were counted.",
    )


@rule("log")
def negative_loss(log: Log) -> Evidence | None:
    r"""A cross-entropy is below 0.

    Symptom: -0.34 and falling towards -1; or -55 and falling without end.

    Cause: NLLLoss on probabilities (between -1 and 0), or on logits, or class numbers in a binary
    loss (without end).

    Cure: CrossEntropyLoss on logits and class indices.

    Failing:
        >>> doctor.audit_log("epoch 1 loss -0.34\nepoch 2 loss -0.61").rules
        ('negative-loss',)

    Mended:
        >>> doctor.audit_log("epoch 1 loss 1.08\nepoch 2 loss 0.49").rules
        ()
    """
    bad = [row for row in log.losses if row.loss and row.loss.value + row.loss.unit < 0]
    if not bad:
        return None
    lowest = min(row.loss.value for row in bad if row.loss)
    guess = (
        "None is below -1: NLLLoss on probabilities gives that."
        if lowest >= -1
        else "They go below -1: NLLLoss on logits, or class numbers in a binary loss, give that."
    )
    return Evidence(
        level="error",
        text=f"{len(bad)} of {len(log.losses)} losses are negative, down to {lowest:.4g}. {guess}",
        numbers={"lines": [row.line for row in bad], "lowest": lowest},
        confidence="certain",
        why="-ln p is at least 0, if the loss is a cross-entropy and nothing is added to it",
        remedy="loss = cross_entropy(logits, target)",
        not_checked="whether the loss has other terms, or is of a density.",
    )


@rule("log")
def loss_not_finite(log: Log) -> Evidence | None:
    r"""The loss is NaN or infinite.

    Symptom: NaN from some line on.

    Cause: from the first line: logarithms of something that isn't a probability, or NaN in the
    data. Later: log(0), an overflow, too high a rate. Now and then: batches with nothing to
    average.

    Cure: `doctor.check` on the first batch that does it.

    Failing:
        >>> doctor.audit_log("step 1 loss 2.31\nstep 2 loss nan\nstep 3 loss nan").rules
        ('loss-not-finite',)

    Mended:
        >>> doctor.audit_log("step 1 loss 2.31\nstep 2 loss 2.24\nstep 3 loss 2.19").rules
        ()
    """
    seen = [row for row in log.rows if row.loss]
    bad = [row for row in seen if row.loss and not math.isfinite(row.loss.value)]
    if not bad:
        return None
    recovers = any(row.line > bad[0].line for row in log.losses)
    when = (
        "from the first line on"
        if bad[0] is seen[0] and not recovers
        else f"from line {bad[0].line} on"
        if not recovers
        else f"in some lines, line {bad[0].line} first, and not in later ones"
    )
    return Evidence(
        level="error",
        text=f"{len(bad)} of {len(seen)} losses are NaN or infinite, {when}.",
        numbers={"lines": [row.line for row in bad[:64]], "count": len(bad), "recovers": recovers},
        confidence="certain",
        why="it is printed"
        + ("; weights that were NaN wouldn't recover: single batches" if recovers else ""),
        remedy="print(doctor.check(logits, target))  # on that batch",
        not_checked="the batch that did it.",
    )


@rule("log")
def zero_loss(log: Log) -> Evidence | None:
    r"""The loss is exactly 0 from the start.

    Symptom: 0.0000 in every line.

    Cause: softmax over a single class: one output for two classes.

    Cure: two outputs, or binary_cross_entropy_with_logits.

    Failing:
        >>> doctor.audit_log("step 1 loss 0.0000\nstep 2 loss 0.0000\nstep 3 loss 0.0000").rules
        ('zero-loss',)

    Mended:
        >>> doctor.audit_log("step 1 loss 0.6931\nstep 2 loss 0.5113\nstep 3 loss 0.4002").rules
        ()
    """
    if len(log.losses) < 3 or any(row.loss and row.loss.value != 0 for row in log.losses):
        return None
    return Evidence(
        level="warning",
        text=f"All {len(log.losses)} losses are 0.",
        numbers={"losses": len(log.losses)},
        confidence="likely",
        why="an untrained model's loss is not 0",
        remedy="loss = binary_cross_entropy_with_logits(scores[:, 0], target.float())",
        not_checked="how many digits were cut.",
    )


@rule("log")
def loss_floor(log: Log) -> Evidence | None:
    r"""The loss never falls below ln(1 + (C - 1) / e), the floor of a double softmax.

    Symptom: the loss starts at ln C and ends at 1.461 + (1 - accuracy) for 10 classes.

    Cause: softmax before a loss that applies softmax itself. Sure and right costs the floor, sure
    and wrong costs 1 more.

    Cure: hand the logits to the loss.

    Failing:
        >>> lines = ["loss 2.3026", "val loss 1.5504 val acc 0.9112"]
        >>> lines += ["val loss 1.5311 val acc 0.9336", "val loss 1.5254 val acc 0.9391"]
        >>> doctor.audit_log("\n".join(lines)).rules
        ('loss-floor',)

    Mended:
        >>> lines = ["loss 2.3026", "val loss 0.3104 val acc 0.9112"]
        >>> lines += ["val loss 0.2311 val acc 0.9336", "val loss 0.2101 val acc 0.9391"]
        >>> doctor.audit_log("\n".join(lines)).rules
        ()
    """
    classes = log.start_classes
    if classes is None or len(log.losses) < 2:
        return None
    floor, guess = double_softmax_floor(classes), math.log(classes)
    values = [row.loss.value for row in log.losses if row.loss]
    unit = max(row.loss.unit for row in log.losses if row.loss)
    lowest = min(values)
    if not floor - unit <= lowest <= guess + unit or max(values) > guess + 0.5:
        return None
    numbers: dict[str, float] = {"classes": classes, "floor": floor, "lowest": lowest}
    text = (
        f"The lowest of {len(values)} losses is {lowest:.4f}; the floor of {classes} classes is "
        f"ln(1 + {classes - 1}/e) = {floor:.4f}."
    )
    level: Level = "note"
    why = "a loss may level off there by chance"
    if log.pairs:
        last = log.pairs[-3:]
        losses = [_both(row)[0].value for row in last]
        if len(last) < 3 or max(losses) - min(losses) > 0.1:
            return None  # a loss that is still falling says nothing about a floor
        for row in last:
            loss, accuracy = _both(row)
            told = floor + 1 - accuracy.value
            # A model that is as sure as it is right has at most this loss.
            honest = _entropy(accuracy.value)
            honest += (1 - accuracy.value) * math.log(max(1, classes - 1))
            if abs(loss.value - told) > 0.12 or loss.value < 1.4 * honest:
                return None
        text += (
            f" In line {last[-1].line} the accuracy is {accuracy.text} and the loss {loss.text}: "
            f"sure and right costs the floor, sure and wrong 1 more, {told:.4f} together. A model "
            f"that is as sure as it is right would have at most {honest:.4f}."
        )
        numbers |= {"expected": told, "honest": honest, "accuracy": accuracy.value}
        level, why = "warning", "the loss is that of a double softmax at this accuracy"
    else:
        tail = values[len(values) // 2 :]
        if len(values) < 6 or max(tail) > floor + 0.12 or max(tail) - min(tail) > 0.06:
            return None
    return Evidence(
        level=level,
        text=text,
        numbers=numbers,
        confidence="likely" if level == "warning" else "possible",
        why=why,
        remedy="loss = cross_entropy(logits, target)  # no softmax before it",
        not_checked="the model; " + _classes_from(log),
    )


def _entropy(p: float) -> float:
    """Of a coin that shows heads with probability p, in nats."""
    return -sum(q * math.log(q) for q in (p, 1 - p) if q > 0)


def _classes_from(log: Log) -> str:
    if log.classes is not None:
        return "the number of classes is as given."
    return "the number of classes was read off the first loss."


@rule("log")
def stuck_loss(log: Log) -> Evidence | None:
    r"""The loss stays at ln C: the model guesses.

    Symptom: 2.3026 for 10 classes, 0.6931 for 2, from the first line to the last.

    Cause: a gradient that doesn't arrive (detached, all units dead), a rate that is far too small
    or so large that everything died at once, inputs scaled to nothing, labels that were shuffled.

    Cure: `doctor.examine` tries the model on one batch.

    Failing:
        >>> lines = [f"epoch {i} train loss 2.30{i % 3} val loss 2.302" for i in range(1, 6)]
        >>> doctor.audit_log("\n".join(lines)).rules
        ('stuck-loss',)

    Mended:
        >>> lines = [f"epoch {i} train loss {2.3 / i:.3f} val loss 2.0" for i in range(1, 6)]
        >>> doctor.audit_log("\n".join(lines)).rules
        ()
    """
    classes = log.start_classes
    if classes is None:
        return None
    guess = math.log(classes)
    values = [row.loss.value for row in log.losses if row.loss]
    held_out = sum(row.held_out for row in log.losses)
    if len(values) < 20 and held_out < 4:
        return None
    if any(abs(value - guess) > 0.01 * guess + 0.005 for value in values):
        return None
    if any(_both(row)[1].value > 2 / classes for row in log.pairs):
        return None
    return Evidence(
        level="warning",
        text=(
            f"All {len(values)} losses lie between {min(values):.4f} and {max(values):.4f}; "
            f"guessing among {classes} classes costs ln {classes} = {guess:.4f}."
        ),
        numbers={"classes": classes, "guess": guess, "losses": len(values)},
        confidence="likely",
        why="a loss that learns anything leaves ln C within a few dozen steps",
        remedy="print(doctor.examine(model, batch, loss))",
        not_checked="the rate and the inputs; " + _classes_from(log),
    )
