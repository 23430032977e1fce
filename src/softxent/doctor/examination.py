"""`examine`: try a torch model on one batch, without touching it.

Everything is done to copies; the random states of torch, NumPy and Python are put back. The model,
its buffers, its gradients and the caller's random numbers are the same bits afterwards.
"""

from __future__ import annotations

import contextlib
import copy
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from softxent.doctor.cases import LossName
from softxent.doctor.check import check
from softxent.doctor.finding import Diagnosis, Finding
from softxent.doctor.registry import ask
from softxent.doctor.trial import Fit, Trial
from softxent.errors import OptionError, ShapeError, SoftxentError
from softxent.ops.spec import IGNORE_INDEX

__all__ = ["examine", "loss_name", "options_of"]

_NAMES: dict[str, LossName] = {
    "CrossEntropyLoss": "cross_entropy",
    "cross_entropy": "cross_entropy",
    "NLLLoss": "nll_loss",
    "nll_loss": "nll_loss",
    "log_loss": "log_loss",
    "BCELoss": "binary_cross_entropy",
    "binary_cross_entropy": "binary_cross_entropy",
    "BCEWithLogitsLoss": "binary_cross_entropy_with_logits",
    "binary_cross_entropy_with_logits": "binary_cross_entropy_with_logits",
}
_RATES = (1e-2, 1e-3, 1e-1)
_STEPS = 60
_ROWS = 64  # of a batch that are overfitted
# Layers that leave the values as they are, in eval mode at least.
_UNCHANGING = (nn.Identity, nn.Flatten, nn.Unflatten, nn.modules.dropout._DropoutNd)
_SECONDS = 10.0  # after which no further rate is tried

Loss = Callable[[Any, Any], Any]


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
    inputs, target = _parts(batch)
    with _unchanged_random_states(model), torch.enable_grad():
        return _examine(model, _clone(inputs), target.detach().clone(), loss)


def _parts(batch: Any) -> tuple[Any, Tensor]:
    """The inputs and the target of a batch, arrays and lists of numbers as tensors."""
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        size = f" of {len(batch)}" if isinstance(batch, tuple | list) else ""
        raise OptionError(
            f"[examine] batch is a {type(batch).__name__}{size}: pass a pair (inputs, target); "
            "several inputs go into a tuple or a mapping, ((ids, mask), target)."
        )
    inputs, target = batch
    nested = isinstance(inputs, Mapping | tuple) or (
        isinstance(inputs, list) and any(isinstance(one, Tensor | np.ndarray) for one in inputs)
    )
    if isinstance(inputs, Mapping):
        inputs = {key: _as_tensor("inputs", value) for key, value in inputs.items()}
    elif nested:
        inputs = tuple(_as_tensor("inputs", value) for value in inputs)
    else:
        inputs = _as_tensor("inputs", inputs)
    goal = _as_tensor("target", target)
    if not isinstance(goal, Tensor) or not goal.ndim or not len(goal):
        raise ShapeError("[examine] target holds no rows: pass one target for each row.")
    return inputs, goal


def _as_tensor(name: str, value: Any) -> Any:
    if isinstance(value, Tensor | bool | int | float | str | None):
        return value
    if isinstance(value, tuple | Mapping):
        return value
    try:
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise OptionError(
            f"[examine] {name} can't become a tensor ({_first_line(error)}): pass tensors or "
            "arrays."
        ) from error


def loss_name(loss: object) -> LossName | None:
    """Which of the known losses a module or function is, by its name."""
    name = getattr(loss, "__name__", None) or type(loss).__name__
    return _NAMES.get(name)


def options_of(loss: object) -> dict[str, Any]:
    """The options of a loss module that the rules want to know."""
    weight = getattr(loss, "weight", None)
    return {
        "weight": weight if isinstance(weight, Tensor) else None,
        "ignore_index": getattr(loss, "ignore_index", IGNORE_INDEX),
        "reduction": getattr(loss, "reduction", "mean"),
        "label_smoothing": getattr(loss, "label_smoothing", 0.0),
    }


