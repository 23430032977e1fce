"""`audit_log`: check whether the numbers in a training log can be true."""

from __future__ import annotations

from collections.abc import Iterator

from softxent.doctor.diagnosis import Diagnosis
from softxent.doctor.logs.log import Log
from softxent.doctor.logs.read_log import read
from softxent.doctor.selection import RuleNames, RuleSelection
from softxent.errors import DataError, OptionError

__all__ = ["audit_log"]


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
        classes: C, if known; otherwise it is inferred from a first loss of ln C.
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
    if log.classes is None:
        guess = log.start_classes
        yield "the number of classes: the log doesn't say it" + (
            f"; {guess} was inferred from the first loss." if guess else "."
        )
