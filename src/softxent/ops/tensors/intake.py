"""The caller's other arguments as tensors beside the first one, checked; and `out`.

Values are checked where there are any: not in meta tensors, and not while a graph is recorded,
where the operator checks them each time the graph runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from softxent.errors import DTypeError, OptionError, ShapeError
from softxent.ops import checks, spec
from softxent.ops.arrays.intake import receive
from softxent.ops.arrays.refusals import check_dense
from softxent.ops.options import LossOptions, with_weight
from softxent.ops.spec import Loss
from softxent.ops.tensors import torch_private
from softxent.ops.tensors.dtypes import FLOATING, KIND, computed, epsilon, loss_dtype
from softxent.ops.tensors.routing import is_ordinary, is_traced
from softxent.ops.types import Array

__all__ = [
    "all_beside",
    "beside",
    "check_floating",
    "check_indices",
    "check_out",
    "check_overwritable",
    "check_target",
    "check_tensors",
    "copy_to",
    "element_weight",
    "receive_binary",
    "receive_loss",
    "values",
]


def beside(op: str, name: str, value: Any, reference: Tensor) -> Tensor:
    """An argument of any kind as a tensor on the device of the reference."""
    if isinstance(value, Tensor):
        check_dense(op, name, value, torch)
        if value.is_complex():
            raise DTypeError(f"[{op}] {name} has dtype {value.dtype}: pass real numbers.")
        return value if value.device == reference.device else value.to(reference.device)
    if torch.compiler.is_compiling():  # a list of numbers becomes a constant of the graph
        return torch.as_tensor(value, device=reference.device)
    array, _ = receive(op, name, value)
    # torch takes no read-only, unaligned or byte-swapped memory, and no bfloat16 from NumPy.
    dtype = np.dtype(np.float32) if array.dtype.kind == "V" else array.dtype.newbyteorder("=")
    return torch.from_numpy(np.require(array, dtype, ["C", "A", "W"])).to(reference.device)


def check_tensors(op: str, **arguments: Any) -> None:
    """These arguments are tensors, as torch's own functions need them; or None."""
    for name, value in arguments.items():
        if value is not None and not isinstance(value, Tensor):
            raise DTypeError(
                f"[{op}] {name} is a {type(value).__name__}: pass a tensor, e.g. "
                f"torch.as_tensor({name}). Arrays and lists? softxent.{op} takes them."
            )


def all_beside(
    op: str, target: Any, options: LossOptions, reference: Tensor
) -> tuple[Tensor, LossOptions]:
    """Target and class weights as tensors on the device of the reference."""
    if options.weight is not None:
        options = with_weight(options, beside(op, "weight", options.weight, reference))
    return beside(op, "target", target, reference), options


def check_floating(op: str, name: str, x: Tensor) -> None:
    """A dense tensor of floating-point numbers."""
    check_dense(op, name, x, torch)
    if x.dtype not in FLOATING:
        raise DTypeError(
            f"[{op}] {name} has dtype {x.dtype}: pass a floating-point tensor, e.g. {name}.float()."
        )


def receive_loss(
    op: str,
    logits: Tensor,
    target: Any,
    options: LossOptions,
    axis: int,
    *,
    name: str = "logits",
    any_weight: bool = False,
    traced: bool | None = None,
) -> tuple[Tensor, Tensor | None, Loss]:
    """A loss's target and class weights as tensors, and the checked loss.

    The target's values are checked later, by `check_target` or by the kernels.

    Args:
        op: the public function's name.
        logits, target, options, axis: as the caller gave them.
        name: the public name of the first argument.
        any_weight: whether class weights may be NaN or infinite, as in torch.
        traced: `is_traced()`, for callers that know it already.
    """
    traced = is_traced() if traced is None else traced
    check_floating(op, name, logits)
    target = beside(op, "target", target, logits)
    if target.is_floating_point() and target.ndim < logits.ndim:
        if (numbers := values(target)) is not None:
            checks.check_not_missing(op, numbers)
        target = target.long() if target.numel() == 0 else target  # an empty list
    loss = Loss.of(
        op,
        logits.shape,
        target.shape,
        "f" if target.is_floating_point() else KIND.get(target.dtype, "c"),
        axis=axis,
        options=options,
        name=name,
        remember=not (traced or torch_private.in_jit_trace()),
    )
    weight = options.weight
    if weight is not None:
        weight = beside(op, "weight", weight, logits)
        numbers = None if any_weight else values(weight)
        checks.check_weight(op, weight.shape, numbers, loss.classes)
    return target, weight, loss