def _examine(model: nn.Module, inputs: Any, target: Tensor, loss: Loss) -> Diagnosis:
    unseen: list[str] = []
    name = loss_name(loss)
    still = _copy(model).eval()
    outputs, ending = _run(still, inputs)
    findings, asked = [], []
    if name is not None:
        options = options_of(loss)
        if name.startswith("binary"):
            options = {"reduction": options["reduction"]}
        axis = 1 if outputs.ndim > 1 and not name.startswith("binary") else None
        arguments = check(outputs, target, loss=name, axis=axis, **options)
        findings += list(arguments.findings)
        asked += list(arguments.checked)
    else:
        guessed, asked = _guess(outputs, target)
        findings += guessed
        unseen.append(
            f"the loss's arguments: {_title(loss)} is no loss that is known here; the scores were "
            "judged as cross_entropy's."
        )

    start = _mean(loss, outputs, target, unseen)
    mixing = _mixing(still, inputs, outputs, unseen)
    moving = _in_training(_copy(model))
    blocked, silent, differentiable, input_blocked = _gradients(moving, inputs, target, loss, still)
    constant = _is_constant(outputs)
    fit = None
    if start is not None and differentiable:
        fit, constant_after, silent_after = _overfit(model, inputs, target, loss, name, unseen)
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
    subject = f"{type(model).__name__} on {len(target)} rows with {_title(loss)}"
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


@contextlib.contextmanager
def _unchanged_random_states(model: nn.Module) -> Iterator[None]:
    """Put the random states of torch, NumPy and Python back at the end."""
    places = {p.device for p in model.parameters()} | {b.device for b in model.buffers()}
    devices = [place for place in places if place.type == "cuda"]
    numpy_state = np.random.get_state()  # noqa: NPY002  the caller's global state is what is kept
    python_state = random.getstate()
    try:
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(0)
            yield
    finally:
        np.random.set_state(numpy_state)  # noqa: NPY002
        random.setstate(python_state)


def _copy(model: nn.Module) -> nn.Module:
    # Weights that a layer computes anew in each call (spectral_norm's) have a graph, which can't be
    # copied; their values can.
    computed = {
        id(value): value.detach().clone()
        for module in model.modules()
        for value in vars(module).values()
        if isinstance(value, Tensor) and not value.is_leaf
    }
    try:
        return copy.deepcopy(model, computed)
    except Exception as error:
        raise OptionError(
            f"[examine] the model can't be copied ({error}), and it is not touched otherwise. Pass "
            "a freshly built one."
        ) from error


def _in_training(model: nn.Module) -> nn.Module:
    """Training mode, without the noise of dropout."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.eval()
    return model


def _clone(inputs: Any) -> Any:
    if isinstance(inputs, Tensor):
        return inputs.detach().clone()
    if isinstance(inputs, Mapping):
        return {key: _clone(value) for key, value in inputs.items()}
    if isinstance(inputs, tuple | list):
        return tuple(_clone(value) for value in inputs)
    return inputs


def _each(inputs: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Inputs with every tensor changed."""
    if isinstance(inputs, Tensor):
        return change(inputs)
    if isinstance(inputs, Mapping):
        return {key: _each(value, change) for key, value in inputs.items()}
    if isinstance(inputs, tuple):
        return tuple(_each(value, change) for value in inputs)
    return inputs


def _tensors(inputs: Any) -> list[Tensor]:
    if isinstance(inputs, Tensor):
        return [inputs]
    values = inputs.values() if isinstance(inputs, Mapping) else inputs
    nested = values if isinstance(inputs, Mapping | tuple) else ()
    return [tensor for value in nested for tensor in _tensors(value)]


def _call(model: nn.Module, inputs: Any) -> Tensor:
    try:
        if isinstance(inputs, Mapping):
            outputs = model(**inputs)
        elif isinstance(inputs, tuple):
            outputs = model(*inputs)
        else:
            outputs = model(inputs)
    except SoftxentError:
        raise
    except Exception as error:
        raise OptionError(f"[examine] the model fails on this batch: {error}") from error
    if not isinstance(outputs, Tensor):
        raise OptionError(
            f"[examine] the model returns a {type(outputs).__name__}: wrap it so that it returns "
            "the tensor of scores that the loss gets."
        )
    return outputs


