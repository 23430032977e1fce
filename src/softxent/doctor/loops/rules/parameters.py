"""Rules on the parameters, before and after the training."""

from __future__ import annotations

from softxent.doctor.finding import Evidence, Severity
from softxent.doctor.loops.measurements import LoopMeasurements
from softxent.doctor.loops.signs import STEPS_OF_A_LOOP, diverges
from softxent.doctor.registry import rule

__all__: list[str] = []


@rule("training", severity="error")
def parameters_not_finite(case: LoopMeasurements) -> Evidence | None:
    """Parameters are NaN or infinite after training.

    Symptom: from some step on the loss is NaN and stays so.

    Cause: a learning rate that is too high, an infinite loss in one batch, or a division by zero.
    One such step is enough, and the parameters stay NaN.

    Fix: clip gradients, lower the learning rate, and stop at the first loss that isn't finite.

    Source: https://github.com/thtrieu/darkflow/issues/381

    Wrong:
        >>> model, loss = nn.Linear(8, 4), nn.CrossEntropyLoss()
        >>> with doctor.watch(model, loss) as watching:
        ...     _ = loss(model(batch[0]), batch[1])
        ...     _ = nn.init.constant_(model.weight, float("nan"))
        >>> watching.diagnosis.rules
        ('parameters-not-finite',)

    Fixed:
        >>> _ = nn.init.zeros_(model.weight)
        >>> with doctor.watch(model, loss) as watching:
        ...     _ = loss(model(batch[0]), batch[1])
        >>> 'parameters-not-finite' in watching.diagnosis.rules
        False
    """
    if not case.not_finite:
        return None
    shown = ", ".join(case.not_finite[:4]) + (" ..." if len(case.not_finite) > 4 else "")
    return Evidence(
        text=f"After {case.steps} steps {len(case.not_finite)} of {len(case.parameters)} "
        f"parameters contain NaN or infinity: {shown}.",
        numbers={"steps": case.steps, "not_finite": list(case.not_finite)},
        confidence="certain",
        why="their sums are not finite",
        remedy="torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)  # and a lower lr",
        not_checked="the step in which it happened.",
    )


@rule("training", severity="warning")
def never_updated(case: LoopMeasurements) -> Evidence | None:
    """Parameters are the same after training as before.

    Symptom: the loss doesn't fall, or part of the model stays as it was initialized.

    Cause: an optimizer that was built from other parameters (of another model, or before the last
    layer was replaced), `step()` is never called, or a gradient doesn't arrive.

    Fix: build the optimizer from the finished model.

    Source: https://github.com/microsoft/nni/issues/4521

    Wrong:
        >>> model, loss = nn.Linear(8, 4), nn.CrossEntropyLoss()
        >>> optimizer = torch.optim.SGD(nn.Linear(8, 4).parameters(), lr=0.1)
        >>> with doctor.watch(model, loss) as watching:
        ...     for _ in range(10):
        ...         loss(model(batch[0]), batch[1]).backward()
        ...         optimizer.step()
        >>> watching.diagnosis.rules
        ('never-updated',)

    Fixed:
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with doctor.watch(model, loss) as watching:
        ...     for _ in range(10):
        ...         rows = torch.randperm(len(batch[1]))
        ...         optimizer.zero_grad()
        ...         loss(model(batch[0][rows]), batch[1][rows]).backward()
        ...         optimizer.step()
        >>> watching.diagnosis.rules
        ()
    """
    if case.steps < STEPS_OF_A_LOOP or not case.unchanged:
        return None
    every = len(case.unchanged) == len(case.parameters)
    shown = ", ".join(case.unchanged[:4]) + (" ..." if len(case.unchanged) > 4 else "")
    return Evidence(
        severity="warning" if every else "note",
        text=(
            f"{len(case.unchanged)} of {len(case.parameters)} parameters have not changed in "
            f"{case.steps} steps: {shown}."
        ),
        numbers={"steps": case.steps, "unchanged": list(case.unchanged)},
        confidence="likely" if every else "possible",
        why="none of them changed" if every else "unused or conditional layers don't change either",
        remedy="optimizer = torch.optim.SGD(model.parameters(), lr=0.1)",
        not_checked="the optimizer itself.",
    )


@rule("training", severity="error")
def diverged_training(case: LoopMeasurements) -> Evidence | None:
    """The loss grows instead of falling.

    Symptom: a loss that rises to thousands or millions, or jumps there and comes back to that of a
    uniform guess with all units dead.

    Cause: a learning rate that is too high, nearly always; also inputs that aren't scaled, or a
    gradient with the wrong sign.

    Fix: a learning rate ten times lower, and a warm-up.

    Source: https://github.com/keras-team/keras/issues/21

    Wrong:
        >>> model, loss = nn.Linear(8, 4), nn.CrossEntropyLoss()
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=1000.0)
        >>> with doctor.watch(model, loss) as watching:
        ...     for _ in range(20):
        ...         optimizer.zero_grad()
        ...         loss(model(batch[0]), batch[1].roll(_)).backward()
        ...         optimizer.step()
        >>> watching.diagnosis.rules[0]
        'diverged-training'

    Fixed:
        >>> model, loss = nn.Linear(8, 4), nn.CrossEntropyLoss()
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with doctor.watch(model, loss) as watching:
        ...     for _ in range(20):
        ...         optimizer.zero_grad()
        ...         loss(model(batch[0]), batch[1].roll(_)).backward()
        ...         optimizer.step()
        >>> 'diverged-training' in watching.diagnosis.rules
        False
    """
    factor = diverges(case)
    if factor is None:
        return None
    highest = max(case.finite)
    text = (
        f"The loss begins at {case.first:.4g}, rises to {highest:.4g} and ends at {case.last:.4g} "
        f"(the median of the last fifth)."
    )
    numbers: dict[str, object] = {
        "first": case.first,
        "highest": highest,
        "last": case.last,
        "steps": case.steps,
    }
    if case.guess is not None:
        text += f" A uniform guess among {case.classes} classes has {case.guess:.4f}."
        numbers["guess"] = case.guess
    if case.rates:
        rate = max(rate for _, rate in case.rates)
        text += f" The learning rate of {case.optimizer or 'the optimizer'} is up to {rate:.3g}."
        numbers["rate"] = rate
    if case.typical_update is not None:
        text += f" A step changes the parameters by {case.typical_update:.2g} of their size."
        numbers["update"] = case.typical_update
    certain = factor > 10 and case.guess is not None
    severity: Severity = "error" if certain else "warning"
    return Evidence(
        severity=severity,
        text=text,
        numbers=numbers,
        confidence="certain" if certain else "likely",
        why="a training lowers its loss"
        if certain
        else "a training lowers its loss, unless its data became harder on the way",
        remedy="optimizer = torch.optim.SGD(model.parameters(), lr=0.1 * lr)  # ten times lower",
        not_checked="whether the inputs are scaled.",
    )
