"""Rules on a training loop that was watched until it ended."""

from __future__ import annotations

import statistics

from softxent.doctor.finding import Evidence, Severity
from softxent.doctor.loops.measurements import BatchSample, LoopMeasurements, UpdateSample
from softxent.doctor.registry import rule

__all__ = ["NAMES_OF_STANDSTILL"]

# They say why the loss stays where it is; beside them the log's rule stuck-loss says nothing new.
NAMES_OF_STANDSTILL = frozenset(
    {
        "diverged-training",
        "ended-learning-rate",
        "collapsed-weights",
        "tiny-updates",
        "kept-gradients",
        "rebuilt-optimizer",
        "one-class-batches",
        "no-progress",
        "never-updated",
    }
)

_FEW_SAMPLES = 2
_STEPS_OF_A_LOOP = 8  # fewer are a trial, not a training


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
    if case.steps < 8 or not case.unchanged:
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


def _diverges(case: LoopMeasurements) -> float | None:
    """How many times the loss of its beginning the last or the highest loss is, if that is far."""
    if len(case.finite) < _STEPS_OF_A_LOOP or case.adversarial or not case.optimizer_steps:
        return None
    if case.warming_up and case.rates[-1][1] > 50 * case.rates[0][1]:
        return None  # a search for the highest learning rate, which ends like that
    if _keeps_gradients(case):
        return None  # it knows why
    broken = len(case.finite) < len(case.losses)  # loss-not-finite says when
    if case.guess is None:  # an unknown loss may grow for a reason, but not like that
        far = case.last > 100 * abs(case.first) + 100
        return case.last / abs(case.first) if far and case.first else None
    reference = max(case.first, case.guess)
    if case.last > 1.5 * reference and case.last > reference + 0.5:
        return case.last / reference
    highest = max(case.finite)
    if highest > 30 * reference and (broken or case.last > 0.9 * case.guess):
        return highest / reference
    if highest > 2 * reference and case.stands and case.shrinkage > 2:
        return highest / reference  # the parameters jumped, and units died
    return None


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
    factor = _diverges(case)
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


def _rate_ended(case: LoopMeasurements) -> tuple[int, float, float] | None:
    """(step, highest, last) if the learning rate was almost 0 for much of the training."""
    if len(case.rates) < 20 or len(case.finite) < 20 or _diverges(case) is not None:
        return None
    rates = [rate for _, rate in case.rates]
    highest = max(rates)
    if highest <= 0:
        return None
    # Schedules that end at 1% exist; where almost nothing was learned, that is too little.
    learned = case.last / max(case.first, case.guess or 0.0)
    if learned < 0.3:
        return None
    limit = (1e-2 if learned > 0.85 else 1e-3) * highest
    ended = len(rates)
    while ended and rates[ended - 1] <= limit:
        ended -= 1
    if len(rates) - ended < 0.4 * len(rates):
        return None
    return case.rates[ended][0], highest, rates[-1]


@rule("training", severity="warning")
def ended_learning_rate(case: LoopMeasurements) -> Evidence | None:
    """The learning rate falls to almost 0 while there is much left to learn.

    Symptom: the loss falls during the first steps and then stays, far from its goal.

    Cause: `scheduler.step()` in the loop over batches, with a schedule that counts epochs.

    Fix: call `scheduler.step()` once an epoch, or give the schedule the number of batches.

    Source: https://github.com/ivadomed/ivadomed/pull/55

    Wrong:
        >>> model, loss = nn.Linear(8, 4), nn.CrossEntropyLoss()
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        >>> scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        >>> with doctor.watch(model, loss) as watching:
        ...     for _ in range(40):
        ...         optimizer.zero_grad()
        ...         loss(model(batch[0]), batch[1].roll(_)).backward()
        ...         optimizer.step()
        ...         scheduler.step()
        >>> watching.diagnosis.rules
        ('ended-learning-rate',)

    Fixed:
        >>> scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.999)
        >>> optimizer.param_groups[0]['lr'] = 0.1
        >>> with doctor.watch(model, loss) as watching:
        ...     for _ in range(40):
        ...         optimizer.zero_grad()
        ...         loss(model(batch[0]), batch[1].roll(_)).backward()
        ...         optimizer.step()
        ...         scheduler.step()
        >>> 'ended-learning-rate' in watching.diagnosis.rules
        False
    """
    ended = _rate_ended(case)
    if ended is None:
        return None
    step, highest, last = ended
    return Evidence(
        text=f"The learning rate was {highest:.3g}, from step {step} of {case.optimizer_steps} on "
        f"it was 1% of that or less, and at the end it is {last:.2g}. The loss began at "
        f"{case.first:.4g} and is {case.last:.4g} at the end.",
        numbers={
            "step": step,
            "steps": case.optimizer_steps,
            "highest": highest,
            "last_rate": last,
            "first": case.first,
            "last": case.last,
        },
        confidence="likely",
        why="for 40% of the steps or more the model could hardly change",
        remedy="scheduler.step()  # after each epoch, not after each batch",
        not_checked="which schedule it is, and the rates of other groups of parameters.",
    )


