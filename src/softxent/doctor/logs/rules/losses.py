"""Rules on losses that were divided by the wrong number."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from softxent.doctor.finding import Confidence, Evidence, Severity
from softxent.doctor.logs.log import Accuracy, Log, Row
from softxent.doctor.registry import rule

__all__: list[str] = []

_COMMON_SIZES = (64, 32, 128, 256, 100, 16, 512, 1000, 1024, 50, 200, 8, 20, 10, 4)
_SHOWN = 12  # rows of a table
_HIGHEST_GUESS = 20.0  # nats; ln C of half a billion classes


def _lowest_loss(accuracy: Accuracy) -> float:
    """The lowest mean loss that an accuracy allows: in every wrong row p <= 1/2."""
    return max(0.0, 1 - accuracy.value - accuracy.resolution) * math.log(2)


def _is_impossible(row: Row) -> bool:
    loss, accuracy = row.both
    return loss.value >= 0 and loss.value + loss.resolution < _lowest_loss(accuracy)


@rule("log", severity="error")
def impossible_loss(log: Log) -> Evidence | None:
    """The mean loss is lower than the accuracy allows.

    Symptom: a test loss of 0.0017 at 97% accuracy, far below the training loss.

    Cause: in a row that is predicted wrongly the target has at most probability 1/2, so its loss is
    at least ln 2, and with accuracy a the mean is at least (1-a) ln 2. Usually batch means were
    added up (`total += loss.item()`) and divided by the number of rows.

    Fix: `total += loss.item() * len(target)`, or divide by the number of batches.

    Source: https://github.com/pytorch/tutorials/issues/1486

    Wrong:
        >>> log = "Test set: Average loss: 0.0070, Accuracy: 8688/10000 (87%)"
        >>> doctor.audit_log(log).rules
        ('impossible-loss',)

    Fixed:
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
    totals = {row.both[1].total for row in bad}
    total = totals.pop() if len(totals) == 1 else None
    least_factor = max(_needed(row) for row in bad)
    sizes = _sizes(log, total, least_factor)
    text = f"{first}: with accuracy a the mean loss is at least (1-a) ln 2."
    numbers: dict[str, object] = {
        "lines": [row.line for row in bad],
        "printed": [row.both[0].value for row in bad],
        "least": [_lowest_loss(row.both[1]) for row in bad],
        "least_factor": least_factor if math.isfinite(least_factor) else None,
        "rows": total,
    }
    factor = None
    if sizes:
        size, source = sizes[0]
        factor, words = _factor(size, total)
        numbers |= {"batch_size": size, "factor": factor}
        numbers |= {"true": [row.both[0].value * factor for row in bad]}
        numbers |= {"other_batch_sizes": [other for other, _ in sizes[1:]]}
        text += (
            "\nThat is the result of adding up batch means and dividing by the number of rows. "
            f"With batch size {size} ({source}) the factor is {words}; it must be at least "
            f"{least_factor:.3g}."
        )
        if len(sizes) > 1:
            text += " Other batch sizes that explain it: " + ", ".join(
                f"{other} ({_factor(other, total)[0]:.1f})" for other, _ in sizes[1:6]
            )
            text += "."
    text += "\n" + "\n".join(_table(bad, factor))
    severity, confidence, why = _certainty(log, bad)
    return Evidence(
        severity=severity,
        text=text,
        numbers=numbers,
        confidence=confidence,
        why=why + ("; the cause and the factor are the likely explanation" if factor else ""),
        remedy="total += loss.item() * len(target)  # then total / len(dataset)",
        not_checked=(
            "whether the loss is a cross-entropy over the rows that the accuracy counts: a binary "
            "loss averaged over labels, a loss per token beside an accuracy per sequence, class "
            "weights, focal or squared losses may all be lower; a short last batch, which a sum of "
            "means counts like a full one."
        ),
    )


def _certainty(log: Log, bad: Sequence[Row]) -> tuple[Severity, Confidence, str]:
    """How many of the assumptions of the bound the log itself confirms."""
    if not any(row.held_out for row in bad):
        return (
            "note",
            "possible",
            "the log doesn't say that both are of the same held-out rows: the loss of a last batch "
            "beside a test accuracy, or class weights in training, would explain it",
        )
    counted = all(row.both[1].total is not None and not row.guessed for row in bad)
    ratios = _ratios(log)
    beside = [row for row in bad if row.line in ratios]
    training = sum(row.both[0].value * ratios[row.line] for row in beside)
    fits = training >= sum(_lowest_loss(row.both[1]) for row in beside)
    steady = bool(beside) and max(ratios.values()) <= 4 * min(ratios.values())
    if not counted and _is_constant_factor(log) and steady and fits:
        return (
            "error",
            "certain",
            "a loss that is lower for another reason, such as an average over labels or tokens, "
            "would be lower in training too, but the training loss is "
            f"{_middle(ratios.values()):.3g} times as high and fits the accuracy",
        )
    if not counted:
        return (
            "warning",
            "likely",
            "no model has such numbers if both are means over the same rows and the loss is a "
            "cross-entropy in nats; the log doesn't count rows, so neither is certain",
        )
    return (
        "error",
        "certain",
        "no model has such numbers, if loss and accuracy are means over the same rows and the "
        "loss is a cross-entropy in nats",
    )


def _needed(row: Row) -> float:
    """The lowest factor that makes the printed loss possible."""
    loss, accuracy = row.both
    highest = loss.value + loss.resolution
    return _lowest_loss(accuracy) / highest if highest > 0 else math.inf


