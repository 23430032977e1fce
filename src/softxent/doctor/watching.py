"""`watch`: look at a few steps of a training loop while it runs.

The loss module is hooked. Steps 1, 2, 4, 8 ... and then each 256th are looked at, each as soon as
looking has taken less than a two-hundredth of the time since the beginning; all other steps cost a
few additions. The last loss and the parameters are looked at when the loop ends.
"""

from __future__ import annotations

import math
import time
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from softxent.doctor.check import check
from softxent.doctor.finding import Diagnosis, Finding
from softxent.doctor.known_losses import loss_name, options_of
from softxent.doctor.log import Log, Row
from softxent.doctor.printed import Printed
from softxent.doctor.registry import ask
from softxent.doctor.trial import Training
from softxent.errors import OptionError

__all__ = ["Watch", "watch"]

_LONGEST_PAUSE = 256  # steps between two looks, so that the end of a long loop is seen too
_SHARE = 0.005  # of the loop's time; the rest of a hundredth is for the start and the end


def watch(model: nn.Module, loss: nn.Module) -> Watch:
    """Watch a training loop: a context manager around it.

    Args:
        model: the model that is trained; its parameters are compared at the end with the beginning.
        loss: the loss module, as it is called in the loop with (scores, target).

    Returns:
        A `Watch`; its `diagnosis` can be asked at any time and is complete after the block.

    Raises:
        OptionError: loss is no module; a function can't be hooked.

    Cost: at most a two-hundredth of the loop's time beyond the first look (about a millisecond),
    and one sum over the parameters at each end. On a GPU only the steps that are looked at wait for
    it.

    Example:
        >>> import torch
        >>> model, loss = torch.nn.Linear(4, 3), torch.nn.CrossEntropyLoss()
        >>> with watch(model, loss) as watching:
        ...     _ = loss(model(torch.eye(4)).softmax(dim=1), torch.tensor([0, 1, 2, 0]))
        >>> watching.diagnosis.rules
        ('softmax-twice',)
    """
    if not isinstance(loss, nn.Module):
        raise OptionError(
            "[watch] loss is not a module, and a function can't be watched: pass e.g. "
            "torch.nn.CrossEntropyLoss() and call that in the loop."
        )
    return Watch(model, loss)


class Watch:
    """What has been seen of a training loop so far."""

    def __init__(self, model: nn.Module, loss: nn.Module) -> None:
        self.steps = 0
        self._model, self._loss = model, loss
        self._next = 1
        self._spent = 0.0
        self._began = 0.0
        self._hook: Any = None
        self._findings: list[Finding] = []
        self._asked: list[str] = []
        self._losses: list[Row] = []
        self._classes: int | None = None
        self._seen: list[int] = []
        self._at_start: dict[str, tuple[float, float]] = {}
        self._unchanged: tuple[str, ...] = ()
        self._not_finite: tuple[str, ...] = ()
        self._last: Any = None
        self._ended = False

    def __enter__(self) -> Watch:
        self._at_start = _fingerprints(self._model)
        self._began = time.perf_counter()
        self._hook = self._loss.register_forward_hook(self._step, with_kwargs=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._hook.remove()
        now = _fingerprints(self._model)
        self._unchanged = tuple(
            name for name, value in self._at_start.items() if now.get(name) == value
        )
        self._not_finite = tuple(
            name for name, sums in now.items() if not all(map(math.isfinite, sums))
        )
        if self.steps and (not self._seen or self._seen[-1] != self.steps):
            self._keep(self._last)
        self._last = None
        self._ended = True

    def _step(
        self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], value: Any
    ) -> None:
        self.steps += 1
        self._last = value.detach() if isinstance(value, Tensor) else None
        if self.steps < self._next:
            return
        began = time.perf_counter()
        if self.steps > 1 and self._spent > _SHARE * (began - self._began):
            return  # the next step asks again
        self._next = min(2 * self.steps, self.steps + _LONGEST_PAUSE)
        self._look(args, kwargs, value)
        if self.steps > 1:  # the first look warms up; it is what every loop pays once
            self._spent += time.perf_counter() - began

    def _look(self, args: tuple[Any, ...], kwargs: dict[str, Any], value: Any) -> None:
        scores = args[0] if args else kwargs.get("input")
        target = args[1] if len(args) > 1 else kwargs.get("target")
        name = loss_name(self._loss)
        if not isinstance(scores, Tensor) or not isinstance(target, Tensor):
            return
        self._seen.append(self.steps)
        if name is not None:
            options = options_of(self._loss)
            if name.startswith("binary"):
                options, axis = {"reduction": options["reduction"]}, None
                self._classes = 2
            else:
                axis = 1 if scores.ndim > 1 else None
                self._classes = scores.shape[1] if scores.ndim > 1 else scores.shape[0]
            diagnosis = check(scores, target, loss=name, axis=axis, **options)
            self._findings += diagnosis.findings
            self._asked += diagnosis.checked
        self._keep(value)

    def _keep(self, value: Any) -> None:
        """Note the loss of this step."""
        if isinstance(value, Tensor) and value.ndim == 0 and _is_mean(self._loss):
            number = Printed.read(repr(float(value.detach())))
            self._losses.append(
                Row(line=self.steps, split="train", epoch=None, loss=number, accuracy=None)
            )

    @property
    def diagnosis(self) -> Diagnosis:
        """What has been found so far."""
        findings, asked = list(self._findings), list(self._asked)
        unseen = []
        if self._losses:
            classes = self._classes if self._classes and self._classes > 1 else None
            more, asked_more = ask("log", Log(rows=tuple(self._losses), classes=classes))
            findings, asked = findings + more, asked + asked_more
        if self._ended:
            training = Training(
                steps=self.steps,
                parameters=tuple(self._at_start),
                unchanged=self._unchanged,
                not_finite=self._not_finite,
            )
            more, asked_more = ask("training", training)
            findings, asked = findings + more, asked + asked_more
        if loss_name(self._loss) is None:
            unseen.append(f"the arguments of {type(self._loss).__name__}: it is not known here.")
        unseen.append(
            f"all steps but {len(self._seen)} of {self.steps}: "
            f"{', '.join(map(str, self._seen[:8]))}{' ...' if len(self._seen) > 8 else ''}."
        )
        return Diagnosis.of(f"{self.steps} watched steps", findings, asked, unseen)


def _is_mean(loss: nn.Module) -> bool:
    return getattr(loss, "reduction", "mean") == "mean"


def _fingerprints(model: nn.Module) -> dict[str, tuple[float, float]]:
    """Two sums over each parameter that wants a gradient: an update changes one of them."""
    sums = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            values = parameter.detach()
            size = torch.linalg.vector_norm(values, dtype=torch.float64)
            sums[name] = float(values.sum(dtype=torch.float64)), float(size)
    return sums
