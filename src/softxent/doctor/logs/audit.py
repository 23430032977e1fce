"""`audit_log`: check whether the numbers in a training log can be true."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from softxent.doctor.arrays.check import judge_arguments
from softxent.doctor.arrays.loss_arguments import LossArguments
from softxent.doctor.diagnosis import Diagnosis
from softxent.doctor.logs.log import Accuracy, Log, Row, Split
from softxent.doctor.logs.read_log import read
from softxent.doctor.printed_number import PrintedNumber
from softxent.doctor.selection import RuleNames, RuleSelection
from softxent.errors import DataError, OptionError
from softxent.ops.mean import Mean

__all__ = ["audit_log", "audit_run"]


def audit_log(
    text: str,
    *,
    classes: int | None = None,
    batch_size: int | None = None,
    name: str = "the log",
    select: RuleNames | None = None,
    ignore: RuleNames = (),
) -> Diagnosis:
    """Check whether the numbers in a training log can be true.

    Losses are taken to be cross-entropies in nats, accuracies to be top-1.

    Args:
        text: the log: lines with losses and accuracies, Keras' progress lines, one JSON object or
            Python dict per line, a JSON history, CSV with column names, or tables.
        classes: C, if known; otherwise it is read in the log (`10 classes`, `num_classes=10`) or
            inferred from a first loss of ln C.
        batch_size: rows per batch, if known; otherwise the log and common sizes are tried.
        name: what to call the log in the diagnosis.
        select: names of the rules to run, as a list or with commas between them; None for all.
        ignore: names of rules that don't run.

    Returns:
        A `Diagnosis`.

    Raises:
        DataError: the log has no loss and no accuracy that could be read.
        OptionError: classes < 2, batch_size < 1, or a name is no rule's.

    Example:
        >>> log = "Test set: Average loss: 0.0017, Accuracy: 9696/10000 (96%)"
        >>> audit_log(log).rules
        ('impossible-loss', 'cut-percentage')
        >>> audit_log(log, ignore="cut-percentage").rules
        ('impossible-loss',)
        >>> audit_log("Test set: Average loss: 0.1083, Accuracy: 9696/10000 (97%)").rules
        ()
    """
    rules = RuleSelection.of("audit_log", "log", select=select, ignore=ignore)
    if classes is not None and classes < 2:
        raise OptionError(f"[audit_log] classes is {classes}: pass a number >= 2.")
    if batch_size is not None and batch_size < 1:
        raise OptionError(f"[audit_log] batch_size is {batch_size}: pass a number >= 1.")
    log = read(text, classes=classes, batch_size=batch_size, name=name)
    if not log.rows and not log.not_finite:
        raise DataError(
            f"[audit_log] {name} holds no loss and no accuracy that could be read. Pass lines like "
            "'loss: 0.12 - accuracy: 0.97', one JSON object or Python dict per line, or CSV with "
            "column names."
        )
    findings, checked = rules.judge("log", log)
    return Diagnosis.of(f"{name}, {_contents(log)}", findings, checked, list(_not_checked(log)))


def audit_run(
    epochs: Iterable[tuple[int, Split, Mean, Mean]],
    *,
    classes: int,
    logits: Any,
    target: Any,
    test_loss: float,
    name: str,
    select: RuleNames | None = None,
    ignore: RuleNames = (),
) -> Diagnosis:
    """Judge a recorded training: its epochs as a log, and the logits of its test rows.

    Args:
        epochs: number, data split, loss and accuracy, in the order of the training.
        classes: C.
        logits: of the test rows, (N, C).
        target: their class indices, (N,).
        test_loss: the recorded mean loss of the test rows, in nats.
        name: what to call the run in the diagnosis.
        select, ignore: as in `audit_log`; rules of `check` count, too.
    """
    rules = RuleSelection.of("audit_log", "log", "arrays", select=select, ignore=ignore)
    log = Log(rows=tuple(_row(*one) for one in epochs), classes=classes)
    findings, checked = rules.judge("log", log)
    subject, not_checked = f"{name}, {_contents(log)}", list(_not_checked(log))
    if rules.has("arrays") and len(target):
        arguments = LossArguments.of(logits, target, loss="cross_entropy", value=test_loss)
        test = judge_arguments(arguments, rules)
        findings, checked = [*findings, *test], [*checked, *test.checked]
        not_checked += test.not_checked
        subject += f", {len(target):,} test rows"
    return Diagnosis.of(subject, findings, checked, not_checked)


def _row(number: int, split: Split, loss: Mean, accuracy: Mean) -> Row:
    """A line of a log, from sums that weren't rounded."""
    correct, total = int(accuracy.total), int(accuracy.weight)
    return Row(
        line=number,
        split=split,
        epoch=number,
        loss=PrintedNumber(f"{loss.value:.4f}", loss.value, 0.0),
        accuracy=Accuracy(
            text=f"{correct}/{total}",
            value=accuracy.value,
            resolution=0.0,
            correct=correct,
            total=total,
        )
        if total
        else None,
    )


def _contents(log: Log) -> str:
    losses = sum(row.loss is not None for row in log.rows)
    accuracies = sum(row.accuracy is not None for row in log.rows)
    return (
        f"{losses:,} loss{'es' if losses != 1 else ''} and {accuracies:,} "
        f"accurac{'ies' if accuracies != 1 else 'y'}"
    )


def _not_checked(log: Log) -> Iterator[str]:
    """What the log doesn't contain, so that no rule could judge it."""
    if not log.pairs:
        yield "losses against accuracies: no line has both."
    if log.missing:
        others = " and others" if len(log.missing) > 1 else ""
        yield (
            f"losses that are empty or null: line {log.missing[0]}{others}. Some programs "
            "write NaN like that, as pandas does in CSV."
        )
    if log.uncounted:
        others = " and others" if len(log.uncounted) > 1 else ""
        yield (
            "accuracies that are a number of correct rows without a total: line "
            f"{log.uncounted[0]}{others}."
        )
    if log.classes is None and log.written_classes is None:
        guess = log.start_classes
        yield "the number of classes: the log doesn't say it" + (
            f"; {guess} was inferred from the first loss." if guess else "."
        )
