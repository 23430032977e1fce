"""Rules on the optimizer's steps."""

from __future__ import annotations

from softxent.doctor.finding import Evidence
from softxent.doctor.loops.measurements import LoopMeasurements
from softxent.doctor.loops.signs import (
    TINY,
    cause_of_tiny_updates,
    decided_updates,
    ended_rate,
    has_collapsed,
    keeps_gradients,
    rebuilds_optimizer,
    tiny_update,
)
from softxent.doctor.registry import rule

__all__: list[str] = []


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
    ended = ended_rate(case)
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
    if not has_collapsed(case):
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
    typical = tiny_update(case)
    if typical is None:
        return None
    cause, words, remedy = cause_of_tiny_updates(case)
    return Evidence(
        severity="warning" if cause or typical < 0.1 * TINY or case.steps >= 400 else "note",
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
    if not keeps_gradients(case):
        return None
    decided = decided_updates(case)
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
    if not rebuilds_optimizer(case):
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