def _collapsed(case: LoopMeasurements) -> bool:
    """Whether weight decay shrank the parameters and the loss is that of small ones."""
    if case.guess is None or case.weight_decay <= 0 or case.steps < _STEPS_OF_A_LOOP:
        return False
    if not case.finite or _diverges(case) is not None or case.adversarial:
        return False
    return case.shrinkage < 0.5 and case.last > 0.7 * case.guess


@rule("training", severity="warning")
def collapsed_weights(case: LoopMeasurements) -> Evidence | None:
    """Weight decay shrinks the parameters faster than the loss can build them.

    Symptom: a loss near ln C; the parameters become small.

    Cause: a weight decay that is far too high for the learning rate: each step of SGD multiplies
    the parameters by 1 - learning rate * weight decay.

    Fix: a weight decay of 1e-4 (SGD) or 1e-2 (AdamW).

    Source: https://github.com/BVLC/caffe/issues/1396

    Wrong:
        >>> model, loss = nn.Linear(8, 4), nn.CrossEntropyLoss()
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=5.0)
        >>> with doctor.watch(model, loss) as watching:
        ...     for _ in range(20):
        ...         optimizer.zero_grad()
        ...         loss(model(batch[0]), batch[1].roll(_)).backward()
        ...         optimizer.step()
        >>> watching.diagnosis.rules
        ('collapsed-weights',)

    Fixed:
        >>> model = nn.Linear(8, 4)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=1e-4)
        >>> with doctor.watch(model, loss) as watching:
        ...     for _ in range(20):
        ...         optimizer.zero_grad()
        ...         loss(model(batch[0]), batch[1].roll(_)).backward()
        ...         optimizer.step()
        >>> 'collapsed-weights' in watching.diagnosis.rules
        False
    """
    if not _collapsed(case):
        return None
    assert case.guess is not None
    return Evidence(
        text=f"The norm of the parameters fell to {case.shrinkage:.3g} of what it was, with a "
        f"weight decay of {case.weight_decay:.3g}. The loss is {case.last:.4f}; that of a uniform "
        f"guess among {case.classes} classes is {case.guess:.4f}.",
        numbers={
            "shrinkage": case.shrinkage,
            "weight_decay": case.weight_decay,
            "last": case.last,
            "guess": case.guess,
        },
        confidence="likely",
        why="parameters that learn something grow, unless the decay outweighs the gradient",
        remedy="optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01)",
        not_checked="which parameters have the decay.",
    )


_TINY = 1e-4  # of the parameters' size; usual are 1e-3 and more, in careful fine-tuning 1e-4


def _tiny(case: LoopMeasurements) -> float | None:
    """The typical update if it is too small for a model that is no better than a guess."""
    if not (case.stands or case.stays) or _diverges(case) is not None:
        return None
    if _rate_ended(case) is not None:
        return None
    typical = case.typical_update
    if typical is None or typical >= _TINY or _collapsed(case):
        return None
    if _has_small_scores(case) and not _cause_of_tiny_updates(case)[0]:
        return None  # no-progress reports it: small scores are why the gradient is small
    return typical


def _has_small_scores(case: LoopMeasurements) -> bool:
    """Whether the scores of a row are almost the same in the last sampled step."""
    return bool(case.batches) and case.batches[-1].spread < 0.1


