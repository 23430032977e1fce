"""A batch as `examine` takes it: inputs in any nesting, and the model called with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from softxent.errors import OptionError, ShapeError, SoftxentError
from softxent.ops.arrays.refusals import check_object, plain_array

__all__ = ["call_model", "clone", "first_line", "map_tensors", "split_batch", "tensors_of"]


def split_batch(batch: Any) -> tuple[Any, Tensor]:
    """The inputs and the target of a batch, with arrays and lists of numbers as tensors."""
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
    labels = _as_tensor("target", target)
    if not isinstance(labels, Tensor) or not labels.ndim or not len(labels):
        raise ShapeError("[examine] target holds no rows: pass one target for each row.")
    return inputs, labels


def _as_tensor(name: str, value: Any) -> Any:
    if isinstance(value, Tensor | bool | int | float | str | None):
        return value
    if isinstance(value, tuple | Mapping):
        return value
    if isinstance(value, np.ndarray):
        value = plain_array("examine", name, value)  # torch would drop a mask
    else:
        check_object("examine", name, value)
    try:
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise OptionError(
            f"[examine] {name} can't be converted to a tensor ({first_line(error)}): pass tensors "
            "or arrays."
        ) from error


def clone(inputs: Any) -> Any:
    """Inputs whose tensors share no memory with the caller's."""
    if isinstance(inputs, Tensor):
        return inputs.detach().clone()
    if isinstance(inputs, Mapping):
        return {key: clone(value) for key, value in inputs.items()}
    if isinstance(inputs, tuple | list):
        return tuple(clone(value) for value in inputs)
    return inputs


def map_tensors(inputs: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The inputs, with a function applied to every tensor."""
    if isinstance(inputs, Tensor):
        return change(inputs)
    if isinstance(inputs, Mapping):
        return {key: map_tensors(value, change) for key, value in inputs.items()}
    if isinstance(inputs, tuple):
        return tuple(map_tensors(value, change) for value in inputs)
    return inputs


def tensors_of(inputs: Any) -> list[Tensor]:
    """All tensors in the inputs, as a flat list."""
    if isinstance(inputs, Tensor):
        return [inputs]
    values = inputs.values() if isinstance(inputs, Mapping) else inputs
    nested = values if isinstance(inputs, Mapping | tuple) else ()
    return [tensor for value in nested for tensor in tensors_of(value)]


def call_model(model: nn.Module, inputs: Any) -> Tensor:
    """The model's output; any exception in the model becomes an OptionError."""
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
        raise OptionError(
            f"[examine] the model fails on this batch: {error}. Pass a batch that the model takes."
        ) from error
    if not isinstance(outputs, Tensor):
        raise OptionError(
            f"[examine] the model returns a {type(outputs).__name__}: wrap it so that it returns "
            "the tensor that the loss gets."
        )
    return outputs


def first_line(error: Exception) -> str:
    """The first line of an error's message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
