"""What watching a training loop measured: plain numbers, for the rules to judge."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from functools import cached_property

__all__ = ["FEWEST_STEPS", "BatchSample", "LoopMeasurements", "UpdateSample"]

FEWEST_STEPS = 50  # before which it is too early to say that a model doesn't learn


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSample:
    """The arguments of the loss in one step.

    Attributes:
        step: from 1.
        rows: how many targets that count.
        classes: how many different classes they have; None if the target isn't class indices.
        first_class: the class of the first of them.
        same_as_first: whether the targets are equal to those of the first sampled step.
        spread: how far the scores of a row lie apart, on average.
        scale: the gradient that reached the scores, relative to that of the loss itself; None if
            it wasn't observed.
    """

    step: int
    rows: int
    classes: int | None
    first_class: int | None
    same_as_first: bool
    spread: float
    scale: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateSample:
    """One step of an optimizer.

    Attributes:
        step: the number of loss calls before it.
        gradient: the norm of the gradient that the optimizer got, over all parameters of the model.
        update: the norm of the change, relative to that of the parameters, in a sample of them.
        gradients_kept: whether the gradient contains that of the step before, which wasn't reset;
            None if that couldn't be decided.
    """

    step: int
    gradient: float
    update: float
    gradients_kept: bool | None = None


@dataclass(frozen=True, kw_only=True)
class LoopMeasurements:
    """A watched training loop.

    Attributes:
        steps: how often the loss was computed.
        parameters: the names of the parameters that require a gradient.
        unchanged: those that were the same at the end as at the beginning.
        not_finite: all parameters with a NaN or an infinity at the end.
        losses: (step, mean loss) in the order of the steps, at most 512 of them, evenly spread.
        classes: C, if the loss is a cross-entropy of class indices whose size can be judged.
        adversarial: whether the loss was called more often than parameters were updated and each
            call had targets of a single class, as for the two parts of a GAN.
        batches, updates: samples of the arguments of the loss, and of the optimizer's steps.
        rates: (step, learning rate) of the first group of parameters.
        optimizer: the class name of the optimizer.
        optimizer_steps: how often an optimizer updated parameters of the model.
        without_state: how many of these began without any state of the optimizer.
        has_state: whether the optimizer keeps a state, such as a momentum.
        weight_decay: the largest one of a group of parameters.
        shrinkage: the norm of the parameters at the end, relative to that at the beginning.
        movement: the norm of their change, relative to that at the beginning, in a sample.
    """

    steps: int
    parameters: tuple[str, ...]
    unchanged: tuple[str, ...]
    not_finite: tuple[str, ...] = ()
    losses: tuple[tuple[int, float], ...] = ()
    classes: int | None = None
    adversarial: bool = False
    batches: tuple[BatchSample, ...] = ()
    updates: tuple[UpdateSample, ...] = ()
    rates: tuple[tuple[int, float], ...] = ()
    optimizer: str = ""
    optimizer_steps: int = 0
    without_state: int = 0
    has_state: bool = False
    weight_decay: float = 0.0
    shrinkage: float = 1.0
    movement: float = 0.0

    @cached_property
    def finite(self) -> tuple[float, ...]:
        """The finite losses."""
        return tuple(loss for _, loss in self.losses if math.isfinite(loss))

    @cached_property
    def first(self) -> float:
        """The loss at the beginning, before the first update."""
        return self.finite[0]

    @cached_property
    def last(self) -> float:
        """The median of the last fifth of the losses."""
        return statistics.median(self.finite[-max(1, len(self.finite) // 5) :])

    @cached_property
    def guess(self) -> float | None:
        """Ln C, the loss of a uniform guess."""
        return None if self.classes is None else math.log(self.classes)

    @cached_property
    def stands(self) -> bool:
        """Whether the model is no better than a uniform guess, and was trained for a while.

        A learning rate that still rises is a warm-up: then it is too early to say.
        """
        return self._is_judged and self.last >= 0.97 * (self.guess or 0.0)

    @cached_property
    def stays(self) -> bool:
        """Whether the loss is where it began, not far below that of a uniform guess."""
        near = self._is_judged and self.last >= 0.8 * (self.guess or 0.0)
        return near and self.last >= 0.98 * self.first

    @property
    def _is_judged(self) -> bool:
        if self.guess is None or self.adversarial or len(self.finite) < 20:
            return False
        if self.steps < FEWEST_STEPS or self.warming_up:
            return False
        return len(self.unchanged) < len(self.parameters)

    @cached_property
    def warming_up(self) -> bool:
        """Whether the learning rate is still rising at the end."""
        if len(self.rates) < 2:
            return False
        rates = [rate for _, rate in self.rates]
        return rates[-1] > 1.02 * rates[-1 - max(1, len(rates) // 10)]

    @cached_property
    def typical_update(self) -> float | None:
        """The median of the relative updates, without the first; None if there are too few."""
        updates = [one.update for one in self.updates[1:] if math.isfinite(one.update)]
        return statistics.median(updates) if len(updates) >= 2 else None