@rule("training", severity="warning")
def tiny_updates(case: LoopMeasurements) -> Evidence | None:
    """The updates are so small that the model doesn't learn.

    Symptom: the loss stays at that of a uniform guess, although all parameters change.

    Cause: a learning rate of 1e-6 with SGD, gradients that are clipped to a tiny norm, or a loss
    that is divided by the number of rows after it was averaged already.

    Fix: a higher learning rate, a clipping norm of about 1, and `loss.backward()` of the mean.

    Source: https://cs231n.github.io/neural-networks-3/

    Wrong:
        >>> model, loss = nn.Linear(8, 4), nn.CrossEntropyLoss()
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> _ = nn.init.normal_(model.weight, std=0.02)
        >>> with doctor.watch(model, loss) as watching:
        ...     for _ in range(60):
        ...         optimizer.zero_grad()
        ...         (loss(model(batch[0]), batch[1].roll(_)) / 60_000).backward()
        ...         optimizer.step()
        >>> watching.diagnosis.rules
        ('tiny-updates',)

    Fixed:
        >>> with doctor.watch(model, loss) as watching:
        ...     for _ in range(60):
        ...         optimizer.zero_grad()
        ...         loss(model(batch[0]), batch[1]).backward()
        ...         optimizer.step()
        >>> 'tiny-updates' in watching.diagnosis.rules
        False
    """
    typical = _tiny(case)
    if typical is None:
        return None
    cause, words, remedy = _cause_of_tiny_updates(case)
    return Evidence(
        severity="warning" if cause or typical < 0.1 * _TINY or case.steps >= 400 else "note",
        text=f"A step changes the parameters by {typical:.2g} of their size (the median of "
        f"{len(case.updates) - 1} sampled steps); usual is about 1e-3. In {case.steps} steps the "
        f"loss went from {case.first:.4f} to {case.last:.4f}; that of a uniform guess is "
        f"{case.guess:.4f}. {words}",
        numbers={
            "update": typical,
            "cause": cause,
            "first": case.first,
            "last": case.last,
            "guess": case.guess,
            "gradients": [one.gradient for one in case.updates],
            "rate": case.rates[-1][1] if case.rates else None,
        },
        confidence="likely" if cause else "possible",
        why="such steps need thousands of times as many to learn anything",
        remedy=remedy,
        not_checked="whether the loop would have gone on for very long.",
    )


def _cause_of_tiny_updates(case: LoopMeasurements) -> tuple[str, str, str]:
    """(cause, evidence in words, remedy); the cause is empty if it isn't known."""
    scale = _scale(case)
    gradients = [one.gradient for one in case.updates]
    if scale is not None and scale < 0.01:
        return (
            "scaled loss",
            f"The gradient that reaches the scores is {scale:.3g} = 1/{1 / scale:.0f} of that of "
            "the loss, so the loss was divided by about that number after it was computed.",
            "loss.backward()  # a mean is already divided by the number of rows",
        )
    clipped = min(gradients) > 0 and max(gradients) < 1.01 * min(gradients)
    if len(gradients) > _FEW_SAMPLES and clipped and gradients[0] < 0.1:
        return (
            "clipped gradient",
            f"The gradient has the same norm in each sampled step, {gradients[0]:.3g}: it is "
            "clipped to that.",
            "torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)",
        )
    rate = case.rates[-1][1] if case.rates else None
    usual = 1e-3 if case.optimizer.startswith("SGD") else 1e-5
    shown = (
        f"The learning rate is {rate:.3g}" if rate is not None else "The learning rate is unknown"
    )
    name = f" ({case.optimizer})" if case.optimizer else ""
    return (
        "learning rate" if rate is not None and rate < usual else "",
        f"{shown}{name}, the norm of the gradient {statistics.median(gradients):.3g}.",
        "optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)",
    )


def _scale(case: LoopMeasurements) -> float | None:
    """The median factor between the gradient of the scores and that of the loss."""
    scales = [one.scale for one in case.batches if one.scale is not None]
    return statistics.median(scales) if len(scales) >= _FEW_SAMPLES else None


def _decided(case: LoopMeasurements) -> list[UpdateSample]:
    """The sampled steps of which it is known whether gradients were kept."""
    return [one for one in case.updates if one.gradients_kept is not None]


def _keeps_gradients(case: LoopMeasurements) -> bool:
    decided = _decided(case)
    return len(decided) >= _FEW_SAMPLES and all(one.gradients_kept for one in decided)


