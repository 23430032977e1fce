"""What one forward and one backward pass show about a model. The model is not changed."""

from __future__ import annotations

import contextlib
import copy
import math
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from softxent.doctor.losses.known_losses import Loss
from softxent.doctor.models.batch import call_model, clone, map_tensors, tensors_of
from softxent.errors import OptionError

__all__ = [
    "Gradients",
    "batch_dependence_of",
    "copy_of",
    "gradients_of",
    "in_training",
    "is_constant",
    "outputs_of",
    "unchanged_random_states",
    "zero_gradients",
]

# Layers that don't change the values, at least in eval mode.
_UNCHANGING = (nn.Identity, nn.Flatten, nn.Unflatten, nn.modules.dropout._DropoutNd)


@contextlib.contextmanager
def unchanged_random_states(model: nn.Module) -> Iterator[None]:
    """Restore the random states of torch, NumPy and Python at the end."""
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
    """A copy that shares no memory with the model."""
    # Weights that a layer recomputes in each call (spectral_norm's) have a graph and can't be
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
            f"[examine] the model can't be copied ({error}), and examine only works on copies. "
            "Pass a freshly built model."
        ) from error


def in_training(model: nn.Module) -> nn.Module:
    """Set the model to training mode, without the noise of dropout."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.eval()
    return model


def outputs_of(model: nn.Module, inputs: Any) -> tuple[Tensor, str | None]:
    """The outputs, and the class name of the last layer if its output is the model's output."""
    last: list[tuple[nn.Module, Any]] = []

    def remember(module: nn.Module, _: Any, output: Any) -> None:
        if not isinstance(module, _UNCHANGING):
            last[:] = [(module, output)]

    hooks = [m.register_forward_hook(remember) for m in model.modules() if not list(m.children())]
    with torch.no_grad():
        outputs = call_model(model, clone(inputs))
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
    """Whether all rows of the outputs are equal, up to rounding."""
    if outputs.ndim < 1 or len(outputs) < 2:
        return False
    rows = outputs.reshape(len(outputs), -1)
    return bool(torch.all((rows - rows[0]).abs() <= 1e-7 * (1 + rows.abs().max())))


def batch_dependence_of(
    model: nn.Module, inputs: Any, outputs: Tensor, not_checked: list[str]
) -> float | None:
    """How much every second row's output changes when the rows between them are replaced."""
    tensors = tensors_of(inputs)
    count = len(tensors[0]) if tensors and tensors[0].ndim else 0
    rows = len(outputs) if outputs.ndim else 0
    if count < 4 or any(not x.ndim or len(x) != count for x in tensors) or rows % count:
        not_checked.append(
            "whether rows influence each other: too few rows, or no common batch axis."
        )
        return None

    def replace_odd_rows(x: Tensor) -> Tensor:
        changed = x.clone()
        changed[1::2] = x[::2].roll(1, 0)[: count // 2]
        return changed

    with torch.no_grad():
        again = call_model(model, clone(inputs))
        other = call_model(model, map_tensors(inputs, replace_odd_rows))
    if not torch.equal(again, outputs):
        not_checked.append("whether rows influence each other: the model is random in eval mode.")
        return None
    size = float(outputs.abs().max())
    if not math.isfinite(size) or other.shape != outputs.shape:
        return None
    change = (other - outputs).reshape(count, -1)[::2].abs().max()
    return float(change) / size if size else 0.0


class Gradients(NamedTuple):
    """Where the gradient of the loss arrives.

    Attributes:
        missing: parameters of layers that ran but got no gradient.
        zero: weights whose gradient is 0 everywhere.
        has_graph: whether the loss has a graph to any parameter.
        input_blocked: whether no gradient reaches the inputs; None if that wasn't measured.
    """

    missing: tuple[str, ...] = ()
    zero: tuple[str, ...] = ()
    has_graph: bool = True
    input_blocked: bool | None = None


def gradients_of(model: nn.Module, inputs: Any, target: Tensor, loss: Loss) -> Gradients:
    """Run one backward pass."""
    ran: set[int] = set()
    hooks = [
        module.register_forward_hook(lambda module, _, __: ran.add(id(module)))
        for module in model.modules()
    ]
    leaves = map_tensors(inputs, lambda x: x.requires_grad_() if x.is_floating_point() else x)
    try:
        # Layers may overwrite their input, which is not allowed for a leaf.
        outputs = call_model(model, map_tensors(leaves, lambda x: x.clone()))
        value = loss(outputs, target)
        if not value.requires_grad:
            return Gradients(has_graph=False)
        model.zero_grad(set_to_none=True)
        value.backward()
    except Exception:
        return Gradients()
    finally:
        for hook in hooks:
            hook.remove()
        map_tensors(inputs, lambda x: x.requires_grad_(False))
    owners = {
        id(parameter): module
        for module in model.modules()
        for parameter in module.parameters(False)
    }
    trainable = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    missing = tuple(
        name for name, p in trainable if p.grad is None and id(owners.get(id(p))) in ran
    )
    floats = [x for x in tensors_of(leaves) if x.is_floating_point()]
    if not floats or not trainable:
        return Gradients(missing, zero_gradients(model), bool(trainable))
    blocked = all(x.grad is None for x in floats)
    for x in floats:
        x.grad = None
    return Gradients(missing, zero_gradients(model), True, blocked)


def zero_gradients(model: nn.Module) -> tuple[str, ...]:
    """Weights (not biases) whose gradient is 0 everywhere."""
    return tuple(
        name
        for name, p in model.named_parameters()
        if p.requires_grad and p.ndim > 1 and p.grad is not None and not p.grad.any()
    )
