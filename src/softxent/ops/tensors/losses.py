"""The public functions on torch tensors: who computes what was checked.

Ordinary tensors on the CPU go to the compiled kernels (`engine`); while torch.compile or another
tracer looks on, as an operator that it doesn't look into (`operators`). All others are `composed`
of torch's operations: other devices, meta tensors, subclasses, the transforms of torch.func,
forward-mode derivatives.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.autograd import forward_ad

from softxent.errors import DTypeError
from softxent.ops import composed, engine, operators, spec
from softxent.ops import tensor_intake as intake
from softxent.ops.composed import computed
from softxent.ops.tensor_intake import is_traced

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "checked_indices",
    "checked_probabilities",
    "cross_entropy",
    "cross_entropy_with_grad",
    "cross_entropy_with_stats",
    "kernels_take",
    "log_loss",
    "logsumexp",
    "nll_loss",
    "one_hot",
    "softmax",
    "top_k",
]


def kernels_take(*tensors: Tensor | None) -> bool:
    """Whether these are ordinary tensors on the CPU, and nothing but autograd works on them."""
    if torch._C._are_functorch_transforms_active() or not _on_cpu(*tensors):
        return False
    return torch.compiler.is_compiling() or not (
        forward_ad._current_level >= 0 or torch._C._get_tracing_state() is not None
    )


def _on_cpu(*tensors: Tensor | None) -> bool:
    for x in tensors:
        if x is None:
            continue
        if type(x) in _ORDINARY:
            on_cpu = x.is_cpu
        else:  # which tracers see in place of ordinary ones
            on_cpu = isinstance(x, FakeTensor) and is_traced() and x.device.type == "cpu"
        if not (on_cpu and x.layout is torch.strided):
            return False
    return True


_ORDINARY = (Tensor, torch.nn.Parameter)


def softmax(op: str, x: Tensor, axis: int, out: Tensor | None, *, log: bool) -> Tensor:
    """Softmax, or its logarithm, over one axis."""
    intake.check_floating(op, "x", x)
    axis = spec.check_axis(op, axis, x.ndim)
    if not kernels_take(x):
        result = composed.softmax(x, axis, log=log)
    elif is_traced():
        result = operators.softmax(x, axis, log)
    else:
        result = engine.softmax(x, axis, log=log)
    return result if out is None else intake.write(op, out, result, x)


def logsumexp(op: str, x: Tensor, axis: int, keepdims: bool) -> Tensor:
    """Logsumexp over one axis."""
    intake.check_floating(op, "x", x)
    axis = spec.check_axis(op, axis, x.ndim)
    if not kernels_take(x):
        result = composed.logsumexp(x, axis)
    elif is_traced():
        result = operators.logsumexp(x, axis)
    else:
        result = engine.logsumexp(x, axis)
    return result.unsqueeze(axis) if keepdims else result


def top_k(op: str, x: Tensor, k: int, axis: int) -> tuple[Tensor, Tensor]:
    """The k largest; torch.topk leaves the order of equals open, a stable sort doesn't."""
    if x.is_complex():
        raise DTypeError(f"[{op}] x has dtype {x.dtype}: complex numbers have no order.")
    axis = spec.check_axis(op, axis, x.ndim)
    k = spec.check_k(op, k, x.shape[axis])
    values, indices = torch.sort(x, dim=axis, descending=True, stable=True)
    return values.narrow(axis, 0, k), indices.narrow(axis, 0, k)


def one_hot(op: str, target: Tensor, classes: int) -> Tensor:
    """Zeros with a one at each index."""
    if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
        raise DTypeError(f"[{op}] target has dtype {target.dtype}: class indices are integers.")
    intake.check_indices(op, target, classes, None)
    zeros = torch.zeros(*target.shape, classes, dtype=torch.int64, device=target.device)
    return zeros.scatter(-1, target.long()[..., None], 1)


