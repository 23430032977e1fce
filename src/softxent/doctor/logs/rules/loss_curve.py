"""Rules on the course of the loss: whether it moves, and where it rises again."""

from __future__ import annotations

import math

from softxent.doctor.finding import Evidence
from softxent.doctor.logs.log import Log
from softxent.doctor.logs.rules.loss_floor import classes_from, tied_to_accuracy
from softxent.doctor.registry import rule

__all__: list[str] = []


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
    tied = tied_to_accuracy(log, classes)
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
        not_checked="the learning rate and the inputs; " + classes_from(log),
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