@rule("training", severity="error")
def kept_gradients(case: LoopMeasurements) -> Evidence | None:
    """Gradients aren't reset, so that each step repeats all earlier ones.

    Symptom: a loss that falls, then swings or explodes; more so with a higher learning rate.

    Cause: `optimizer.zero_grad()` is missing. `backward()` adds to the gradients that are there.

    Fix: call `optimizer.zero_grad()` before each `backward()`, or after each `step()`.

    Source: https://github.com/pytorch/pytorch/issues/47175

    Wrong:
        >>> model, loss = nn.Linear(8, 4), nn.CrossEntropyLoss()
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with doctor.watch(model, loss) as watching:
        ...     for _ in range(20):
        ...         loss(model(batch[0]), batch[1].roll(_)).backward()
        ...         optimizer.step()
        >>> watching.diagnosis.rules
        ('kept-gradients',)

    Fixed:
        >>> with doctor.watch(model, loss) as watching:
        ...     for _ in range(20):
        ...         optimizer.zero_grad()
        ...         loss(model(batch[0]), batch[1].roll(_)).backward()
        ...         optimizer.step()
        >>> 'kept-gradients' in watching.diagnosis.rules
        False
    """
    if not _keeps_gradients(case):
        return None
    decided = _decided(case)
    norms = [one.gradient for one in case.updates]
    return Evidence(
        text=f"In all {len(decided)} places where it was compared, the gradient of a step is the "
        "sum of the one that the step before had used and of what backward() added. Its norm goes "
        f"from {norms[0]:.3g} to {norms[-1]:.3g}.",
        numbers={
            "compared": len(decided),
            "steps": [one.step for one in decided],
            "gradients": norms,
        },
        confidence="certain",
        why="the sum was recomputed from the gradients that backward() delivered",
        remedy="optimizer.zero_grad()  # before loss.backward()",
        not_checked="whether that is intended; a momentum does the same with a factor below 1.",
    )


def _rebuilds(case: LoopMeasurements) -> bool:
    enough = case.optimizer_steps >= _STEPS_OF_A_LOOP
    return enough and case.has_state and case.without_state >= 0.9 * case.optimizer_steps


@rule("training", severity="warning")
def rebuilt_optimizer(case: LoopMeasurements) -> Evidence | None:
    """The optimizer is built anew for each step and loses its state.

    Symptom: Adam learns worse than it should, momentum has no effect.

    Cause: `optimizer = torch.optim.Adam(...)` inside the loop. The state of the optimizer, such as
    the averages of Adam, begins at zero in each step.

    Fix: build the optimizer once, before the loop.

    Source: https://github.com/alan-turing-institute/deepsensor/issues/47

    Wrong:
        >>> model, loss = nn.Linear(8, 4), nn.CrossEntropyLoss()
        >>> with doctor.watch(model, loss) as watching:
        ...     for _ in range(20):
        ...         optimizer = torch.optim.Adam(model.parameters())
        ...         optimizer.zero_grad()
        ...         loss(model(batch[0]), batch[1].roll(_)).backward()
        ...         optimizer.step()
        >>> watching.diagnosis.rules
        ('rebuilt-optimizer',)

    Fixed:
        >>> optimizer = torch.optim.Adam(model.parameters())
        >>> with doctor.watch(model, loss) as watching:
        ...     for _ in range(20):
        ...         optimizer.zero_grad()
        ...         loss(model(batch[0]), batch[1].roll(_)).backward()
        ...         optimizer.step()
        >>> 'rebuilt-optimizer' in watching.diagnosis.rules
        False
    """
    if not _rebuilds(case):
        return None
    return Evidence(
        text=f"{case.without_state} of {case.optimizer_steps} steps of {case.optimizer} began "
        "without any state, and ended with one.",
        numbers={"without_state": case.without_state, "steps": case.optimizer_steps},
        confidence="certain",
        why="only the first step of an optimizer has no state",
        remedy="optimizer = torch.optim.Adam(model.parameters())  # once, before the loop",
        not_checked="whether the state is reset on purpose.",
    )


def _one_class(case: LoopMeasurements) -> list[BatchSample]:
    """The sampled batches, if most have one class and they aren't all of the same.

    Of sorted rows a batch may hold the end of one class and the beginning of the next. With few
    classes or rows, two classes in a batch say nothing.
    """
    batches = [one for one in case.batches if one.classes is not None and one.rows >= 4]
    if len(batches) < 4 or case.adversarial:
        return []
    single = [one for one in batches if one.classes == 1]
    kinds = {one.first_class for one in single}
    if len(single) == len(batches):
        return batches if len(kinds) > 1 else []
    sorted_rows = (
        (case.classes or 0) >= 5
        and len(single) >= 0.5 * len(batches)
        and len(kinds) >= 2
        and all(one.classes in (1, 2) and one.rows >= 16 for one in batches)
    )
    return batches if sorted_rows else []


