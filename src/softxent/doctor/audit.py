"""`audit_log`: say whether the numbers that somebody printed can be true."""

from __future__ import annotations

from softxent.doctor.finding import Diagnosis
from softxent.doctor.log import Log
from softxent.doctor.log_reading import read
from softxent.doctor.registry import ask
from softxent.errors import DataError, OptionError

__all__ = ["audit_log"]


def audit_log(
    text: str, *, classes: int | None = None, batch_size: int | None = None, name: str = "the log"
) -> Diagnosis:
    """Check a training log by arithmetic: what it prints against what can be.

    Args:
        text: the log: lines with losses and accuracies, Keras' progress lines, JSON or Python dicts
            a line, a JSON history, or CSV with column names.
        classes: C, if you know it; else it is read off a first loss of ln C.
        batch_size: rows a batch, if you know it; else the log and the usual sizes are tried.
        name: what to call the log in the diagnosis.

    Returns:
        A `Diagnosis`. Losses are taken as cross-entropies in nats and accuracies as top-1.

    Raises:
        DataError: no loss and no accuracy was found.
        OptionError: classes < 2 or batch_size < 1.

    Example:
        >>> log = "Test set: Average loss: 0.0017, Accuracy: 9696/10000 (96%)"
        >>> audit_log(log).rules
        ('impossible-loss', 'cut-percentage')
        >>> audit_log("Test set: Average loss: 0.1083, Accuracy: 9696/10000 (97%)").rules
        ()
    """
    if classes is not None and classes < 2:
        raise OptionError(f"[audit_log] classes is {classes}: pass a number >= 2.")
    if batch_size is not None and batch_size < 1:
        raise OptionError(f"[audit_log] batch_size is {batch_size}: pass a number >= 1.")
    log = read(text, classes=classes, batch_size=batch_size)
    if not log.rows:
        raise DataError(
            f"[audit_log] {name} holds no loss and no accuracy that could be read. Known are lines "
            "like 'loss: 0.12 - accuracy: 0.97', JSON or Python dicts a line, and CSV with column "
            "names."
        )
    findings, asked = ask("log", log)
    return Diagnosis.of(f"{name}, {_contents(log)}", findings, asked, _not_checked(log))


def _contents(log: Log) -> str:
    losses = sum(row.loss is not None for row in log.rows)
    accuracies = sum(row.accuracy is not None for row in log.rows)
    return (
        f"{losses:,} loss{'es' if losses != 1 else ''} and {accuracies:,} "
        f"accurac{'ies' if accuracies != 1 else 'y'}"
    )


def _not_checked(log: Log) -> list[str]:
    unseen = []
    if not log.pairs:
        unseen.append("losses against accuracies: no line has both.")
    if log.uncounted:
        unseen.append(
            f"accuracies that are a number of rows without a total, in line {log.uncounted[0]} "
            f"{'and others' if len(log.uncounted) > 1 else 'alone'}."
        )
    if log.classes is None:
        guess = log.start_classes
        unseen.append(
            "the number of classes: it isn't in the log"
            + (f"; {guess} was read off the first loss." if guess else ".")
        )
    return unseen
