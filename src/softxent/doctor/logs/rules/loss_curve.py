"""Rules on the course of the loss: its sign, its floor, and whether it moves."""

from __future__ import annotations

import math

from softxent.doctor.finding import Confidence, Evidence, Severity
from softxent.doctor.formulas import double_softmax_floor
from softxent.doctor.logs.log import Log, Row
from softxent.doctor.registry import rule

__all__: list[str] = []


@rule("log", severity="error")
def negative_loss(log: Log) -> Evidence | None:
    r"""A cross-entropy is below 0.

    Symptom: -0.34 and falling towards -1; or -55 and falling without limit.

    Cause: NLLLoss of probabilities (between -1 and 0), NLLLoss of logits, or class indices in a
    binary loss (without limit).

    Fix: CrossEntropyLoss of logits and class indices.

    Source: https://github.com/pytorch/pytorch/issues/123339

    Wrong:
        >>> doctor.audit_log("epoch 1 loss -0.34\nepoch 2 loss -0.61").rules
        ('negative-loss',)

    Fixed:
        >>> doctor.audit_log("epoch 1 loss 1.08\nepoch 2 loss 0.49").rules
        ()
    """
    bad = [row for row in log.losses if row.loss and row.loss.value + row.loss.resolution < 0]
    if not bad or log.signed:  # a policy's loss, a log-density or an ELBO may be negative
        return None
    lowest = min(row.loss.value for row in bad if row.loss)
    guess = (
        "None is below -1, as with NLLLoss of probabilities."
        if lowest >= -1
        else "Some are below -1, as with NLLLoss of logits, or with class indices in a binary loss."
    )
    counted = any(row.accuracy for row in log.rows)
    return Evidence(
        severity="error" if counted else "warning",
        text=f"{len(bad)} of {len(log.losses)} losses are negative, down to {lowest:.4g}. {guess}",
        numbers={"lines": [row.line for row in bad], "lowest": lowest},
        confidence="certain" if counted else "likely",
        why="-ln p is at least 0, if the loss is a cross-entropy without other terms"
        + ("" if counted else "; without an accuracy in the log it may be another loss"),
        remedy="loss = cross_entropy(logits, target)",
        not_checked="whether the loss has other terms, or is that of a density.",
    )


@rule("log", severity="error")
def loss_not_finite(log: Log) -> Evidence | None:
    r"""The loss is NaN or infinite.

    Symptom: NaN from some line on.

    Cause: from the first line on: logarithms of numbers that aren't probabilities, or NaN in the
    data. Later: log(0), an overflow, a learning rate that is too high. In single lines: batches
    with nothing to average.

    Fix: call `doctor.check` on the first batch with such a loss.

    Source: https://github.com/motional/nuplan-devkit/issues/91

    Wrong:
        >>> doctor.audit_log("step 1 loss 2.31\nstep 2 loss nan\nstep 3 loss nan").rules
        ('loss-not-finite',)

    Fixed:
        >>> doctor.audit_log("step 1 loss 2.31\nstep 2 loss 2.24\nstep 3 loss 2.19").rules
        ()
    """
    seen = [row for row in log.rows if row.loss]
    bad = [row for row in seen if row.loss and not math.isfinite(row.loss.value)]
    if not bad:
        return _other_losses(log)
    recovers = any(row.line > bad[0].line for row in log.losses)
    when = (
        "from the first line on"
        if bad[0] is seen[0] and not recovers
        else f"from line {bad[0].line} on"
        if not recovers
        else f"in some lines, line {bad[0].line} first, and not in later ones"
    )
    return Evidence(
        text=f"{len(bad)} of {len(seen)} losses are NaN or infinite, {when}.",
        numbers={"lines": [row.line for row in bad[:64]], "count": len(bad), "recovers": recovers},
        confidence="certain",
        why="the log says so"
        + ("; NaN weights wouldn't recover, so single batches cause it" if recovers else ""),
        remedy="print(doctor.check(logits, target))  # on that batch",
        not_checked="the batch that caused it.",
    )


