"""`watch`: check a few steps of a training loop while it runs.

The calls of the loss are counted. Steps 1, 2, 4, 8 ... and then every 256th are checked, each one
as soon as all checks together have taken less than 0.2% of the thread's time since the beginning.
The same steps up to the 128th are sampled in any case, so that a short loop has samples, too, and
later ones as long as samples have taken less than 0.1%: the labels and the spread of the scores,
the gradient, and the update of the optimizer. The value of the loss is kept for at most 512 steps,
evenly spread. Every other step costs about a microsecond in a real loop. The parameters are
compared when the loop begins and when it ends.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from softxent.doctor.diagnosis import Diagnosis
from softxent.doctor.finding import Finding
from softxent.doctor.logs.log import Log, Row
from softxent.doctor.loops.batch_samples import BatchSamples
from softxent.doctor.loops.course import Course
from softxent.doctor.loops.measurements import FEWEST_STEPS, LoopMeasurements
from softxent.doctor.loops.optimizer_steps import OptimizerSteps
from softxent.doctor.loops.rules import NAMES_OF_STANDSTILL
from softxent.doctor.losses.known_losses import (
    KnownLoss,
    Loss,
    known_loss,
    loss_by_value,
    name_of,
    options_of,
)
from softxent.doctor.losses.loss_calls import LossCalls
from softxent.doctor.printed_number import PrintedNumber
from softxent.doctor.selection import RuleNames, RuleSelection
from softxent.errors import OptionError, SoftxentError
from softxent.render.numbers import plural

__all__ = ["Watch", "watch"]

_LONGEST_PAUSE = 256  # steps between two checks, so that the end of a long loop is checked too
_SHARE = 0.002  # of the loop's time for checks; the rest of 1% is for steps, start and end
_SHARE_OF_SAMPLES = 0.001
_ALWAYS_SAMPLED = 128  # steps up to here, however little time the loop has taken
_COMPARED = 16  # numbers of a parameter that are compared one by one


def watch(
    model: nn.Module,
    loss: Loss,
    *,
    select: RuleNames | None = None,
    ignore: RuleNames = (),
) -> Watch:
    """Watch a training loop: a context manager around it.

    Args:
        model: the model that is trained; its parameters are compared at the end with the beginning.
        loss: the loss, as the loop calls it with (scores, target): a module or a function. Of a
            function that isn't torch's own, such as a lambda, the calls of `torch.nn.functional`'s
            losses inside it are watched.
        select: names of the rules to run, as a list or with commas between them; None for all.
        ignore: names of rules that don't run.

    Returns:
        A `Watch`. Its `diagnosis` can be read at any time and is complete after the block.

    Raises:
        OptionError: model is not a module, loss can't be called, or a name is no rule's.

    Cost: a microsecond per step, 0.3% of the time for checks and samples, a millisecond each at the
    start and at the end, and three for the samples of the first 128 steps: at most 1% of a loop
    that runs for a second with steps of 0.2 ms or more, up to 2% with steps of 0.1 ms, the shortest
    there are. On a GPU only the steps that are checked or sampled wait for it. Inside code that
    torch.compile compiles, nothing is observed and nothing costs time.

    Example:
        >>> import torch
        >>> model, loss = torch.nn.Linear(4, 3), torch.nn.CrossEntropyLoss()
        >>> with watch(model, loss) as watching:
        ...     _ = loss(model(torch.eye(4)).softmax(dim=1), torch.tensor([0, 1, 2, 0]))
        >>> watching.diagnosis.rules
        ('softmax-twice',)

    See Also:
        examine: a model on one batch, before training. audit_log: a log, after it.
    """
    rules = RuleSelection.of("watch", "arrays", "log", "training", select=select, ignore=ignore)
    if not isinstance(model, nn.Module):
        raise OptionError(
            f"[watch] model is a {type(model).__name__}: pass the torch module that is trained."
        )
    if not callable(loss):
        raise OptionError(
            f"[watch] loss is a {type(loss).__name__}: pass the module or the function that the "
            "loop calls with (scores, target)."
        )
    return Watch(model, loss, rules)


class Watch:
    """What has been observed of a training loop so far; made by `watch`."""

    def __init__(self, model: nn.Module, loss: Loss, rules: RuleSelection) -> None:
        self._model, self._loss, self._rules = model, loss, rules
        self._calls = LossCalls(loss, self._on_call)
        self._began = 0.0  # thread time
        self._spent = 0.0  # thread time in checks
        self._checked_steps: list[int] = []
        self._findings: list[Finding] = []
        self._checked: list[str] = []
        self._known: KnownLoss | None = None
        self._classes: int | None = None
        self._losses: list[Row] = []
        self._next_check = self._next_sample = 1
        self._sampling = 0.0  # thread time in samples
        self._course, self._course_without_gradient = Course(), Course()
        self._batches = BatchSamples()
        self._optimizer_steps = OptimizerSteps(model, lambda: self.steps)
        self._refused = ""
        self._at_start: dict[str, tuple[float, ...]] = {}
        self._at_end: LoopMeasurements | None = None

    @property
    def steps(self) -> int:
        """How often the loss was called."""
        return self._calls.count

    def __enter__(self) -> Watch:
        self._began = time.thread_time()
        self._at_start = _fingerprints(self._model)
        self._optimizer_steps.start()
        self._calls.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._calls.stop()
        self._optimizer_steps.stop()
        self._at_end = self._measurements(_fingerprints(self._model))

    def _measurements(self, now: Mapping[str, tuple[float, ...]]) -> LoopMeasurements:
        """What the rules on trainings judge."""
        before, optimizer = self._at_start, self._optimizer_steps
        both = [(before[name], now[name]) for name in before if name in now]
        size = math.hypot(*(old[1] for old, _ in both))
        few = math.hypot(*(x for old, _ in both for x in old[2:]))
        moved = math.hypot(*(b - a for one in both for a, b in zip(*(x[2:] for x in one))))  # noqa: B905
        return LoopMeasurements(
            steps=self.steps,
            parameters=tuple(before),
            unchanged=tuple(name for name, value in before.items() if now.get(name) == value),
            not_finite=tuple(
                name for name, sums in now.items() if not all(map(math.isfinite, sums))
            ),
            losses=self._values(),
            classes=self._batches.classes if self._judges_size() else None,
            adversarial=self._batches.is_adversarial(self.steps, optimizer.count),
            batches=self._batches.samples(),
            updates=optimizer.samples(),
            rates=optimizer.rates.values(),
            optimizer=optimizer.name,
            optimizer_steps=optimizer.count,
            without_state=optimizer.without_state,
            has_state=optimizer.has_state,
            weight_decay=optimizer.weight_decay,
            shrinkage=math.hypot(*(new[1] for _, new in both)) / size if size else 1.0,
            movement=moved / few if few else 0.0,
        )

    def _values(self) -> tuple[tuple[int, float], ...]:
        """The course of the mean loss: of the steps with a gradient, if there are any."""
        reduction = getattr(self._known or self._loss, "reduction", "mean")
        if reduction != "mean":
            return ()
        return self._course.values() or self._course_without_gradient.values()

    def _judges_size(self) -> bool:
        """Whether the loss can be compared with ln C."""
        known = self._known
        return known is not None and not known.other_options and known.label_smoothing <= 0.5

    def _on_call(
        self, loss: Loss, args: tuple[Any, ...], kwargs: Mapping[str, Any], value: Any
    ) -> None:
        """Keep the value; check and sample this step if that took little enough time so far."""
        step = self.steps
        if isinstance(value, Tensor) and value.ndim == 0:
            course = self._course if value.requires_grad else self._course_without_gradient
            if step >= course.next_step:
                # A number on the CPU; elsewhere the tensor, since reading it would wait.
                course.add(step, value.item() if value.is_cpu else value.detach())
        if step >= self._next_check:
            self._check_in_time(loss, args, kwargs, value)
        if step >= self._next_sample:
            self._sample_in_time(args, kwargs, value)
        following = min(self._course.next_step, self._course_without_gradient.next_step)
        if following <= step:  # one of the two kinds of steps doesn't occur
            following = max(self._course.next_step, self._course_without_gradient.next_step)
        self._calls.next_reported = min(following, self._next_check, self._next_sample)

    def _check_in_time(
        self, loss: Loss, args: tuple[Any, ...], kwargs: Mapping[str, Any], value: Any
    ) -> None:
        """Check this step if the checks so far took little enough time."""
        began = time.thread_time()
        if self._spent > _SHARE * (began - self._began):
            self._next_check += 1 + self.steps // 16  # try again a little later
            return
        self._next_check = min(2 * self.steps, self.steps + _LONGEST_PAUSE)
        self._check_step(loss, args, kwargs, value)
        self._spent += time.thread_time() - began

    def _sample_in_time(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], value: Any) -> None:
        """Sample this step and the next one of the optimizer, if there is time."""
        if isinstance(value, Tensor) and not value.requires_grad:
            self._next_sample = self.steps + 1  # a step of an evaluation
            return
        began = time.thread_time()
        late = self.steps > _ALWAYS_SAMPLED
        if late and self._sampling > _SHARE_OF_SAMPLES * (began - self._began):
            self._next_sample += 1 + self.steps // 16
            return
        self._next_sample = min(2 * self.steps, self.steps + _LONGEST_PAUSE)
        scores, target = _arguments(args, kwargs)
        if isinstance(scores, Tensor) and isinstance(target, Tensor):
            self._batches.add(self.steps, scores, target, self._known)
        self._optimizer_steps.wanted = True
        self._sampling += 2 * (time.thread_time() - began)  # the optimizer's step takes as long

    def _check_step(
        self, loss: Loss, args: tuple[Any, ...], kwargs: Mapping[str, Any], value: Any
    ) -> None:
        scores, target = _arguments(args, kwargs)
        if not isinstance(scores, Tensor) or not isinstance(target, Tensor):
            return
        self._checked_steps.append(self.steps)
        known = known_loss(loss, options_of(loss, args, kwargs))
        known = known or self._known or loss_by_value(value, scores, target)
        if known is not None:
            self._known = known
            self._classes = 2 if known.binary else scores.shape[known.class_axis(scores)]
            try:
                diagnosis = known.check(scores, target, self._rules)
            except SoftxentError as error:  # must not stop the user's training
                self._refused = str(error)
            else:
                self._findings += diagnosis.findings
                self._checked += diagnosis.checked
        self._keep_loss(value)

    def _keep_loss(self, value: Any) -> None:
        """Keep the loss of this step, to judge the losses as those of a log."""
        reduction = getattr(self._known or self._loss, "reduction", "mean")
        if isinstance(value, Tensor) and value.ndim == 0 and reduction == "mean":
            self._losses.append(_row(self.steps, float(value.detach())))

    @property
    def diagnosis(self) -> Diagnosis:
        """What has been found so far."""
        findings, checked = list(self._findings), list(self._checked)
        broken = [_row(step, one) for step, one in self._values() if not math.isfinite(one)]
        if self._losses or broken:
            classes = self._classes if self._classes and self._classes > 1 else None
            rows = {row.line: row for row in (*self._losses, *broken)}
            log = Log(rows=tuple(rows[line] for line in sorted(rows)), classes=classes)
            rules = self._known.rules_for(self._rules) if self._known else self._rules
            more, checked_more = rules.judge("log", log)
            findings, checked = findings + more, checked + checked_more
        if self._at_end is not None:
            more, checked_more = self._rules.judge("training", self._at_end)
            if any(one.rule in NAMES_OF_STANDSTILL for one in more):  # they know more
                findings = [one for one in findings if one.rule != "stuck-loss"]
            findings, checked = findings + more, checked + checked_more
        subject = f"{self.steps} watched steps" if self.steps else "no step"
        return Diagnosis.of(subject, findings, checked, self._not_checked())

    def __str__(self) -> str:
        return str(self.diagnosis)

    def __repr__(self) -> str:
        found = ", ".join(self.diagnosis.rules) or "nothing found"
        return f"<Watch of {type(self._model).__name__}, {plural(self.steps, 'step')}: {found}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: what has been found so far."""
        return self.diagnosis._repr_html_()

    def _not_checked(self) -> list[str]:
        """What could not be observed."""
        name, known = name_of(self._loss), self._known
        if not self.steps:
            return [
                f"the loop: no call of {name} was observed in it. Calls of torch's functions are "
                "observed where they are written as `torch.nn.functional.NAME`, and not in "
                "compiled code."
            ]
        missing = []
        if known is None:
            missing.append(f"the arguments of {name}: it is not a known loss.")
        elif known.by_value:
            missing.append(
                f"the code of {name}: its value was the {known.reduction} of {known.name}, and it "
                "was judged as that."
            )
        if known is not None and known.unjudged_size:
            missing.append(known.unjudged_size)
        if self._refused:
            missing.append(f"the arguments of {name}: {self._refused}")
        if self._at_end is not None and self._rules.has("training"):
            missing += _not_seen(self._at_end)
        if len(self._checked_steps) < self.steps:
            first = ", ".join(map(str, self._checked_steps[:8]))
            missing.append(
                f"all steps but {len(self._checked_steps)} of {self.steps}: "
                f"{first}{' ...' if len(self._checked_steps) > 8 else ''}."
            )
        return missing


