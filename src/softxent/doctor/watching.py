"""`watch`: look at a few steps of a training loop while it runs.

The calls of the loss are seen. Steps 1, 2, 4, 8 ... and then each 256th are looked at, each as soon
as all looks together have taken less than 0.2% of the thread's time since the beginning; all other
steps cost about a microsecond in a real loop. The parameters are looked at when the loop begins and
when it ends.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from softxent.doctor import rules as rules  # loaded with this module, not in the first step
from softxent.doctor.calls import Calls
from softxent.doctor.finding import Diagnosis, Finding
from softxent.doctor.known_losses import (
    KnownLoss,
    Loss,
    known_loss,
    options_of,
    recognised,
    title,
)
from softxent.doctor.log import Log, Row
from softxent.doctor.printed import Printed
from softxent.doctor.registry import ask
from softxent.doctor.trial import Training
from softxent.errors import OptionError, SoftxentError

__all__ = ["Watch", "watch"]

_LONGEST_PAUSE = 256  # steps between two looks, so that the end of a long loop is seen too
_SHARE = 0.002  # of the loop's time; the rest of a hundredth is for steps, start and end
_FEW = 16  # numbers of a parameter that are compared one by one


def watch(model: nn.Module, loss: Loss) -> Watch:
    """Watch a training loop: a context manager around it.

    Args:
        model: the model that is trained; its parameters are compared at the end with the beginning.
        loss: the loss, as it is called in the loop with (scores, target): a module or a function.
            Of a function that isn't torch's own, a lambda say, the calls of `torch.nn.functional`'s
            losses are watched.

    Returns:
        A `Watch`; its `diagnosis` can be asked at any time and is complete after the block.

    Raises:
        OptionError: model is no module, or loss can't be called.

    Cost: a microsecond a step, a five-hundredth of the time for looks, a millisecond to begin and
    to end: at most a hundredth of a loop of a second whose steps take 0.2 ms or more, up to two of
    the smallest steps that there are, of 0.1 ms. On a GPU only the steps that are looked at
    wait for it. In code that torch.compile compiles nothing is seen, and nothing costs.

    Example:
        >>> import torch
        >>> model, loss = torch.nn.Linear(4, 3), torch.nn.CrossEntropyLoss()
        >>> with watch(model, loss) as watching:
        ...     _ = loss(model(torch.eye(4)).softmax(dim=1), torch.tensor([0, 1, 2, 0]))
        >>> watching.diagnosis.rules
        ('softmax-twice',)
    """
    if not isinstance(model, nn.Module):
        raise OptionError(
            f"[watch] model is a {type(model).__name__}: pass the torch module that is trained."
        )
    if not callable(loss):
        raise OptionError(
            f"[watch] loss is a {type(loss).__name__}: pass the module or the function that the "
            "loop calls with (scores, target)."
        )
    return Watch(model, loss)


class Watch:
    """What has been seen of a training loop so far."""

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        self._model, self._loss = model, loss
        self._calls = Calls(loss, self._step)
        self._spent = 0.0
        self._began = 0.0
        self._findings: list[Finding] = []
        self._asked: list[str] = []
        self._losses: list[Row] = []
        self._known: KnownLoss | None = None
        self._classes: int | None = None
        self._seen: list[int] = []
        self._at_start: dict[str, tuple[float, ...]] = {}
        self._unchanged: tuple[str, ...] = ()
        self._not_finite: tuple[str, ...] = ()
        self._refused = ""
        self._ended = False

    @property
    def steps(self) -> int:
        """How often the loss was called."""
        return self._calls.count

    def __enter__(self) -> Watch:
        self._began = time.thread_time()
        self._at_start = _fingerprints(self._model)
        self._calls.begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._calls.end()
        now = _fingerprints(self._model)
        self._unchanged = tuple(
            name for name, value in self._at_start.items() if now.get(name) == value
        )
        self._not_finite = tuple(
            name for name, sums in now.items() if not all(map(math.isfinite, sums))
        )
        self._ended = True

    def _step(
        self, loss: Loss, args: tuple[Any, ...], kwargs: Mapping[str, Any], value: Any
    ) -> None:
        began = time.thread_time()
        if self._spent > _SHARE * (began - self._began):
            self._calls.wanted += 1 + self.steps // 16  # ask again a little later
            return
        self._calls.wanted = min(2 * self.steps, self.steps + _LONGEST_PAUSE)
        self._look(loss, args, kwargs, value)
        self._spent += time.thread_time() - began

    def _look(
        self, loss: Loss, args: tuple[Any, ...], kwargs: Mapping[str, Any], value: Any
    ) -> None:
        scores = args[0] if args else kwargs.get("input")
        target = args[1] if len(args) > 1 else kwargs.get("target")
        if not isinstance(scores, Tensor) or not isinstance(target, Tensor):
            return
        self._seen.append(self.steps)
        known = known_loss(loss, options_of(loss, args, kwargs))
        known = known or self._known or recognised(value, scores, target)
        if known is not None:
            self._known = known
            self._classes = 2 if known.binary else scores.shape[1 if scores.ndim > 1 else 0]
            try:
                diagnosis = known.check(scores, target)
            except SoftxentError as error:  # no reason to stop somebody's training
                self._refused = str(error)
            else:
                self._findings += diagnosis.findings
                self._asked += diagnosis.checked
        self._keep(value)

    def _keep(self, value: Any) -> None:
        """Note the loss of this step."""
        reduction = getattr(self._known or self._loss, "reduction", "mean")
        if isinstance(value, Tensor) and value.ndim == 0 and reduction == "mean":
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
        if not self.steps:
            unseen.append(
                f"the loop: {title(self._loss)} was not called in it where that can be seen; "
                "torch's functions are seen as `torch.nn.functional.NAME`, and not in compiled "
                "code."
            )
            return Diagnosis.of("no step", findings, asked, unseen)
        if self._known is None:
            unseen.append(f"the arguments of {title(self._loss)}: it is not known here.")
        elif self._known.by_value:
            unseen.append(
                f"the code of {title(self._loss)}: its value was the {self._known.reduction} of "
                f"{self._known.name}, and it was judged as that."
            )
        if self._refused:
            unseen.append(f"the arguments of {title(self._loss)}: {self._refused}")
        if len(self._seen) < self.steps:
            unseen.append(
                f"all steps but {len(self._seen)} of {self.steps}: "
                f"{', '.join(map(str, self._seen[:8]))}{' ...' if len(self._seen) > 8 else ''}."
            )
        return Diagnosis.of(f"{self.steps} watched steps", findings, asked, unseen)


def _fingerprints(model: nn.Module) -> dict[str, tuple[float, ...]]:
    """Two sums over each parameter that wants a gradient, and some of its numbers.

    An update that is lost in the rounding of the sums still changes the numbers themselves.
    """
    seen = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            values = parameter.detach()
            dtype = torch.float64 if values.dtype == torch.float64 else torch.float32
            size = torch.linalg.vector_norm(values, dtype=dtype)
            few = values.reshape(-1)[:: max(1, values.numel() // _FEW)]
            seen[name] = (float(values.sum(dtype=dtype)), float(size), *few.tolist())
    return seen
