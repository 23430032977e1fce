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
    unseen: list[str],
) -> tuple[Fit | None, bool, tuple[str, ...]]:
    """Train copies on a part of the batch; the fit, and what was still dead afterwards."""
    count = min(_ROWS, len(target))
    few = each(inputs, lambda x: x[:count] if x.ndim and len(x) == len(target) else x)
    goal = target[:count]
    bounds = _bounds(goal, known, few)
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


def _bounds(target: Tensor, known: KnownLoss | None, inputs: Any) -> tuple[float, float] | None:
    """(the loss of predicting class frequencies, the lowest loss there can be)."""
    if known is None:
        return None
    if known.binary:
        masses = torch.stack([1 - target.double(), target.double()], dim=-1).reshape(-1, 2)
    elif target.is_floating_point():
        masses = target.double().movedim(1, -1).reshape(-1, target.shape[1])
    else:
        kept = target[target != known.ignore_index]
        if not kept.numel():
            return None
        masses = torch.nn.functional.one_hot(kept.long() - int(kept.min())).double()
    frequencies = _entropy(masses.mean(dim=0, keepdim=True))
    floor = _entropy(masses)
    tensors = tensors_of(inputs)
    if len(masses) == len(target) and tensors and all(len(x) == len(target) for x in tensors):
        # Equal inputs with different targets can't be told apart by any model.
        keys = torch.cat([x.reshape(len(x), -1).double() for x in tensors], dim=1)
        _, group = torch.unique(keys, dim=0, return_inverse=True)
        mean = torch.zeros(int(group.max()) + 1, masses.shape[1], dtype=torch.float64)
        mean = mean.to(masses.device).index_add(0, group, masses)
        mean = mean / mean.sum(dim=1, keepdim=True)
        floor = max(floor, _entropy(mean[group]))
    return (frequencies, floor) if frequencies - floor > 0.05 else None


def _entropy(masses: Tensor) -> float:
    """The mean entropy of rows of probabilities, in nats."""
    return float(torch.special.entr(masses).sum(dim=-1).mean())
