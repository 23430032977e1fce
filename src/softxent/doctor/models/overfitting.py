"""Try to overfit one batch, on copies of the model."""

from __future__ import annotations

import math
import time
from typing import Any

import torch
from torch import Tensor, nn

from softxent.doctor.losses.known_losses import KnownLoss, Loss
from softxent.doctor.models.batch import call_model, clone, first_line, map_tensors, tensors_of
from softxent.doctor.models.measurements import OverfitAttempt
from softxent.doctor.models.probes import copy_of, in_training, is_constant, zero_gradients

__all__ = ["overfit"]

_RATES = (1e-2, 1e-3, 1e-1)
_STEPS = 60
_ROWS = 64  # of the batch
_SECONDS = 10.0  # after which no further rate is tried


def overfit(
    model: nn.Module,
    inputs: Any,
    target: Tensor,
    loss: Loss,
    known: KnownLoss | None,
    classes: int,
    not_checked: list[str],
) -> tuple[OverfitAttempt | None, bool, tuple[str, ...]]:
    """Train copies on a part of the batch.

    Returns:
        The attempt, whether the outputs were still constant, and the weights whose gradient was
        still 0.
    """
    count = min(_ROWS, len(target))
    few = map_tensors(inputs, lambda x: x[:count] if x.ndim and len(x) == len(target) else x)
    labels = target[:count]
    bounds = _bounds(labels, known, few, classes)
    if bounds is None:
        not_checked.append("overfitting: the batch holds only one class, or the loss is unknown.")
        return None, True, zero_gradients(model)
    frequencies, floor = bounds
    lowest, constant = math.inf, True
    zero: tuple[str, ...] | None = None
    tried: list[float] = []
    began = time.monotonic()
    try:
        for rate in _RATES:
            if time.monotonic() - began > _SECONDS:
                break
            tried.append(rate)
            learner = in_training(copy_of(model))
            best = _train(learner, few, labels, loss, rate, floor + 0.3 * (frequencies - floor))
            lowest = min(lowest, best)
            now = zero_gradients(learner)
            zero = now if zero is None else tuple(one for one in zero if one in now)
            with torch.no_grad():
                constant = constant and is_constant(call_model(learner, clone(few)))
            if lowest < floor + 0.5 * (frequencies - floor):
                break
    except Exception as error:
        not_checked.append(f"overfitting: a training step fails ({first_line(error)}).")
        return None, True, zero or ()
    attempt = OverfitAttempt(
        rows=count,
        steps=_STEPS,
        rates=tuple(tried),
        lowest=lowest,
        frequencies=frequencies,
        floor=floor,
        labels=_label_count(labels, known),
        learnable=sum(p.numel() for p in model.parameters() if p.requires_grad),
    )
    return attempt, constant, zero or ()


def _train(
    model: nn.Module, inputs: Any, target: Tensor, loss: Loss, rate: float, enough: float
) -> float:
    """The lowest mean loss in `_STEPS` Adam steps."""
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=rate)
    lowest = math.inf
    for _ in range(_STEPS):
        optimizer.zero_grad()
        value = loss(call_model(model, clone(inputs)), target)
        reached = float(value.detach())
        if math.isfinite(reached):
            lowest = min(lowest, reached)
        value.backward()
        if lowest < enough:
            break
        optimizer.step()
    return lowest


def _label_count(target: Tensor, known: KnownLoss | None) -> int:
    """The number of targets to learn."""
    if known is None or known.binary:
        return target.numel()
    if target.is_floating_point():
        return target.numel() // target.shape[known.class_axis(target)]
    return int((target != known.ignore_index).sum())


def _bounds(
    target: Tensor, known: KnownLoss | None, inputs: Any, classes: int
) -> tuple[float, float] | None:
    """(the loss of predicting the class frequencies, the lowest loss that is possible)."""
    if known is None or not _label_count(target, known):
        return None
    soft, divisor = _soft_targets(target, known, classes)
    frequencies = _lowest_sum(soft.sum(dim=0, keepdim=True)) / divisor
    floor = _lowest_sum(soft) / divisor
    tensors = tensors_of(inputs)
    if len(soft) == len(target) and tensors and all(len(x) == len(target) for x in tensors):
        # No model can distinguish equal inputs with different targets.
        keys = torch.cat([x.reshape(len(x), -1).double() for x in tensors], dim=1)
        _, group = torch.unique(keys, dim=0, return_inverse=True)
        sums = soft.new_zeros(int(group.max()) + 1, soft.shape[1]).index_add(0, group, soft)
        floor = max(floor, _lowest_sum(sums) / divisor)
    return (frequencies, floor) if frequencies - floor > 0.05 else None


def _soft_targets(target: Tensor, known: KnownLoss, classes: int) -> tuple[Tensor, float]:
    """The target distributions, one row per label, and what the sum of their losses is divided by.

    All classes that no label has are merged into one: what smoothing gives them costs the same in
    every row, so it shifts both bounds alike.
    """
    share = known.label_smoothing
    if known.binary:
        positive = target.double()
        weighted = positive if known.pos_weight is None else positive * known.pos_weight
        soft = torch.stack([1 - positive, weighted], dim=-1)
        if known.weight is not None:
            soft = soft * known.weight.unsqueeze(-1)
        return soft.reshape(-1, 2), float(target.numel())
    weight = target.new_ones(classes, dtype=torch.float64)
    if known.weight is not None:
        weight = known.weight.double()
    if target.is_floating_point():
        rows = target.double().movedim(known.class_axis(target), -1).reshape(-1, classes)
        return weight * ((1 - share) * rows + share / classes), float(len(rows))
    kept = target[target != known.ignore_index].long()
    seen, column = torch.unique(kept, return_inverse=True)
    soft = nn.functional.one_hot(column).double() * (1 - share) + share / classes
    soft = soft * weight[seen]
    if share:
        absent = (weight.sum() - weight[seen].sum()) * share / classes
        soft = torch.cat([soft, absent.expand(len(soft), 1)], dim=1)
    by_weight = known.reduction == "mean"
    return soft, float(weight[kept].sum()) if by_weight else float(target.numel())


def _lowest_sum(soft: Tensor) -> float:
    """The lowest sum of losses that target distributions allow, in nats: s ln s - sum t ln t."""
    return float(torch.special.entr(soft).sum() - torch.special.entr(soft.sum(dim=1)).sum())