def _other_losses(log: Log) -> Evidence | None:
    """NaN and infinities under names that may not be those of a cross-entropy."""
    if not log.not_finite:
        return None
    first = log.not_finite[0]
    names = list(dict.fromkeys(one.name for one in log.not_finite))
    shown = ", ".join(names[:4]) + (" ..." if len(names) > 4 else "")
    return Evidence(
        text=f"{len(log.not_finite)} values of {shown} are NaN or infinite, line {first.line} "
        f"first: {first.name}: {first.text}.",
        numbers={
            "lines": [one.line for one in log.not_finite[:64]],
            "count": len(log.not_finite),
            "names": names,
        },
        confidence="certain",
        why="the log says so",
        remedy="torch.autograd.set_detect_anomaly(True)  # names the operation that made it",
        not_checked="what that loss is, and the batch that caused it.",
    )


_LAST_LINES = 3  # of NaN gradients; mixed precision has NaN in single lines, whose steps it skips


@rule("log", severity="error")
def hidden_nan(log: Log) -> Evidence | None:
    r"""The gradient norm is NaN although the printed loss is a number.

    Symptom: `{'loss': 0.0, 'grad_norm': nan}`; or a loss that looks healthy while the norm of the
    gradient is NaN in line after line.

    Cause: the loss is NaN and isn't printed as it is: Hugging Face's Trainer replaces a NaN by the
    mean of the losses before it (`logging_nan_inf_filter`), which is 0 if there are none, and
    `nan_to_num` makes 0 of it. Or the loss is a number whose gradient is NaN. Either way the
    parameters become NaN, or each step is skipped.

    Fix: print the loss as it is, and call `doctor.check` on the first batch with a NaN.

    Source: https://github.com/huggingface/trl/issues/6702

    Wrong:
        >>> doctor.audit_log("{'loss': 0.0, 'grad_norm': nan, 'epoch': 0.1}").rules
        ('hidden-nan',)

    Fixed:
        >>> doctor.audit_log("{'loss': 0.6931, 'grad_norm': 1.7, 'epoch': 0.1}").rules
        ()
    """
    rows = [row for row in log.rows if row.gradient_norm and row.loss]
    bad = [row for row in rows if _has_nan_gradient(row)]
    if not bad:
        return None
    zero = [row for row in bad if row.loss and row.loss.value == 0]
    to_the_end = len(bad) >= _LAST_LINES and rows[-len(bad) :] == bad
    severity: Severity = "error" if zero or to_the_end else "note"
    confidence: Confidence = "certain" if zero and len(bad) > 1 else "likely"
    if severity == "note":
        confidence = "possible"
    first = (zero or bad)[0]
    assert first.loss is not None
    return Evidence(
        severity=severity,
        text=f"In {len(bad)} of {len(rows)} lines the gradient norm is NaN and the loss is a "
        f"number, in {len(zero)} of them exactly 0; line {first.line}: loss {first.loss.text}, "
        "gradient norm nan.",
        numbers={
            "lines": [row.line for row in bad[:64]],
            "count": len(bad),
            "zero_losses": len(zero),
        },
        confidence=confidence,
        why="a loss that is a finite 0 has a finite gradient"
        if zero
        else "no later line has a gradient that is a number"
        if severity == "error"
        else "mixed precision skips single steps whose gradient overflows, which is healthy",
        remedy="args = TrainingArguments(..., logging_nan_inf_filter=False)  # shows the loss",
        not_checked="which operation makes the NaN; doctor.check on that batch names the mistakes "
        "in the arguments of the loss.",
    )


def _has_nan_gradient(row: Row) -> bool:
    """Whether the gradient of a finite loss is NaN."""
    norm, loss = row.gradient_norm, row.loss
    return bool(norm and math.isnan(norm.value) and loss and math.isfinite(loss.value))