def check_target(loss: Loss, target: Tensor) -> None:
    """Every class index is in range, or every class probability is valid."""
    if loss.target_kind == "index":
        check_indices(loss.op, target, loss.classes, loss.options.ignore_index)
    elif (numbers := values(target)) is not None:
        checks.check_soft_target(loss.op, numbers, loss.axis, epsilon(target))


def check_indices(op: str, target: Tensor, classes: int, ignore_index: int | None) -> None:
    """Every class index is in [0, classes) or equals ignore_index."""
    if (numbers := values(target)) is not None:
        checks.check_indices(op, numbers, classes, ignore_index)


def receive_binary(op: str, name: str, x: Tensor, target: Any) -> Tensor:
    """A binary target as a tensor, of the shape of the logits or probabilities."""
    check_floating(op, name, x)
    tensor = beside(op, "target", target, x)
    spec.check_binary_shape(op, name, x.shape, tensor.shape)
    return tensor


def element_weight(
    op: str, name: str, weight: Any, x: Tensor, *, any_weight: bool = False
) -> Tensor | None:
    """A weight per element, in the shape of x and the dtype in which x is computed."""
    if weight is None:
        return None
    weight = beside(op, name, weight, x).to(loss_dtype(x))
    spec.check_broadcast(op, name, weight.shape, x.shape)
    numbers = None if any_weight else values(weight)
    if numbers is not None:
        checks.check_element_weight(op, name, numbers)
    wide: Tensor = weight.broadcast_to(x.shape)
    return wide


def values(x: Tensor) -> Array | None:
    """The values as a NumPy view for checks, or None where there are none."""
    if is_traced() or torch_private.in_jit_trace() or x.is_meta:
        return None
    if not is_ordinary(x):
        return _values_of_subclass(x)
    if not torch_private.transforms_active():
        return _to_numpy(x)
    x, context = torch_private.without_transforms(x)
    with context:
        return _to_numpy(x)


def _values_of_subclass(x: Tensor) -> Array | None:
    """The values of a subclass of Tensor that shows them: of a DTensor those of this process."""
    if isinstance(x, torch_private.FakeTensor):
        return None
    if hasattr(x, "to_local"):
        x = x.to_local()
    try:
        return _to_numpy(x)
    except (RuntimeError, TypeError):  # the tensors that it wraps are its own business
        return None


def _to_numpy(x: Tensor) -> Array:
    array: Array = computed(x.detach()).cpu().resolve_neg().numpy()
    return array


def check_overwritable(op: str, logits: Tensor) -> None:
    """The gradient may be written over these logits in the backward pass."""
    if logits.requires_grad and logits.is_leaf:
        raise OptionError(
            f"[{op}] inplace_backward=True would write the gradient over a parameter, or over "
            "logits that are kept for their own gradient: call it on logits that were computed."
        )
    if not logits.is_contiguous() and torch_private.has_internal_overlap(logits) == 1:
        raise OptionError(
            f"[{op}] inplace_backward=True needs logits with a place for each number, and these "
            "are expanded: pass logits.contiguous()."
        )


def copy_to(op: str, out: Tensor, result: Tensor, x: Tensor) -> Tensor:
    """Copy a result into the caller's `out`; as in torch, no gradient flows through it."""
    check_out(op, out, result.shape, result.dtype, x)
    with torch.no_grad():
        return out.copy_(result)


def check_out(
    op: str, out: Tensor, shape: Sequence[int], dtype: torch.dtype, *inputs: Tensor
) -> None:
    """The caller's `out` can take a result of this shape and dtype."""
    if not isinstance(out, Tensor):
        raise DTypeError(f"[{op}] out is a {type(out).__name__}: pass a tensor.")
    check_dense(op, "out", out, torch)
    if out.shape != shape:
        raise ShapeError(
            f"[{op}] out has shape {spec.describe(out.shape)}, but the result has shape "
            f"{spec.describe(shape)}."
        )
    if out.dtype != dtype:
        raise DTypeError(f"[{op}] out has dtype {out.dtype}, but the result has {dtype}.")
    if torch.is_grad_enabled() and any(x.requires_grad for x in (out, *inputs)):
        raise OptionError(
            f"[{op}] out= has no gradient: call it without, or under torch.no_grad()."
        )
