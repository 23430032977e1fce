"""Observe the steps of torch's optimizers, and sample some of them.

torch calls global hooks before and after each step of any optimizer. What they read changes
nothing; a step that isn't sampled costs about half a microsecond.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from softxent.doctor.loops.course import Course
from softxent.doctor.loops.measurements import UpdateSample

__all__ = ["OptimizerSteps"]

_compiling, _current_thread = torch.compiler.is_dynamo_compiling, threading.get_ident

_TENSORS = 16  # parameters of which updates are sampled
_NUMBERS = 1024  # of each
_FEWEST = 4  # numbers of the parameter whose gradient is followed


class OptimizerSteps:
    """The steps that update parameters of a model, between `start` and `stop`, in one thread.

    Attributes:
        count: the number of steps.
        without_state: how many began without any state of the optimizer.
        has_state: whether a sampled step left a state.
        wanted: whether the next step is to be sampled.
        rates: the learning rates.
        name: the class name of the last sampled optimizer.
        weight_decay: the largest one of its groups.
    """

    def __init__(self, model: nn.Module, step: Callable[[], int]) -> None:
        self._parameters = [one for one in model.parameters() if one.requires_grad]
        self._own = {id(one) for one in self._parameters}
        self._sampled = self._parameters[:: max(1, math.ceil(len(self._parameters) / _TENSORS))]
        self._step = step
        self._before_hook: Any = None
        self._after_hook: Any = None  # present after a sampled step only
        self._thread = 0
        self.count = self.without_state = 0
        self.has_state = self.wanted = False
        self.name, self.weight_decay = "", 0.0
        self.rates = Course()
        self._samples: list[tuple[int, Tensor, Tensor, Tensor, bool | None]] = []
        self._before: Tensor | None = None
        self._gradient: Tensor | None = None
        self._last: Optimizer | None = None  # whose parameters are known to be the model's
        self._foreign: Optimizer | None = None
        self._followed = _Followed(self._parameters)

    def start(self) -> None:
        """Add the hooks."""
        self._thread = _current_thread()
        self._before_hook = register_optimizer_step_pre_hook(self._before_step)

    def stop(self) -> None:
        """Remove the hooks."""
        self._before_hook.remove()
        self._remove_after_hook()
        self._followed.stop()
        self._last = self._foreign = None

    def samples(self) -> tuple[UpdateSample, ...]:
        """The sampled steps."""
        return tuple(
            UpdateSample(
                step=step,
                gradient=float(gradient),
                update=float(change) / float(size) if float(size) else math.nan,
                gradients_kept=kept,
            )
            for step, gradient, change, size, kept in self._samples
        )

    def _is_own(self, optimizer: Optimizer) -> bool:
        if optimizer is self._last:
            return True
        if optimizer is self._foreign:
            return False
        own = any(id(p) in self._own for group in optimizer.param_groups for p in group["params"])
        if own:
            self._last = optimizer
        else:
            self._foreign = optimizer
        return own

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        # Compiled code must not depend on what is counted here.
        if _compiling() or _current_thread() != self._thread or not self._is_own(optimizer):
            return
        if self._after_hook is not None:
            self._remove_after_hook()
        self.count += 1
        if not optimizer.state:
            self.without_state += 1
        if self.count >= self.rates.next_step:
            rate = optimizer.param_groups[0].get("lr")
            if isinstance(rate, int | float):
                self.rates.add(self.count, rate)
        if self._followed.active or self.wanted:
            self._measure(optimizer)

    def _measure(self, optimizer: Optimizer) -> None:
        """Sample the parameters and the gradient before a step; this must not stop the training."""
        kept = self._followed.kept()
        if kept is not None and self._samples:
            self._samples[-1] = (*self._samples[-1][:4], kept)
        if not self.wanted:
            return
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        try:
            with torch.no_grad():
                self._gradient = torch.nn.utils.get_total_norm(gradients)
                self._before = self._sample()
        except (RuntimeError, NotImplementedError, TypeError):
            self._before = None  # sparse gradients, parameters on several machines
            self.wanted = False
        else:
            self._after_hook = register_optimizer_step_post_hook(self._after_step)
        self.name = type(optimizer).__name__
        decays = [group.get("weight_decay", 0.0) for group in optimizer.param_groups]
        self.weight_decay = max(float(one) for one in decays)

    def _remove_after_hook(self) -> None:
        if self._after_hook is not None:
            self._after_hook.remove()
            self._after_hook = None

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if not self.wanted or self._before is None or optimizer is not self._last:
            return
        self.wanted = False
        self.has_state = self.has_state or bool(optimizer.state)
        with torch.no_grad():
            change = torch.linalg.vector_norm(self._sample() - self._before)
            size = torch.linalg.vector_norm(self._before)
        assert self._gradient is not None
        self._samples.append((self._step(), self._gradient, change, size, None))
        self._before = None
        self._followed.start()

    def _sample(self) -> Tensor:
        """Some numbers of some parameters."""
        return torch.cat(
            [
                one.detach().reshape(-1)[:: max(1, one.numel() // _NUMBERS)].to(torch.float32)
                for one in self._sampled
            ]
        )


class _Followed:
    """One small parameter whose gradients are added up from one step of the optimizer to the next.

    The gradient that the next step gets is their sum, or a multiple of it if it is clipped or
    unscaled. If it holds the gradient of the step before as well, that wasn't reset.
    """

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        fitting = [one for one in parameters if one.numel() >= _FEWEST and not one.is_meta]
        self._parameter = min(fitting, key=torch.numel, default=None)
        self._handle: Any = None
        self._old: Tensor | None = None
        self._added: Tensor | None = None

    @property
    def active(self) -> bool:
        """Whether gradients are being added up."""
        return self._handle is not None

    def start(self) -> None:
        """Begin after a step of the optimizer."""
        one = self._parameter
        if one is None or one.grad is None or one.grad.layout != torch.strided or self.active:
            return
        self._old, self._added = one.grad.detach().clone(), None
        self._handle = one.register_hook(self._add)

    def _add(self, gradient: Tensor) -> None:
        gradient = gradient.detach()
        self._added = gradient.clone() if self._added is None else self._added + gradient

    def stop(self) -> None:
        """Stop adding up."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def kept(self) -> bool | None:
        """Whether the gradient holds the old one; None if that can't be decided."""
        if not self.active:
            return None
        self.stop()
        one, old, added = self._parameter, self._old, self._added
        if one is None or one.grad is None or old is None or added is None:
            return None
        now = one.grad.detach()
        if not (old.shape == added.shape == now.shape) or not bool(torch.isfinite(now).all()):
            return None
        size = float(torch.linalg.vector_norm(added))
        if float(torch.linalg.vector_norm(old)) <= 0.01 * size or size == 0:
            return None  # too small to show
        if _is_multiple(now, added):
            return False
        return True if _is_multiple(now, old + added) else None


def _is_multiple(a: Tensor, b: Tensor) -> bool:
    """Whether a is b, or b times a positive number below 1 as after clipping or unscaling."""
    a, b = a.flatten().double(), b.flatten().double()
    product, size = float(a @ b), float(b @ b)
    factor = product / size if size else 0.0
    if not 0 < factor <= 1.001:
        return False
    rest = float(torch.linalg.vector_norm(a - factor * b))
    return rest <= 1e-3 * float(torch.linalg.vector_norm(a))