@rule("log", severity="warning")
def zero_loss(log: Log) -> Evidence | None:
    r"""The loss is exactly 0 from the start.

    Symptom: 0.0000 in every line.

    Cause: softmax over a single class: one output for two classes.

    Fix: use two outputs, or binary_cross_entropy_with_logits.

    Source: https://github.com/pytorch/pytorch/issues/133833

    Wrong:
        >>> doctor.audit_log("step 1 loss 0.0000\nstep 2 loss 0.0000\nstep 3 loss 0.0000").rules
        ('zero-loss',)

    Fixed:
        >>> doctor.audit_log("step 1 loss 0.6931\nstep 2 loss 0.5113\nstep 3 loss 0.4002").rules
        ()
    """
    if len(log.losses) < 3 or any(row.loss and row.loss.value != 0 for row in log.losses):
        return None
    if len(log.losses) < sum(row.loss is not None for row in log.rows) or log.not_finite:
        return None  # the other losses are NaN, which loss-not-finite reports
    norms = [row.gradient_norm.value for row in log.losses if row.gradient_norm]
    # With one class the gradient is exactly 0, too. A policy's loss is 0 before its first update,
    # and its gradient isn't; a NaN is reported by hidden-nan.
    if log.signed or any(norm != 0 for norm in norms):
        return None
    return Evidence(
        text=f"All {len(log.losses)} losses are 0.",
        numbers={"losses": len(log.losses)},
        confidence="likely",
        why="the loss of an untrained model is not 0",
        remedy="loss = binary_cross_entropy_with_logits(logits[:, 0], target.float())",
        not_checked="how many digits were not printed.",
    )


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
    tied = _tied_to_accuracy(log, classes)
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
        not_checked="the model; " + _classes_from(log),
    )


# How far from the loss of a saturated double softmax a line may be, in nats. Collapsed trainings on
# four data sets were at most 0.002 away, healthy ones 0.03 and more, or below a calibrated loss.
_TIE = 0.003
_TIE_OF_EQUAL_LINES = 0.0006  # of a loss that never changes, one such line is no more than one
_ABOVE_CALIBRATED = 0.02
_TIED_LINES = 3
_COARSEST_ACCURACY = 0.002  # one step of its last digit; coarser ones fit many losses


def _tied_to_accuracy(log: Log, classes: int) -> Evidence | None:
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
        not_checked="the model; " + _classes_from(log),
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


def _classes_from(log: Log) -> str:
    if log.classes is not None:
        return "the number of classes was passed by the caller."
    if log.written_classes is not None:
        return "the number of classes was read in the log."
    return "the number of classes was inferred from the first loss."


