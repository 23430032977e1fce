"""The rule on a loss that can't fall below that of a second softmax."""

from __future__ import annotations

import math

from softxent.doctor.finding import Evidence, Severity
from softxent.doctor.formulas import double_softmax_floor
from softxent.doctor.logs.log import Log
from softxent.doctor.registry import rule

__all__ = ["classes_from", "tied_to_accuracy"]


@rule("log", severity="warning")
def loss_floor(log: Log) -> Evidence | None:
    r"""The loss never falls below ln(1 + (C - 1) / e), the floor of a double softmax.

    Symptom: the loss starts at ln C and ends at 1.461 + (1 - accuracy) for 10 classes.

    Cause: softmax before a loss that applies softmax itself. A confident correct prediction has the
    loss of the floor, a confident wrong prediction 1 more.

    Fix: pass the logits to the loss.

    Source: https://github.com/pytorch/pytorch/issues/55902

    Wrong:
        >>> lines = ["loss 2.3026", "val loss 1.5504 val acc 0.9112"]
        >>> lines += ["val loss 1.5311 val acc 0.9336", "val loss 1.5254 val acc 0.9391"]
        >>> doctor.audit_log("\n".join(lines)).rules
        ('loss-floor',)

    Fixed:
        >>> lines = ["loss 2.3026", "val loss 0.3104 val acc 0.9112"]
        >>> lines += ["val loss 0.2311 val acc 0.9336", "val loss 0.2101 val acc 0.9391"]
        >>> doctor.audit_log("\n".join(lines)).rules
        ()
    """
    classes = log.start_classes
    if classes is None or not log.losses:
        return None
    tied = tied_to_accuracy(log, classes)
    if tied is not None or len(log.losses) < 2:
        return tied
    floor, guess = double_softmax_floor(classes), math.log(classes)
    values = [row.loss.value for row in log.losses if row.loss]
    step = max(row.loss.resolution for row in log.losses if row.loss)
    lowest = min(values)
    if not floor - step <= lowest <= guess + step or max(values) > guess + 0.5:
        return None
    numbers: dict[str, float] = {"classes": classes, "floor": floor, "lowest": lowest}
    text = (
        f"The lowest of {len(values)} losses is {lowest:.4f}; the floor of {classes} classes is "
        f"ln(1 + {classes - 1}/e) = {floor:.4f}."
    )
    severity: Severity = "note"
    why = "a loss may level off there by chance"
    if log.pairs:
        last = log.pairs[-3:]
        losses = [row.both[0].value for row in last]
        if len(last) < 3 or max(losses) - min(losses) > 0.1:
            return None  # a loss that is still falling has not reached a floor
        for row in last:
            loss, accuracy = row.both
            expected = floor + 1 - accuracy.value
            calibrated = _highest_calibrated(accuracy.value, classes)
            if abs(loss.value - expected) > 0.12 or loss.value < 1.4 * calibrated:
                return None
        text += (
            f" In line {last[-1].line} the accuracy is {accuracy.text} and the loss {loss.text}. "
            f"With a double softmax, confident correct predictions have the loss of the floor and "
            f"wrong ones 1 more, {expected:.4f} on average; a calibrated model would have at most "
            f"{calibrated:.4f}."
        )
        numbers |= {"expected": expected, "honest": calibrated, "accuracy": accuracy.value}
        severity, why = "warning", "the loss is that of a double softmax at this accuracy"
    else:
        tail = values[len(values) // 2 :]
        if len(values) < 6 or max(tail) > floor + 0.12 or max(tail) - min(tail) > 0.06:
            return None
    return Evidence(
        severity=severity,
        text=text,
        numbers=numbers,
        confidence="likely" if severity == "warning" else "possible",
        why=why,
        remedy="loss = cross_entropy(logits, target)  # no softmax before it",
        not_checked="the model; " + classes_from(log),
    )


# How far from the loss of a saturated double softmax a line may be, in nats. Collapsed trainings on
# four data sets were at most 0.002 away, healthy ones 0.03 and more, or below a calibrated loss.
_TIE = 0.003
_TIE_OF_EQUAL_LINES = 0.0006  # of a loss that never changes, one such line is no more than one
_ABOVE_CALIBRATED = 0.02
_TIED_LINES = 3
_COARSEST_ACCURACY = 0.002  # one step of its last digit; coarser ones fit many losses


def tied_to_accuracy(log: Log, classes: int) -> Evidence | None:
    """Find a double softmax that has collapsed, at any accuracy.

    If each output of the first softmax is 0 or 1, the loss of each row is the floor or 1 more, so
    that the mean is the floor + 1 - accuracy to the last digit.
    """
    held_out = [row for row in log.pairs if row.held_out]
    rows = (held_out or list(log.pairs))[-12:]
    if len(rows) > 2 * _TIED_LINES:
        rows = rows[len(rows) // 2 :]
    if not rows:
        return None
    floor = double_softmax_floor(classes)
    values = [row.both[0].value for row in rows]
    limit = _TIE if max(values) - min(values) > _TIE else _TIE_OF_EQUAL_LINES
    lines, certain = [], 0  # lines whose loss no calibrated model has
    farthest, different = 0.0, {row.both[1].value for row in rows}
    for row in rows:
        loss, accuracy = row.both
        expected = floor + 1 - accuracy.value
        calibrated = _highest_calibrated(accuracy.value, classes)
        if accuracy.resolution > _COARSEST_ACCURACY:
            return None
        if abs(loss.value - expected) > limit + loss.rounding + accuracy.resolution:
            return None
        farthest = max(farthest, abs(loss.value - expected) - loss.rounding - accuracy.resolution)
        certain += loss.value >= calibrated + _ABOVE_CALIBRATED
        lines.append(f"  {row.line:>6}  {loss.text:>9}  {accuracy.text:>12}  {expected:>8.4f}")
    # Where both losses are close, only many different lines that agree to the last digit decide.
    # With few classes a calibrated loss has the same slope in a wide range.
    exact = classes >= 5 and len(different) >= 5 and farthest <= _TIE_OF_EQUAL_LINES
    if not certain and not exact:
        return None
    enough = certain >= _TIED_LINES or exact
    head = f"  {'line':>6}  {'loss':>9}  {'accuracy':>12}  {'expected':>8}"
    return Evidence(
        severity="warning" if enough else "note",
        text=f"The loss is ln(1 + {classes - 1}/e) + 1 - accuracy in {len(rows)} "
        f"line{'s' if len(rows) > 1 else ''}, to {limit:g} nats. That is the loss of a double "
        "softmax whose first softmax has collapsed to 0 and 1: a correct row costs "
        f"{floor:.4f}, a wrong one 1 more.\n" + "\n".join([head, *lines]),
        numbers={
            "classes": classes,
            "floor": floor,
            "lines": [row.line for row in rows],
            "losses": values,
            "expected": [floor + 1 - row.both[1].value for row in rows],
        },
        confidence="likely" if enough else "possible",
        why="no other loss follows the accuracy by exactly 1 nat, and a calibrated model's loss is "
        "lower"
        if enough
        else "in so few lines it may be so by chance",
        remedy="loss = cross_entropy(logits, target)  # no softmax before it",
        not_checked="the model; " + classes_from(log),
    )


def _highest_calibrated(accuracy: float, classes: int) -> float:
    """The highest loss of a calibrated model with this accuracy, in nats.

    Each row has the accuracy as its highest probability, and the other classes share the rest.
    """
    spread = (1 - accuracy) * math.log(max(1, classes - 1))
    return _entropy(accuracy) + spread


def _entropy(p: float) -> float:
    """The entropy of a coin that shows heads with probability p, in nats."""
    return -sum(q * math.log(q) for q in (p, 1 - p) if q > 0)


def classes_from(log: Log) -> str:
    """Where the number of classes comes from, for `not_checked`."""
    if log.classes is not None:
        return "the number of classes was passed by the caller."
    if log.written_classes is not None:
        return "the number of classes was read in the log."
    return "the number of classes was inferred from the first loss."
