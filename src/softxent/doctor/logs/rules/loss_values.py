"""Rules on values that a loss doesn't have: negative, NaN, infinite, exactly 0."""

from __future__ import annotations

import math

from softxent.doctor.finding import Confidence, Evidence, Severity
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