@rule("log", severity="warning")
def stuck_loss(log: Log) -> Evidence | None:
    r"""The loss stays at ln C, the loss of a uniform guess.

    Symptom: 2.3026 for 10 classes, 0.6931 for 2, from the first line to the last.

    Cause: a gradient that doesn't arrive (a detached tensor, dead units), a learning rate that is
    far too low or so high that all units died at once, inputs that were scaled to almost 0, or
    labels that were shuffled.

    Fix: call `doctor.examine` with the model and one batch.

    Source: https://discuss.pytorch.org/t/cross-entropy-loss-is-not-decreasing/43814

    Wrong:
        >>> lines = [f"epoch {i} train loss 2.30{i % 3} val loss 2.302" for i in range(1, 6)]
        >>> doctor.audit_log("\n".join(lines)).rules
        ('stuck-loss',)

    Fixed:
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
    if any(row.both[1].value > 2 / classes for row in log.pairs):
        return None
    tied = _tied_to_accuracy(log, classes)
    if tied is not None and tied.severity == "warning":
        return None  # loss-floor knows why
    return Evidence(
        text=(
            f"All {len(values)} losses lie between {min(values):.4f} and {max(values):.4f}; "
            f"the loss of a uniform guess among {classes} classes is ln {classes} = {guess:.4f}."
        ),
        numbers={"classes": classes, "guess": guess, "losses": len(values)},
        confidence="likely",
        why="if a model learns anything, its loss leaves ln C within a few dozen steps",
        remedy="print(doctor.examine(model, batch, loss))",
        not_checked="the learning rate and the inputs; " + _classes_from(log),
    )


_RISE = 1.2  # of the held-out loss above its lowest value
_WORTHLESS = 1.0  # nats above the loss of a uniform guess


@rule("log", severity="warning")
def overfitting(log: Log) -> Evidence | None:
    r"""The held-out loss rises while the training loss falls.

    Symptom: a training loss near 0; the held-out loss is lowest after a few epochs and rises from
    then on, often while the accuracy stays.

    Cause: the model memorizes the training rows. In the rows that it predicts wrongly it
    becomes ever more confident, which costs more with each epoch.

    Fix: keep the weights of the epoch with the lowest held-out loss, use more data, augmentation,
    weight decay or dropout, or a smaller model.

    Source: https://github.com/keras-team/keras/issues/3755

    Wrong:
        >>> course = [(0.9, 0.8), (0.4, 0.6), (0.2, 0.7), (0.1, 0.9), (0.01, 1.2)]
        >>> lines = [f"train loss {train} val loss {val}" for train, val in course]
        >>> doctor.audit_log("\n".join(lines)).rules
        ('overfitting',)

    Fixed:
        >>> lines = [f"train loss {train} val loss {val}" for train, val in course[:2]]
        >>> doctor.audit_log("\n".join(lines)).rules
        ()
    """
    course = _course(log)
    if len(course) < 3:
        return None
    lowest = min(range(len(course)), key=lambda i: course[i][1])
    (line, best, then), last_third = course[lowest], course[-(-2 * len(course) // 3) :]
    late = sorted(held for _, held, _ in last_third)
    end, train = late[len(late) // 2], last_third[-1][2]
    rises = end >= _RISE * best + 0.02 and late[0] > best
    falls = train < 0.7 * then and train < 0.5 * end
    if lowest >= len(course) - len(last_third) or not rises or not falls:
        return None
    text = (
        f"The held-out loss is lowest in line {line}, {best:.4g}, and at the end {end:.4g}, "
        f"{end / best:.3g} times as high. The training loss falls from {then:.4g} to {train:.4g} "
        "meanwhile."
    )
    numbers = {"line": line, "lowest": best, "end": end, "training": [then, train]}
    classes, worthless = log.start_classes, False
    if classes is not None:
        guess = math.log(classes)
        worthless = late[0] > guess + _WORTHLESS
        numbers |= {"classes": classes, "guess": guess}
        if end > guess:
            text += (
                f" A uniform guess among {classes} classes has a loss of {guess:.4f}: the "
                "probabilities are worth less than none."
            )
    accuracies = [row.accuracy.value for row in log.rows if row.accuracy and row.held_out]
    if accuracies:
        text += (
            f" The best held-out accuracy is {max(accuracies):.2%}, the last {accuracies[-1]:.2%}."
        )
        numbers |= {"best_accuracy": max(accuracies), "last_accuracy": accuracies[-1]}
    return Evidence(
        severity="warning" if worthless else "note",
        text=text,
        numbers=numbers,
        confidence="likely",
        why="the held-out loss is far above that of a guess"
        if worthless
        else "the losses diverge; if only the predicted classes matter, that may be harmless",
        remedy="best = min(epochs, key=lambda epoch: epoch.val_loss)  # keep that epoch's weights",
        not_checked="whether both sets come from the same distribution: held-out rows of another "
        "source, or with other labels, look the same.",
    )


def _course(log: Log) -> list[tuple[int, float, float]]:
    """(line, held-out loss, training loss beside or before it) of one held-out split."""
    splits = [row.split for row in log.losses if row.held_out]
    split = "validation" if "validation" in splits else "test"
    before: float | None = None
    course: list[tuple[int, float, float]] = []
    by_line: dict[int, float] = {}
    for row in log.losses:
        if row.loss and not row.held_out:
            by_line.setdefault(row.line, row.loss.value)
    for row in log.losses:
        assert row.loss is not None
        if row.split == split:
            train = by_line.get(row.line, before)
            if train is not None and row.loss.value > 0:
                course.append((row.line, row.loss.value, train))
        elif not row.held_out:
            before = row.loss.value
    return course
