"""`examine`: try a torch model on one batch, without touching it.

Everything is done to copies; the random states of torch, NumPy and Python are put back. The model,
its buffers, its gradients and the caller's random numbers are the same bits afterwards.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from softxent.doctor.batch import clone, first_line, parts
from softxent.doctor.calls import Calls
from softxent.doctor.cases import LossName
from softxent.doctor.check import check
from softxent.doctor.finding import Diagnosis, Finding
from softxent.doctor.known_losses import (
    Loss,
    averaged,
    known_loss,
    options_of,
    recognised,
    title,
)
from softxent.doctor.overfitting import overfit
from softxent.doctor.probing import (
    copy_of,
    gradients_of,
    in_training,
    is_constant,
    mixing_of,
    run,
    unchanged_random_states,
)
from softxent.doctor.registry import ask
from softxent.doctor.trial import Trial
from softxent.errors import SoftxentError

__all__ = ["examine"]


def examine(model: nn.Module, batch: tuple[Any, Any], loss: Loss | None = None) -> Diagnosis:
    """Try a model and its loss on one batch: before the first step, best of all.

    Looked at are the arguments of the loss (all rules of `check`), the last layer, the loss at the
    start against ln C, whether rows influence each other, whether gradients arrive, and whether one
    batch can be overfitted: what can't learn 64 rows by heart can't learn anything.

    Args:
        model: takes the inputs and returns scores; anything but the batch axis first is its own.
        batch: (inputs, target); inputs are a tensor, or a tuple, list or mapping of tensors, which
            are passed as positional or keyword arguments.
        loss: as you train with: a module or a function of (scores, target); None is cross_entropy.

    Returns:
        A `Diagnosis`. The model, its gradients, its buffers and all random states are unchanged.

    Raises:
        OptionError: the model can't be copied, or fails on the batch.

    Cost: two copies of the model, and at most 180 steps on 64 rows or some ten seconds.

    Example:
        >>> import torch
        >>> inputs, target = torch.eye(4).repeat(8, 1), torch.arange(32) % 4
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Softmax(dim=1))
        >>> examine(model, (inputs, target), torch.nn.CrossEntropyLoss()).worst
        'error'
    """
    if loss is None:
        loss = nn.functional.cross_entropy
    inputs, target = parts(batch)
    with unchanged_random_states(model), torch.enable_grad():
        return _examine(model, clone(inputs), target.detach().clone(), loss)


def _examine(model: nn.Module, inputs: Any, target: Tensor, loss: Loss) -> Diagnosis:
    unseen: list[str] = []
    still = copy_of(model).eval()
    outputs, ending = run(still, inputs)
    value, within = _value(loss, outputs, target, unseen)
    known = known_loss(loss) or recognised(value, outputs, target)
    if known is not None:
        arguments = known.check(outputs, target)
        findings, asked = list(arguments.findings), list(arguments.checked)
        if known.by_value:
            unseen.append(
                f"the code of {title(loss)}: on this batch its value is the {known.reduction} of "
                f"{known.name}, and it was judged as that."
            )
    elif within is not None:
        findings, asked = list(within.findings), list(within.checked)
        unseen.append(
            f"the code of {title(loss)}: what it gives to the one loss of torch that it calls was "
            "judged."
        )
    else:
        findings, asked = _guess(outputs, target)
        unseen.append(
            f"the loss's arguments: {title(loss)} is no loss that is known here; the scores were "
            "judged as cross_entropy's."
        )

    name = known.name if known is not None else None
    called = title(loss)
    loss = averaged(loss, known.reduction if known else getattr(loss, "reduction", "mean"))
    with torch.no_grad():
        start = None if value is None else float(loss(outputs, target))
    mixing = mixing_of(still, inputs, outputs, unseen)
    moving = in_training(copy_of(model))
    blocked, silent, differentiable, input_blocked = gradients_of(
        moving, inputs, target, loss, still
    )
    constant = is_constant(outputs)
    fit = None
    if start is not None and differentiable:
        fit, constant_after, silent_after = overfit(
            model, inputs, target, loss, known, _classes(outputs, name), unseen
        )
        constant = constant and constant_after
        silent = tuple(one for one in silent if one in silent_after)
    wanting = [p.requires_grad for p in model.parameters()]
    trial = Trial(
        loss=name,
        classes=_classes(outputs, name),
        rows=len(target),
        start=start,
        ending=ending,
        constant=constant,
        differentiable=differentiable,
        parameters=sum(wanting),
        frozen=len(wanting) - sum(wanting),
        blocked=blocked,
        silent=silent,
        input_blocked=input_blocked,
        mixing=mixing,
        fit=fit,
    )
    more, asked_more = ask("model", trial)
    subject = f"{type(model).__name__} on {len(target)} rows with {called}"
    return Diagnosis.of(subject, findings + more, asked + asked_more, unseen)


def _guess(outputs: Tensor, target: Tensor) -> tuple[list[Finding], list[str]]:
    """What the scores look like, if an unknown loss holds a cross_entropy: never an error."""
    if outputs.ndim < 2 or target.is_floating_point() or target.ndim != outputs.ndim - 1:
        return [], []
    told = check(outputs, target, loss="cross_entropy", axis=1)
    rules = {"softmax-twice", "sigmoid-before-softmax", "clipped-scores", "not-finite"}
    return [
        replace(one, level="warning", confidence="possible") if one.level != "note" else one
        for one in told
        if one.rule in rules
    ], [one for one in told.checked if one in rules]


def _value(
    loss: Loss, outputs: Tensor, target: Tensor, unseen: list[str]
) -> tuple[Tensor | None, Diagnosis | None]:
    """What the loss returns, None where it refuses its arguments.

    And what is to be said of the arguments that it gives to one of torch's losses itself.
    """
    within: list[Diagnosis] = []

    def see(inner: Loss, args: tuple[Any, ...], kwargs: Mapping[str, Any], _: Any) -> None:
        calls.wanted = calls.count + 1
        given = options_of(inner, args, kwargs)
        known, scores, labels = known_loss(inner, given), given.get("input"), given.get("target")
        if known and isinstance(scores, Tensor) and isinstance(labels, Tensor):
            with contextlib.suppress(SoftxentError):
                within.append(known.check(scores, labels))

    calls = Calls(lambda *_: None, see)  # of any function that isn't torch's, what is called within
    calls.begin()
    try:
        with torch.no_grad():
            value = loss(outputs, target)
    except Exception as error:
        unseen.append(f"training: the loss fails on these arguments ({first_line(error)}).")
        return None, None
    finally:
        calls.end()
    if not isinstance(value, Tensor):
        unseen.append(f"training: the loss returns a {type(value).__name__}, not a tensor.")
        return None, None
    return value, within[0] if len(within) == calls.count == 1 else None


def _classes(outputs: Tensor, name: LossName | None) -> int:
    if name is not None and name.startswith("binary"):
        return 2
    return outputs.shape[1] if outputs.ndim > 1 else outputs.shape[0]