def _run(model: nn.Module, inputs: Any) -> tuple[Tensor, str | None]:
    """The outputs, and the name of the last layer where its output is the model's."""
    last: list[tuple[nn.Module, Any]] = []

    def remember(module: nn.Module, _: Any, output: Any) -> None:
        if not isinstance(module, _UNCHANGING):
            last[:] = [(module, output)]

    hooks = [m.register_forward_hook(remember) for m in model.modules() if not list(m.children())]
    with torch.no_grad():
        outputs = _call(model, _clone(inputs))
    for hook in hooks:
        hook.remove()
    if not last or not isinstance(last[0][1], Tensor):
        return outputs, None
    module, output = last[0]
    same = output.numel() == outputs.numel() and torch.equal(
        output.reshape(-1), outputs.reshape(-1)
    )
    return outputs, type(module).__name__ if same else None


def _mean(loss: Loss, outputs: Tensor, target: Tensor, unseen: list[str]) -> float | None:
    """The mean loss; None where the loss refuses its arguments."""
    try:
        with torch.no_grad():
            value = _per_row(loss, loss(outputs, target), target)
    except Exception as error:
        unseen.append(f"training: the loss fails on these arguments ({_first_line(error)}).")
        return None
    return float(value)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _per_row(loss: Loss, value: Tensor, target: Tensor) -> Tensor:
    if value.ndim:
        return value.mean()
    return value / len(target) if getattr(loss, "reduction", "mean") == "sum" else value


def _classes(outputs: Tensor, name: LossName | None) -> int:
    if name is not None and name.startswith("binary"):
        return 2
    return outputs.shape[1] if outputs.ndim > 1 else outputs.shape[0]


def _title(loss: object) -> str:
    return str(getattr(loss, "__name__", None) or type(loss).__name__)


def _is_constant(outputs: Tensor) -> bool:
    if outputs.ndim < 1 or len(outputs) < 2:
        return False
    rows = outputs.reshape(len(outputs), -1)
    return bool(torch.all((rows - rows[0]).abs() <= 1e-7 * (1 + rows.abs().max())))