def _arguments(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, Any]:
    """The scores and the target of a call of the loss."""
    return (
        args[0] if args else kwargs.get("input"),
        args[1] if len(args) > 1 else kwargs.get("target"),
    )


def _row(step: int, loss: float) -> Row:
    number = PrintedNumber.read(repr(loss))
    return Row(line=step, split="train", epoch=None, loss=number, accuracy=None)


def _not_seen(case: LoopMeasurements) -> list[str]:
    """What the rules on trainings can't see in this loop."""
    unseen = [
        "the inputs: whether they belong to their labels, whether all rows of the data take part, "
        "and whether those held out are scaled in the same way."
    ]
    if not case.optimizer_steps:
        unseen.append(
            "gradients, updates and learning rates: no step of a torch.optim.Optimizer with this "
            "model's parameters was observed."
        )
    if case.classes is None or case.adversarial:
        unseen.append(
            "whether the model learns: the loss can't be compared with that of a uniform guess."
        )
    elif case.steps < FEWEST_STEPS:
        unseen.append(f"whether the model learns: that takes {FEWEST_STEPS} steps or more.")
    elif case.warming_up:
        unseen.append("whether the model learns: the learning rate is still rising.")
    return unseen


def _fingerprints(model: nn.Module) -> dict[str, tuple[float, ...]]:
    """Two sums over each parameter that requires a gradient, and some of its numbers.

    An update that is lost in the rounding of the sums still changes the numbers themselves.
    """
    seen = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            values = parameter.detach()
            dtype = torch.float64 if values.dtype == torch.float64 else torch.float32
            size = torch.linalg.vector_norm(values, dtype=dtype)
            few = values.reshape(-1)[:: max(1, values.numel() // _COMPARED)]
            seen[name] = (float(values.sum(dtype=dtype)), float(size), *few.tolist())
    return seen
