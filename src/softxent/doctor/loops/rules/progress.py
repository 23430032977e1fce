"""The rule on a model that no other rule has an explanation for."""

from __future__ import annotations

from softxent.doctor.finding import Evidence
from softxent.doctor.loops.measurements import LoopMeasurements
from softxent.doctor.loops.signs import (
    batches_of_one_class,
    diverges,
    ended_rate,
    has_collapsed,
    has_small_scores,
    keeps_gradients,
    rebuilds_optimizer,
    tiny_update,
)
from softxent.doctor.registry import rule

__all__: list[str] = []


@rule("training", severity="warning")
def no_progress(case: LoopMeasurements) -> Evidence | None:
    """The model changes, but stays no better than a uniform guess.

    Symptom: the loss stays at ln C, 2.3026 for 10 classes; the accuracy is 1/C.

    Cause: labels that don't belong to their inputs (one of them was shuffled), inputs without
    information, scores that are divided by a large number, or units that died at once.

    Fix: look at some inputs with their labels, and call `doctor.examine` on one batch: a model that
    can memorize it has no mistake in its layers.

    Source: https://discuss.pytorch.org/t/cross-entropy-loss-is-not-decreasing/43814

    Wrong:
        >>> model, loss = nn.Linear(8, 4), nn.CrossEntropyLoss()
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with doctor.watch(model, loss) as watching:
        ...     for step in range(60):
        ...         optimizer.zero_grad()
        ...         labels = torch.randint(0, 4, (len(batch[1]),))
        ...         loss(model(batch[0]), labels).backward()
        ...         optimizer.step()
        >>> watching.diagnosis.rules
        ('no-progress',)

    Fixed:
        >>> with doctor.watch(model, loss) as watching:
        ...     for step in range(60):
        ...         optimizer.zero_grad()
        ...         rows = torch.randperm(len(batch[1]))
        ...         loss(model(batch[0][rows]), batch[1][rows]).backward()
        ...         optimizer.step()
        >>> watching.diagnosis.rules
        ()
    """
    known = (
        diverges(case) is not None
        or ended_rate(case) is not None
        or has_collapsed(case)
        or tiny_update(case) is not None
        or keeps_gradients(case)
        or rebuilds_optimizer(case)
        or bool(batches_of_one_class(case))
    )
    if known or not case.stands or case.movement < 1e-4:
        return None
    text = (
        f"After {case.steps} steps the loss is {case.last:.4f} (the median of the last fifth), at "
        f"the beginning it was {case.first:.4f}; that of a uniform guess among {case.classes} "
        f"classes is {case.guess:.4f}. The parameters have moved by {case.movement:.2g} of their "
        "size meanwhile."
    )
    numbers: dict[str, object] = {
        "steps": case.steps,
        "first": case.first,
        "last": case.last,
        "guess": case.guess,
        "movement": case.movement,
    }
    if case.typical_update is not None:
        text += f" A step changes them by {case.typical_update:.2g} of their size."
        numbers["update"] = case.typical_update
    spread = case.batches[-1].spread if case.batches else None
    cause = "the labels may not belong to the inputs"
    if spread is not None:
        numbers["spread"] = spread
        if has_small_scores(case):
            text += (
                f" The scores of a row differ by {spread:.2g} only: they are almost the same for "
                "all classes, as if they were divided by a large number or came from dead units."
            )
            cause = "the scores can't become large"
    return Evidence(
        text=text,
        numbers=numbers,
        confidence="likely",
        why=f"a model that learns anything leaves ln C within a few dozen steps; {cause}",
        remedy="print(doctor.examine(model, (inputs, target), loss))  # and look at some rows",
        not_checked="the inputs and whether they belong to their labels; whether "
        "anything in them depends on the class.",
    )