def cross_entropy(
    op: str,
    logits: Tensor,
    target: Any,
    weight: Any,
    *,
    dtype: torch.dtype | None = None,
    inplace_backward: bool = False,
    any_weight: bool = False,
    **options: Any,
) -> Tensor:
    """The reduced loss, differentiable in the logits, a class-probability target and the weight.

    Args:
        op: the public function's name.
        logits, target, weight, options: as `softxent.cross_entropy`.
        dtype: the loss's; by default that in which the logits are computed.
        inplace_backward: whether the gradient is written over the logits.
        any_weight: whether weights may be negative, as in torch.
    """
    traced = is_traced()
    if traced and kernels_take(logits) and not _wants_gradient(target, weight):
        target, weight = _for_operator(op, logits, target, weight)
        return operators.cross_entropy(op, logits, target, weight, dtype, any_weight, options)
    target, weight, loss = intake.receive_loss(
        op, logits, target, weight, options, any_weight=any_weight, traced=traced
    )
    dtype = dtype or composed.dtype_of(logits)
    if traced or not kernels_take(logits, target, weight):
        target = _checked(loss, target)
        return composed.cross_entropy(loss, logits, target, weight).to(dtype)
    if inplace_backward:
        intake.check_overwritable(op, logits)
    if loss.target_kind != "index" or not target.dtype.is_signed:
        intake.check_target(loss, target)  # signed class indices are left to the kernels' check
    return engine.cross_entropy(
        loss, logits, target, weight, dtype, inplace_backward=inplace_backward
    )


def _wants_gradient(*others: Any) -> bool:
    return any(isinstance(x, Tensor) and x.requires_grad for x in others)


def _for_operator(op: str, logits: Tensor, target: Any, weight: Any) -> tuple[Tensor, Any]:
    target = intake.beside(op, "target", target, logits)
    return target, None if weight is None else intake.beside(op, "weight", weight, logits)


def cross_entropy_with_grad(
    op: str, logits: Tensor, target: Any, weight: Any, out: Tensor | None, **options: Any
) -> tuple[Tensor, Tensor]:
    """The reduced loss and its gradient, neither with a graph."""
    target, weight, loss = intake.receive_loss(op, logits, target, weight, options)
    intake.check_target(loss, target)
    if out is not None:
        intake.check_out(op, out, logits.shape, logits.dtype, logits)
    if kernels_take(logits, target, weight) and not is_traced():
        value, grad = engine.cross_entropy_with_grad(loss, logits, target, weight, out)
        return value, grad
    with torch.inference_mode(False), torch.enable_grad():
        leaf = _ordinary(logits.detach()).requires_grad_()
        weight = None if weight is None else _ordinary(weight)
        value = composed.cross_entropy(loss, leaf, _ordinary(target), weight)
        (grad,) = torch.autograd.grad(value.sum(), leaf)
    if out is not None:
        grad = intake.write(op, out, grad, logits.detach())
    return value.detach(), grad


def _ordinary(x: Tensor) -> Tensor:
    """What was made in inference mode can't be part of a graph; its copy can."""
    return x.clone() if x.is_inference() else x


def cross_entropy_with_stats(
    op: str,
    logits: Tensor,
    target: Any,
    weight: Any,
    k: int,
    *,
    dtype: torch.dtype,
    **options: Any,
) -> tuple[Tensor, ...]:
    """The reduced loss; and a row its lse, its entropy, its largest class, and whether it hits."""
    target, weight, loss = intake.receive_loss(op, logits, target, weight, options, any_weight=True)
    k = spec.check_k(op, k, loss.classes)
    if is_traced() or not kernels_take(logits, target, weight):
        target = _checked(loss, target)
        value, *rest = composed.cross_entropy_with_stats(loss, logits, target, weight, k)
        return value.to(dtype), *rest
    intake.check_target(loss, target)
    return engine.cross_entropy_with_stats(loss, logits, target, weight, dtype, k)


def nll_loss(op: str, log_probs: Tensor, target: Any, weight: Any, **options: Any) -> Tensor:
    """The reduced mean of -w_y log p_y."""
    target, weight, loss = intake.receive_loss(op, log_probs, target, weight, options, "log_probs")
    spec.check_is_index(loss)
    target = _checked(loss, target)
    return composed.pick(loss, computed(log_probs.movedim(loss.axis, -1)), target, weight)