def _mixing(model: nn.Module, inputs: Any, outputs: Tensor, unseen: list[str]) -> float | None:
    """How much every second row's output changes when the rows between are replaced."""
    tensors = _tensors(inputs)
    count = len(tensors[0]) if tensors and tensors[0].ndim else 0
    rows = len(outputs) if outputs.ndim else 0
    if count < 4 or any(not x.ndim or len(x) != count for x in tensors) or rows % count:
        unseen.append("whether rows influence each other: too few rows, or no common batch axis.")
        return None

    def exchange(x: Tensor) -> Tensor:
        changed = x.clone()
        changed[1::2] = x[::2].roll(1, 0)[: count // 2]
        return changed

    with torch.no_grad():
        again = _call(model, _clone(inputs))
        other = _call(model, _each(inputs, exchange))
    if not torch.equal(again, outputs):
        unseen.append("whether rows influence each other: the model is random in eval mode.")
        return None
    size = float(outputs.abs().max())
    if not math.isfinite(size) or other.shape != outputs.shape:
        return None
    change = (other - outputs).reshape(count, -1)[::2].abs().max()
    return float(change) / size if size else 0.0


def _gradients(
    model: nn.Module, inputs: Any, target: Tensor, loss: Loss, still: nn.Module
) -> tuple[tuple[str, ...], tuple[str, ...], bool, bool | None]:
    """(blocked parameters, silent parameters, whether there is a graph, input blocked)."""
    ran: set[int] = set()
    hooks = [
        module.register_forward_hook(lambda module, _, __: ran.add(id(module)))
        for module in model.modules()
    ]
    leaves = _each(inputs, lambda x: x.requires_grad_() if x.is_floating_point() else x)
    try:
        # Layers may write over their input, which a leaf doesn't allow.
        outputs = _call(model, _each(leaves, lambda x: x.clone()))
        value = _per_row(loss, loss(outputs, target), target)
        if not value.requires_grad:
            return (), (), False, None
        model.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
    except Exception:
        return (), (), True, None
    finally:
        for hook in hooks:
            hook.remove()
        _each(inputs, lambda x: x.requires_grad_(False))
    owners = {
        id(parameter): module
        for module in model.modules()
        for parameter in module.parameters(False)
    }
    wanting = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    blocked = tuple(name for name, p in wanting if p.grad is None and id(owners.get(id(p))) in ran)
    silent = _silent(model)
    floats = [x for x in _tensors(leaves) if x.is_floating_point()]
    if not floats or not wanting:
        return blocked, silent, bool(wanting), None
    stopped = all(x.grad is None for x in floats)
    for x in floats:
        x.grad = None
    return blocked, silent, True, stopped


def _silent(model: nn.Module) -> tuple[str, ...]:
    """Weights (not biases) whose gradient is 0 in every place."""
    return tuple(
        name
        for name, p in model.named_parameters()
        if p.requires_grad and p.ndim > 1 and p.grad is not None and not p.grad.any()
    )


def _overfit(
    model: nn.Module,
    inputs: Any,
    target: Tensor,
    loss: Loss,
    name: LossName | None,
    unseen: list[str],
) -> tuple[Fit | None, bool, tuple[str, ...]]:
    """Train copies on a part of the batch; the fit, and what was still dead afterwards."""
    count = min(_ROWS, len(target))
    few = _each(inputs, lambda x: x[:count] if x.ndim and len(x) == len(target) else x)
    goal = target[:count]
    bounds = _bounds(goal, name, getattr(loss, "ignore_index", IGNORE_INDEX), few)
    if bounds is None:
        unseen.append("overfitting: the batch holds one class only, or the loss isn't known.")
        return None, True, _silent(model)
    frequencies, floor = bounds
    lowest, constant, silent = math.inf, True, None
    tried: list[float] = []
    began = time.monotonic()
    try:
        for rate in _RATES:
            if time.monotonic() - began > _SECONDS:
                break
            tried.append(rate)
            learner = _in_training(_copy(model))
            best = _train(learner, few, goal, loss, rate, floor + 0.3 * (frequencies - floor))
            lowest = min(lowest, best)
            dead = _silent(learner)
            silent = dead if silent is None else tuple(one for one in silent if one in dead)
            with torch.no_grad():
                constant = constant and _is_constant(_call(learner, _clone(few)))
            if lowest < floor + 0.5 * (frequencies - floor):
                break
    except Exception as error:
        unseen.append(f"overfitting: a training step fails ({_first_line(error)}).")
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
        value = _per_row(loss, loss(_call(model, _clone(inputs)), target), target)
        reached = float(value.detach())
        if math.isfinite(reached):
            lowest = min(lowest, reached)
        value.backward()  # type: ignore[no-untyped-call]
        if lowest < enough:
            break
        optimizer.step()
    return lowest


def _bounds(
    target: Tensor, name: LossName | None, ignore_index: int, inputs: Any
) -> tuple[float, float] | None:
    """(the loss of predicting class frequencies, the lowest loss there can be)."""
    if name is None:
        return None
    if name.startswith("binary"):
        masses = torch.stack([1 - target.double(), target.double()], dim=-1).reshape(-1, 2)
    elif target.is_floating_point():
        masses = target.double().movedim(1, -1).reshape(-1, target.shape[1])
    else:
        kept = target[target != ignore_index]
        if not kept.numel():
            return None
        masses = torch.nn.functional.one_hot(kept.long() - int(kept.min())).double()
    frequencies = _entropy(masses.mean(dim=0, keepdim=True))
    floor = _entropy(masses)
    tensors = _tensors(inputs)
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
