"""What callers hand in beside a tensor, as tensors, checked; and results to where they are wanted.

Values are looked at where there are any: not in meta tensors, and not while a graph is recorded,
where the operator that will see them looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from softxent.errors import DTypeError, OptionError, ShapeError
from softxent.ops import spec
from softxent.ops.intake import receive

__all__ = [
    "beside",
    "check_floating",
    "check_indices",
    "check_out",
    "check_overwritable",
    "check_target",
    "element_weight",
    "is_traced",
    "receive_binary",
    "receive_loss",
    "values",
    "write",
]


def beside(op: str, name: str, value: Any, scores: Tensor) -> Tensor:
    """An argument of any kind as a tensor where the scores are."""
    if isinstance(value, Tensor):
        if value.is_complex():
            raise DTypeError(f"[{op}] {name} has dtype {value.dtype}: pass real numbers.")
        return value if value.device == scores.device else value.to(scores.device)
    array, _ = receive(op, name, value)
    # torch takes no read-only, unaligned or byte-swapped memory, and no bfloat16 from NumPy.
    dtype = np.dtype(np.float32) if array.dtype.kind == "V" else array.dtype.newbyteorder("=")
    return torch.from_numpy(np.require(array, dtype, ["C", "A", "W"])).to(scores.device)


def check_floating(op: str, name: str, x: Tensor) -> None:
    """A dense tensor of floating-point numbers."""
    if x.layout is not torch.strided:
        raise DTypeError(f"[{op}] {name} is not a dense tensor: pass {name}.to_dense().")
    if x.dtype not in _FLOATING:
        raise DTypeError(
            f"[{op}] {name} has dtype {x.dtype}: pass a floating-point tensor, e.g. {name}.float()."
        )


_FLOATING: Sequence[torch.dtype] = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def receive_loss(
    op: str,
    logits: Tensor,
    target: Any,
    weight: Any,
    options: dict[str, Any],
    scores: str = "logits",
    *,
    any_weight: bool = False,
    traced: bool | None = None,
) -> tuple[Tensor, Tensor | None, spec.Loss]:
    """A loss's target and weight as tensors, and the loss; the target's values come later.

    Torch takes weights of `any` value, negative ones too. Who knows whether this is `traced` says
    so.
    """
    check_floating(op, scores, logits)
    target = beside(op, "target", target, logits)
    if target.numel() == 0 and target.is_floating_point() and target.ndim < logits.ndim:
        target = target.long()  # an empty list
    loss = spec.Loss.of(
        op,
        logits.shape,
        target.shape,
        "f" if target.is_floating_point() else _KIND.get(target.dtype, "c"),
        scores=scores,
        remember=not (is_traced() if traced is None else traced),
        **options,
    )
    if weight is not None:
        weight = beside(op, "weight", weight, logits)
        numbers = None if any_weight else values(weight)
        spec.check_weight(op, weight.shape, _NOTHING if numbers is None else numbers, loss.classes)
    return target, weight, loss


_NOTHING = np.zeros(0)
_KIND = {
    torch.int64: "i",
    torch.int32: "i",
    torch.int16: "i",
    torch.int8: "i",
    torch.uint8: "u",
    torch.uint16: "u",
    torch.uint32: "u",
    torch.uint64: "u",
    torch.bool: "b",
}


def check_target(loss: spec.Loss, target: Tensor) -> None:
    """Every class index, or every probability, is one."""
    if loss.target_kind == "index":
        check_indices(loss.op, target, loss.classes, loss.ignore_index)
    elif (numbers := values(target)) is not None:
        spec.check_masses(loss.op, numbers)


def check_indices(op: str, target: Tensor, classes: int, ignore_index: int | None) -> None:
    """Every class index is in [0, classes) or is ignore_index."""
    if (numbers := values(target)) is not None:
        spec.check_indices(op, numbers, classes, ignore_index)


def receive_binary(op: str, name: str, scores: Tensor, target: Any) -> Tensor:
    """A binary target as a tensor of the scores' shape."""
    check_floating(op, name, scores)
    tensor = beside(op, "target", target, scores)
    spec.check_binary_shape(op, name, scores.shape, tensor.shape)
    return tensor


_HALF = (torch.float16, torch.bfloat16)


def element_weight(
    op: str, weight: Any, scores: Tensor, *, any_weight: bool = False
) -> Tensor | None:
    """A weight an element, in the scores' shape and the dtype in which they are computed."""
    if weight is None:
        return None
    dtype = torch.float32 if scores.dtype in _HALF else scores.dtype
    weight = beside(op, "weight", weight, scores).to(dtype)
    numbers = None if any_weight else values(weight)
    if numbers is not None and numbers.shape == weight.shape:
        spec.check_element_weight(op, numbers, scores.shape)
    wide: Tensor = weight.broadcast_to(scores.shape)
    return wide


def is_traced() -> bool:
    """Whether torch.compile, torch.export or another tracer records what is done."""
    return torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0


def values(x: Tensor) -> Any:
    """A NumPy view for the checks, or None where there is nothing to look at."""
    if is_traced() or x.is_meta or isinstance(x, FakeTensor):
        return None
    if not torch._C._are_functorch_transforms_active():
        return _values(x)
    while torch._C._functorch.is_functorch_wrapped_tensor(x):
        x = torch._C._functorch.get_unwrapped(x)  # every sample of a vmap at once
    with torch._C._DisableFuncTorch():
        return _values(x)


def _values(x: Tensor) -> Any:
    # Half precision has no NumPy type of its own everywhere.
    x = x.detach()
    return (x.float() if x.dtype in _HALF else x).cpu().resolve_neg().numpy()


def check_overwritable(op: str, logits: Tensor) -> None:
    """Logits over which the gradient may be written in the backward pass."""
    if logits.requires_grad and logits.is_leaf:
        raise OptionError(
            f"[{op}] inplace_backward=True would write the gradient over a parameter, or over "
            "logits that are kept for their own gradient: call it on logits that were computed."
        )
    if not logits.is_contiguous() and torch._debug_has_internal_overlap(logits) == 1:
        raise OptionError(
            f"[{op}] inplace_backward=True needs logits with a place for each number, and these "
            "are expanded: pass logits.contiguous()."
        )


def write(op: str, out: Tensor, result: Tensor, x: Tensor) -> Tensor:
    """Put a result into the caller's tensor; there is no gradient through it, as in torch."""
    check_out(op, out, result.shape, result.dtype, x)
    with torch.no_grad():
        return out.copy_(result)


def check_out(
    op: str, out: Tensor, shape: Sequence[int], dtype: torch.dtype, *inputs: Tensor
) -> None:
    """The caller's tensor can take a result of this shape and dtype."""
    if not isinstance(out, Tensor):
        raise DTypeError(f"[{op}] out is a {type(out).__name__}: pass a tensor.")
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