@rule("training", severity="warning")
def one_class_batches(case: LoopMeasurements) -> Evidence | None:
    """Each batch holds rows of a single class.

    Symptom: the loss falls within a class and jumps at the next one; the model predicts the class
    of the last batches.

    Cause: rows that are sorted by class and a loader that doesn't shuffle them.

    Fix: `DataLoader(dataset, batch_size=64, shuffle=True)`.

    Source: https://github.com/Deci-AI/super-gradients/issues/416

    Wrong:
        >>> model, loss = nn.Linear(8, 4), nn.CrossEntropyLoss()
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with doctor.watch(model, loss) as watching:
        ...     for step in range(20):
        ...         optimizer.zero_grad()
        ...         loss(model(batch[0]), torch.full((len(batch[1]),), step // 3 % 4)).backward()
        ...         optimizer.step()
        >>> 'one-class-batches' in watching.diagnosis.rules
        True

    Fixed:
        >>> with doctor.watch(model, loss) as watching:
        ...     for _ in range(20):
        ...         optimizer.zero_grad()
        ...         loss(model(batch[0]), batch[1].roll(_)).backward()
        ...         optimizer.step()
        >>> 'one-class-batches' in watching.diagnosis.rules
        False
    """
    batches = _one_class(case)
    if not batches:
        return None
    kinds = [one.first_class for one in batches]
    single = sum(one.classes == 1 for one in batches)
    shown = ", ".join(map(str, kinds[:12])) + (" ..." if len(kinds) > 12 else "")
    text = f"Of {len(batches)} sampled batches, {single} have rows of a single class"
    text += "" if single == len(batches) else ", the others of two"
    return Evidence(
        text=f"{text}. Their first rows have the classes {shown}.",
        numbers={"steps": [one.step for one in batches], "classes": kinds},
        confidence="certain",
        why="mixed batches of four rows or more have one class only by a rare chance",
        remedy="loader = DataLoader(dataset, batch_size=64, shuffle=True)",
        not_checked="the batches between them.",
    )


@rule("training", severity="note")
def same_batch(case: LoopMeasurements) -> Evidence | None:
    """Each step has the same labels: one batch is trained on again and again.

    Symptom: the training loss falls to 0, and the model has learned nothing else.

    Cause: `batch = next(iter(loader))` inside the loop, or before it. It is right for a test
    whether one batch can be memorized, and where each step takes all rows of a small data set.

    Fix: `for batch in loader:`.

    Source: https://github.com/ZhaoJ9014/face.evoLVe/pull/39

    Wrong:
        >>> model, loss = nn.Linear(8, 4), nn.CrossEntropyLoss()
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with doctor.watch(model, loss) as watching:
        ...     for _ in range(20):
        ...         optimizer.zero_grad()
        ...         loss(model(batch[0]), batch[1]).backward()
        ...         optimizer.step()
        >>> watching.diagnosis.rules
        ('same-batch',)

    Fixed:
        >>> with doctor.watch(model, loss) as watching:
        ...     for _ in range(20):
        ...         optimizer.zero_grad()
        ...         loss(model(batch[0]), batch[1].roll(_)).backward()
        ...         optimizer.step()
        >>> watching.diagnosis.rules
        ()
    """
    batches = [one for one in case.batches if one.rows >= 4]
    if len(batches) < 4 or not case.optimizer_steps:
        return None
    if not all(one.same_as_first for one in batches[1:]):
        return None
    if all(one.classes == 1 for one in batches):
        return None  # equal labels in every batch, such as those of a rare class
    return Evidence(
        text=f"The {batches[0].rows} labels of each of {len(batches)} sampled batches are the same "
        f"ones in the same order, up to step {batches[-1].step}.",
        numbers={"steps": [one.step for one in batches], "rows": batches[0].rows},
        confidence="possible",
        why="where one batch holds all rows, that is right",
        remedy="for inputs, target in loader: ...  # not next(iter(loader))",
        not_checked="the inputs, and how many rows the data have.",
    )


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
        _diverges(case) is not None
        or _rate_ended(case) is not None
        or _collapsed(case)
        or _tiny(case) is not None
        or _keeps_gradients(case)
        or _rebuilds(case)
        or bool(_one_class(case))
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
        if _has_small_scores(case):
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