def checked_indices(
    op: str, log_probs: Tensor, target: Tensor, weight: Tensor | None, **options: Any
) -> Tensor:
    """The class indices of a NLL loss as int64, when everything about it was checked."""
    target, _, loss = intake.receive_loss(
        op, log_probs, target, weight, options, "log_probs", any_weight=True
    )
    spec.check_is_index(loss)
    return _checked(loss, target).long()


def _checked(loss: spec.Loss, target: Tensor) -> Tensor:
    """The target, checked; in a graph that is recorded, checked whenever the graph runs."""
    if is_traced() and _on_cpu(target):
        return operators.check_target(
            target, loss.op, loss.target_kind, loss.classes, loss.ignore_index
        )
    intake.check_target(loss, target)
    return target


def log_loss(op: str, probs: Tensor, target: Any, weight: Any, **options: Any) -> Tensor:
    """Cross-entropy of given probabilities."""
    options["ignore_index"] = None
    target, weight, loss = intake.receive_loss(op, probs, target, weight, options, "probs")
    target = _checked(loss, target)
    p = computed(probs)
    if (numbers := intake.values(p)) is not None:
        spec.check_probabilities(op, numbers, loss.axis, torch.finfo(probs.dtype).eps)
    log_probs = p.movedim(loss.axis, -1).log()
    if loss.target_kind == "index":
        return composed.pick(loss, log_probs, target, weight)
    mass = target.movedim(loss.axis, -1).to(p.dtype)
    if weight is not None:
        mass = mass * weight.to(p.dtype)
    zero = torch.zeros_like(p.movedim(loss.axis, -1))
    losses = 0 - (mass * torch.where(mass == 0, zero, log_probs)).sum(dim=-1)
    return composed.reduce(loss, losses, losses.numel())


def binary_cross_entropy(
    op: str, probs: Tensor, target: Any, weight: Any, *, reduction: str
) -> Tensor:
    """Cross-entropy of the probability of one class of two."""
    loss = spec.Loss.elementwise(op, probs.shape, reduction)
    p = computed(probs)
    y = checked_probabilities(op, p, target, reduction)
    zero = torch.zeros_like(p)
    yes = torch.where(y == 0, zero, y * torch.where(y == 0, zero, p).log())
    no = torch.where(y == 1, zero, (1 - y) * torch.log1p(-torch.where(y == 1, zero, p)))
    losses = composed.weighted(0 - yes - no, intake.element_weight(op, weight, probs))
    return composed.reduce(loss, losses, losses.numel())


def checked_probabilities(op: str, probs: Tensor, target: Any, reduction: str) -> Tensor:
    """The target of a binary loss in the dtype of its probabilities, when both were checked."""
    spec.check_reduction(op, reduction)
    y = _checked_binary(op, intake.receive_binary(op, "probs", probs, target))
    if (numbers := intake.values(probs)) is not None:
        hint = " Logits? Use binary_cross_entropy_with_logits."
        spec.check_unit_interval(op, numbers, hint=hint)
    return y.to(probs.dtype)


def binary_cross_entropy_with_logits(
    op: str,
    logits: Tensor,
    target: Any,
    weight: Any,
    *,
    pos_weight: Any,
    reduction: str,
    any_weight: bool = False,
) -> Tensor:
    """Softmax cross-entropy over the two logits [0, x] with the mass [1 - y, v y]."""
    loss = spec.Loss.elementwise(op, logits.shape, reduction)
    y = intake.receive_binary(op, "logits", logits, target)
    v = intake.element_weight(op, pos_weight, logits, any_weight=any_weight)
    w = intake.element_weight(op, weight, logits, any_weight=any_weight)
    others_differentiate = torch.is_grad_enabled() and _wants_gradient(y, v, w)
    if is_traced() or others_differentiate or not kernels_take(logits, y, v, w):
        y = _checked_binary(op, y)
        return composed.binary_cross_entropy(loss, logits, y, v, w)
    if not y.is_floating_point():
        y = y.to(composed.dtype_of(logits))
    return engine.binary_cross_entropy(loss, logits, y, v, w)


def _checked_binary(op: str, y: Tensor) -> Tensor:
    if is_traced() and _on_cpu(y):
        return operators.check_target(y, op, "binary", 2, None)
    if (numbers := intake.values(y)) is not None:
        spec.check_binary_values(op, numbers)
    return y
