"""The attempt to overfit one batch, on copies of the model."""

from __future__ import annotations

import math
import time
from typing import Any

import torch
from torch import Tensor, nn

from softxent.doctor.batch import call, clone, each, first_line, tensors_of
from softxent.doctor.known_losses import KnownLoss, Loss
from softxent.doctor.probing import (
    copy_of,
    in_training,
    is_constant,
    silent_weights,
)
from softxent.doctor.trial import Fit

__all__ = ["overfit"]

_RATES = (1e-2, 1e-3, 1e-1)
_STEPS = 60
_ROWS = 64  # of a batch that are overfitted
_SECONDS = 10.0  # after which no further rate is tried


def overfit(
    model: nn.Module,
    inputs: Any,
    target: Tensor,
    loss: Loss,
    known: KnownLoss | None,
    classes: int,
    unseen: list[str],
) -> tuple[Fit | None, bool, tuple[str, ...]]:
    """Train copies on a part of the batch; the fit, and what was still dead afterwards."""
    count = min(_ROWS, len(target))
    few = each(inputs, lambda x: x[:count] if x.ndim and len(x) == len(target) else x)
    goal = target[:count]
    bounds = _bounds(goal, known, few, classes)
    if bounds is None:
        unseen.append("overfitting: the batch holds one class only, or the loss isn't known.")
        return None, True, silent_weights(model)
    frequencies, floor = bounds
    lowest, constant, silent = math.inf, True, None
    tried: list[float] = []
    began = time.monotonic()
    try:
        for rate in _RATES:
            if time.monotonic() - began > _SECONDS:
                break
            tried.append(rate)
            learner = in_training(copy_of(model))
            best = _train(learner, few, goal, loss, rate, floor + 0.3 * (frequencies - floor))
            lowest = min(lowest, best)
            dead = silent_weights(learner)
            silent = dead if silent is None else tuple(one for one in silent if one in dead)
            with torch.no_grad():
                constant = constant and is_constant(call(learner, clone(few)))
            if lowest < floor + 0.5 * (frequencies - floor):
                break
    except Exception as error:
        unseen.append(f"overfitting: a training step fails ({first_line(error)}).")
        return None, True, silent or ()
    fit = Fit(
        rows=count,
        steps=_STEPS,
        rates=tuple(tried),
        lowest=lowest,
        frequencies=frequencies,
        floor=floor,
        labels=_labels(goal, known),
        learnable=sum(p.numel() for p in model.parameters() if p.requires_grad),
    )
    return fit, constant, silent or ()


def _train(
    model: nn.Module, inputs: Any, target: Tensor, loss: Loss, rate: float, enough: float
) -> float:
    """The lowest mean loss in so many Adam steps."""
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=rate)
    lowest = math.inf
    for _ in range(_STEPS):
        optimizer.zero_grad()
        value = loss(call(model, clone(inputs)), target)
        reached = float(value.detach())
        if math.isfinite(reached):
            lowest = min(lowest, reached)
        value.backward()
        if lowest < enough:
            break
        optimizer.step()
    return lowest


def _labels(target: Tensor, known: KnownLoss | None) -> int:
    """How many targets there are to learn."""
    if known is None or known.binary:
        return target.numel()
    if target.is_floating_point():
        return target.numel() // target.shape[1]
    return int((target != known.ignore_index).sum())


def _bounds(
    target: Tensor, known: KnownLoss | None, inputs: Any, classes: int
) -> tuple[float, float] | None:
    """(the loss of predicting class frequencies, the lowest loss there can be)."""
    if known is None or not _labels(target, known):
        return None
    masses, divisor = _masses(target, known, classes)
    frequencies = _least(masses.sum(dim=0, keepdim=True)) / divisor
    floor = _least(masses) / divisor
    tensors = tensors_of(inputs)
    if len(masses) == len(target) and tensors and all(len(x) == len(target) for x in tensors):
        # Equal inputs with different targets can't be told apart by any model.
        keys = torch.cat([x.reshape(len(x), -1).double() for x in tensors], dim=1)
        _, group = torch.unique(keys, dim=0, return_inverse=True)
        sums = masses.new_zeros(int(group.max()) + 1, masses.shape[1]).index_add(0, group, masses)
        floor = max(floor, _least(sums) / divisor)
    return (frequencies, floor) if frequencies - floor > 0.05 else None


def _masses(target: Tensor, known: KnownLoss, classes: int) -> tuple[Tensor, float]:
    """The target's masses, a row a label, and what their losses are divided by.

    Classes that no label has are left out: what smoothing gives them costs the same everywhere, so
    it moves both bounds alike, and is in both as if it were one class.
    """
    share = known.label_smoothing
    if known.binary:
        goal = target.double()
        yes = goal if known.pos_weight is None else goal * known.pos_weight
        masses = torch.stack([1 - goal, yes], dim=-1)
        if known.weight is not None:
            masses = masses * known.weight.unsqueeze(-1)
        return masses.reshape(-1, 2), float(goal.numel())
    weight = target.new_ones(classes, dtype=torch.float64)
    if known.weight is not None:
        weight = known.weight.double()
    if target.is_floating_point():
        soft = target.double().movedim(1, -1).reshape(-1, classes)
        return weight * ((1 - share) * soft + share / classes), float(len(soft))
    kept = target[target != known.ignore_index].long()
    seen, column = torch.unique(kept, return_inverse=True)
    masses = torch.nn.functional.one_hot(column).double() * (1 - share) + share / classes
    masses = masses * weight[seen]
    if share:
        absent = (weight.sum() - weight[seen].sum()) * share / classes
        masses = torch.cat([masses, absent.expand(len(masses), 1)], dim=1)
    averaged = known.reduction == "mean"
    return masses, float(weight[kept].sum()) if averaged else float(target.numel())


def _least(masses: Tensor) -> float:
    """What rows of masses cost at least, in nats: s ln s - sum t ln t each."""
    return float(torch.special.entr(masses).sum() - torch.special.entr(masses.sum(dim=1)).sum())