def _factor(size: int, total: int | None) -> tuple[float, str]:
    """Rows per batch, and the same in words."""
    if total is None:
        return float(size), f"about {size}"
    batches = math.ceil(total / size)
    return total / batches, f"{total}/{batches} = {total / batches:.1f}"


def _sizes(log: Log, total: int | None, least: float) -> list[tuple[int, str]]:
    """Batch sizes that would explain it, the most likely first, with their sources."""
    if log.batch_size is not None:
        known = [(log.batch_size, "passed by the caller")]
    else:
        known = [
            (log.stride // every, f"the log's training lines are {log.stride} rows apart")
            for every in (10, 1, 100, 20, 50)
            if log.stride is not None and log.stride % every == 0
        ]
        known = [one for one in known if one[0] in _COMMON_SIZES]
        if log.written_batch_size is not None:
            known.insert(0, (log.written_batch_size, "from the log"))
        known += [
            (size, f"not in the log; {'the most' if size == 64 else 'a'} common one")
            for size in _COMMON_SIZES
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
        loss, accuracy = row.both
        line = (
            f"  {row.line:>6}  {loss.text:>9}  {accuracy.text:>18}  {_lowest_loss(accuracy):>8.4f}"
        )
        if factor:
            line += f"  {_with_error(loss.value * factor, loss.rounding * factor)}"
        lines.append(line)
    if len(bad) > _SHOWN:
        lines.append(f"  and {len(bad) - _SHOWN} more lines")
    return lines


def _with_error(value: float, half: float) -> str:
    """A number with as many decimals as its uncertainty justifies."""
    decimals = max(0, -math.floor(math.log10(half))) if half > 0 else 4
    return f"{value:.{decimals}f} ± {half:.{decimals}f}"


@rule("log", severity="warning")
def small_held_out_loss(log: Log) -> Evidence | None:
    r"""The held-out loss is a constant factor below the training loss.

    Symptom: a test loss of 0.03 beside a training loss of 1.9, from the first epoch on.

    Cause: the two are divided by different numbers. Usually batch means were added up and divided
    by the number of rows.

    Fix: divide both by the number of what was added up (`softxent.Mean`).

    Source: https://github.com/pytorch/tutorials/issues/1486

    Wrong:
        >>> one = "epoch 1  train loss 1.92  test loss 0.0271"
        >>> two = "epoch 2  train loss 0.52  test loss 0.0074"
        >>> doctor.audit_log(f"{one}\n{two}").rules
        ('small-held-out-loss',)

    Fixed:
        >>> one = "epoch 1  train loss 1.92  test loss 1.7266"
        >>> two = "epoch 2  train loss 0.52  test loss 0.4713"
        >>> doctor.audit_log(f"{one}\n{two}").rules
        ()
    """
    if any(map(_is_impossible, log.pairs)):
        return None  # impossible-loss reports it, with more certainty
    ratios = _ratios(log)
    if not _is_constant_factor(log):
        return None
    middle = _middle(ratios.values())
    size = min(_COMMON_SIZES, key=lambda one: abs(math.log(one / middle)))
    train = _middle([one for _, _, one in _beside(log)])
    undivided = train > _HIGHEST_GUESS
    cause = (
        f"A training loss of {train:.4g} is above ln C for any C: it looks like a sum over about "
        f"{middle:.0f} batches that was not divided, and the held-out loss looks like a mean."
        if undivided
        else f"Batch means divided by rows are too small by about the batch size, perhaps {size}."
    )
    return Evidence(
        text=(
            f"In all {len(ratios)} places where both are printed, the training loss is at least "
            f"{min(ratios.values()):.3g} times the held-out loss; the median is {middle:.3g}. "
            f"{cause}"
        ),
        numbers={
            "lines": list(ratios),
            "ratios": list(ratios.values()),
            "batch_size": size,
        },
        confidence="likely",
        why="both fall together; augmentation, smoothing and dropout explain a factor of two or "
        "three at most",
        remedy="print(total / len(loader))  # total: the sum of the batch means"
        if undivided
        else "total += loss.item() * len(target)  # then total / len(dataset)",
        not_checked="whether training uses mixup or a loss with other terms.",
    )


def _beside(log: Log) -> list[tuple[int, float, float]]:
    """(line, held-out loss, training loss before it) for every held-out loss."""
    both: list[tuple[int, float, float]] = []
    train: float | None = None
    for row in log.losses:
        assert row.loss is not None
        if row.split == "train":
            train = row.loss.value
        elif row.held_out and train is not None and row.loss.value > 0 and train > 0:
            both.append((row.line, row.loss.value, train))
    return both


def _ratios(log: Log) -> dict[int, float]:
    """By the line of a held-out loss: the training loss before it divided by it."""
    return {line: train / held_out for line, held_out, train in _beside(log)}


def _middle(values: Iterable[float]) -> float:
    """The upper median: a training loss is usually that of one batch, and noisy."""
    ordered = sorted(values)
    return ordered[len(ordered) // 2]


def _is_constant_factor(log: Log) -> bool:
    """Whether the training loss is always about a batch size times the held-out loss.

    It has to fall with it, too: a term that only training has, such as weight decay or mixup,
    doesn't.
    """
    both = _beside(log)
    ratios = [train / held_out for _, held_out, train in both]
    if len(both) < 2 or _middle(ratios) < 8 or min(ratios) < 3:
        return False
    part = max(1, len(both) // 3)
    falls = [
        _middle(pair[which] for pair in both[:part]) / _middle(pair[which] for pair in both[-part:])
        for which in (1, 2)
    ]
    held_out, train = falls
    return held_out >= 1.1 and math.log(train) >= 0.4 * math.log(held_out)
