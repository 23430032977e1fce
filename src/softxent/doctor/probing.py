"""What one pass forward and one backward show of a model; nothing of it is changed."""

from __future__ import annotations

import contextlib
import copy
import math
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from softxent.doctor.batch import call, clone, each, tensors_of
from softxent.doctor.known_losses import Loss
from softxent.errors import OptionError

__all__ = [
    "copy_of",
    "gradients_of",
    "in_training",
    "is_constant",
    "mixing_of",
    "run",
    "silent_weights",
    "unchanged_random_states",
]

# Layers that leave the values as they are, in eval mode at least.
_UNCHANGING = (nn.Identity, nn.Flatten, nn.Unflatten, nn.modules.dropout._DropoutNd)


@contextlib.contextmanager
def unchanged_random_states(model: nn.Module) -> Iterator[None]:
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


def copy_of(model: nn.Module) -> nn.Module:
    """A copy that shares nothing with the model."""
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


def in_training(model: nn.Module) -> nn.Module:
    """Training mode, without the noise of dropout."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.eval()
    return model


def run(model: nn.Module, inputs: Any) -> tuple[Tensor, str | None]:
    """The outputs, and the name of the last layer where its output is the model's."""
    last: list[tuple[nn.Module, Any]] = []

    def remember(module: nn.Module, _: Any, output: Any) -> None:
        if not isinstance(module, _UNCHANGING):
            last[:] = [(module, output)]

    hooks = [m.register_forward_hook(remember) for m in model.modules() if not list(m.children())]
    with torch.no_grad():
        outputs = call(model, clone(inputs))
    for hook in hooks:
        hook.remove()
    if not last or not isinstance(last[0][1], Tensor):
        return outputs, None
    module, output = last[0]
    same = output.numel() == outputs.numel() and torch.equal(
        output.reshape(-1), outputs.reshape(-1)
    )
    return outputs, type(module).__name__ if same else None


def is_constant(outputs: Tensor) -> bool:
    """Whether all rows of the outputs are the same, up to rounding."""
    if outputs.ndim < 1 or len(outputs) < 2:
        return False
    rows = outputs.reshape(len(outputs), -1)
    return bool(torch.all((rows - rows[0]).abs() <= 1e-7 * (1 + rows.abs().max())))


def mixing_of(model: nn.Module, inputs: Any, outputs: Tensor, unseen: list[str]) -> float | None:
    """How much every second row's output changes when the rows between are replaced."""
    tensors = tensors_of(inputs)
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
        again = call(model, clone(inputs))
        other = call(model, each(inputs, exchange))
    if not torch.equal(again, outputs):
        unseen.append("whether rows influence each other: the model is random in eval mode.")
        return None
    size = float(outputs.abs().max())
    if not math.isfinite(size) or other.shape != outputs.shape:
        return None
    change = (other - outputs).reshape(count, -1)[::2].abs().max()
    return float(change) / size if size else 0.0


def gradients_of(
    model: nn.Module, inputs: Any, target: Tensor, loss: Loss, still: nn.Module
) -> tuple[tuple[str, ...], tuple[str, ...], bool, bool | None]:
    """(blocked parameters, silent parameters, whether there is a graph, input blocked)."""
    ran: set[int] = set()
    hooks = [
        module.register_forward_hook(lambda module, _, __: ran.add(id(module)))
        for module in model.modules()
    ]
    leaves = each(inputs, lambda x: x.requires_grad_() if x.is_floating_point() else x)
    try:
        # Layers may write over their input, which a leaf doesn't allow.
        outputs = call(model, each(leaves, lambda x: x.clone()))
        value = loss(outputs, target)
        if not value.requires_grad:
            return (), (), False, None
        model.zero_grad(set_to_none=True)
        value.backward()
    except Exception:
        return (), (), True, None
    finally:
        for hook in hooks:
            hook.remove()
        each(inputs, lambda x: x.requires_grad_(False))
    owners = {
        id(parameter): module
        for module in model.modules()
        for parameter in module.parameters(False)
    }
    wanting = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    blocked = tuple(name for name, p in wanting if p.grad is None and id(owners.get(id(p))) in ran)
    silent = silent_weights(model)
    floats = [x for x in tensors_of(leaves) if x.is_floating_point()]
    if not floats or not wanting:
        return blocked, silent, bool(wanting), None
    stopped = all(x.grad is None for x in floats)
    for x in floats:
        x.grad = None
    return blocked, silent, True, stopped


def silent_weights(model: nn.Module) -> tuple[str, ...]:
    """Weights (not biases) whose gradient is 0 in every place."""
    return tuple(
        name
        for name, p in model.named_parameters()
        if p.requires_grad and p.ndim > 1 and p.grad is not None and not p.grad.any()
    )
