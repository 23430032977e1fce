"""The public functions on torch tensors, composed of torch's own operations, with autograd.

The class whose logit is largest is kept apart from the others, in the value and in the graph: with
the others' mass `rest`, log p of the largest is -log1p(rest) and its derivative -rest / (1 + rest),
both exact where p itself rounds to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from softxent.errors import DTypeError, OptionError, ShapeError
from softxent.ops import spec
from softxent.ops.intake import receive

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "cross_entropy_with_grad",
    "log_loss",
    "logsumexp",
    "nll_loss",
    "one_hot",
    "softmax",
    "top_k",
]


def softmax(op: str, x: Tensor, axis: int, out: Tensor | None, *, log: bool) -> Tensor:
    """Softmax, or its logarithm, over one axis."""
    _check_floating(op, "x", x)
    axis = spec.check_axis(op, axis, x.ndim)
    if log:
        u = _Scaled(_computed(x.movedim(axis, -1)))
        result = (u.below - u.log_sum[..., None]).movedim(-1, axis).to(x.dtype)
    else:
        result = torch.softmax(x, axis)
    return result if out is None else _write(op, out, result, x)


def logsumexp(op: str, x: Tensor, axis: int, keepdims: bool) -> Tensor:
    """Logsumexp over one axis."""
    _check_floating(op, "x", x)
    axis = spec.check_axis(op, axis, x.ndim)
    u = _Scaled(_computed(x.movedim(axis, -1)))
    result = torch.where(u.maximum.isfinite(), u.lse, u.maximum).to(x.dtype)
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
    spec.check_indices(op, _values(target), classes, None)
    zeros = torch.zeros(*target.shape, classes, dtype=torch.int64, device=target.device)
    return zeros.scatter(-1, target.long()[..., None], 1)


def cross_entropy(op: str, logits: Tensor, target: Any, weight: Any, **options: Any) -> Tensor:
    """The reduced loss, differentiable in the logits, a class-probability target and the weight."""
    target, weight, loss = _receive_loss(op, logits, target, weight, options)
    return _cross_entropy(loss, logits, target, weight)


def cross_entropy_with_grad(
    op: str, logits: Tensor, target: Any, weight: Any, out: Tensor | None, **options: Any
) -> tuple[Tensor, Tensor]:
    """The reduced loss and its gradient, neither with a graph."""
    target, weight, loss = _receive_loss(op, logits, target, weight, options)
    with torch.inference_mode(False), torch.enable_grad():
        leaf = _ordinary(logits.detach()).requires_grad_()
        weight = None if weight is None else _ordinary(weight)
        value = _cross_entropy(loss, leaf, _ordinary(target), weight)
        (grad,) = torch.autograd.grad(value.sum(), leaf)
    if out is not None:
        grad = _write(op, out, grad, logits.detach())
    return value.detach(), grad


def _ordinary(x: Tensor) -> Tensor:
    """What was made in inference mode can't be part of a graph; its copy can."""
    return x.clone() if x.is_inference() else x


def _receive_loss(
    op: str,
    logits: Tensor,
    target: Any,
    weight: Any,
    options: dict[str, Any],
    scores: str = "logits",
) -> tuple[Tensor, Tensor | None, spec.Loss]:
    _check_floating(op, scores, logits)
    target = _beside(op, "target", target, logits)
    if target.numel() == 0 and target.is_floating_point() and target.ndim < logits.ndim:
        target = target.long()  # an empty list
    kind = "f" if target.is_floating_point() else np.dtype(_NUMPY_KIND.get(target.dtype, "c8")).kind
    loss = spec.Loss.of(op, logits.shape, target.shape, kind, scores=scores, **options)
    if loss.target_kind == "index":
        spec.check_indices(op, _values(target), loss.classes, loss.ignore_index)
    else:
        spec.check_masses(op, _values(target))
    if weight is not None:
        weight = _beside(op, "weight", weight, logits)
        spec.check_weight(op, weight.shape, _values(weight), loss.classes)
    return target, weight, loss


_NUMPY_KIND = {
    torch.bool: "b1",
    torch.uint8: "u1",
    torch.uint16: "u2",
    torch.uint32: "u4",
    torch.uint64: "u8",
    torch.int8: "i1",
    torch.int16: "i2",
    torch.int32: "i4",
    torch.int64: "i8",
}


class _Scaled:
    """What the loss needs of a row u: its maximum, u below it, and log sum exp(u - maximum)."""

    def __init__(self, u: Tensor) -> None:  # (..., C), float32 or float64
        if u.shape[-1] == 0:
            nothing = u.sum(dim=-1)
            self.maximum = nothing - torch.inf
            self.below = u
            self.log_sum = nothing + torch.nan
            return
        maximum, at = u.max(dim=-1, keepdim=True)
        # A row without a finite maximum is NaN, and so is all of its gradient.
        broken = torch.where(maximum.isfinite(), 0.0, torch.nan)
        u = u + broken
        top = torch.arange(u.shape[-1], device=u.device) == at
        # At the top the difference is 0 whatever the logits: it is taken out of the graph, or
        # autograd would add 1 - rest / (1 + rest) to -1 and lose rest.
        self.below = torch.where(top, torch.zeros_like(u), u - maximum)
        rest = torch.where(top, torch.zeros_like(u), self.below.exp()).sum(dim=-1)
        self.maximum = maximum.squeeze(-1)
        self.log_sum = (rest + broken.squeeze(-1)).log1p()

    @property
    def lse(self) -> Tensor:
        return self.maximum + self.log_sum


def _cross_entropy(
    loss: spec.Loss, logits: Tensor, target: Tensor, weight: Tensor | None
) -> Tensor:
    z = _computed(logits.movedim(loss.axis, -1))
    w = None if weight is None else weight.to(z.dtype)
    kept: Tensor | None = None
    denominator: Tensor | float
    if loss.target_kind == "index":
        target = target.long()
        kept = _kept(loss, target)
        # An ignored row may hold anything: it leaves the graph before it is used.
        z = torch.where(kept[..., None], z, torch.zeros_like(z))
        target = torch.where(kept, target, torch.zeros_like(target))
    u = z if loss.temperature == 1 else z / loss.temperature
    if loss.softcap is not None:
        u = loss.softcap * torch.tanh(u / loss.softcap)
    row = _Scaled(u)

    e = loss.label_smoothing
    if kept is None:
        q = target.movedim(loss.axis, -1).to(z.dtype)
        mass = q if e == 0 else (1 - e) * q + e / loss.classes
        losses = _expected(mass if w is None else w * mass, row)
        denominator = losses.numel()
    else:
        at_target = torch.ones_like(row.log_sum) if w is None else _at(w.expand_as(u), target)
        losses = at_target * (row.log_sum - _at(row.below, target))
        # A class of weight 0 costs nothing, even where it is masked.
        losses = torch.where((at_target == 0) & row.log_sum.isfinite(), 0.0, losses)
        if e != 0:
            uniform = torch.ones_like(u) if w is None else w.expand_as(u)
            losses = (1 - e) * losses + e / loss.classes * _expected(uniform, row)
        denominator = torch.where(kept, at_target, torch.zeros_like(at_target)).sum()
    if loss.z_loss != 0:
        losses = losses + loss.z_loss * row.lse**2
    if kept is not None:
        losses = torch.where(kept, losses, torch.zeros_like(losses))
    return _reduce(loss, losses, denominator)


def _expected(mass: Tensor, row: _Scaled) -> Tensor:
    """sum_j t_j (lse - u_j), with 0 log 0 = 0."""
    if mass.shape[-1] == 0:
        return row.log_sum
    cost = row.log_sum[..., None] - row.below
    masked = (mass == 0) & cost.isposinf()
    return torch.where(masked, 0.0, mass * torch.where(masked, 0.0, cost)).sum(dim=-1)


def _kept(loss: spec.Loss, target: Tensor) -> Tensor:
    if loss.ignore_index is None:
        return torch.ones_like(target, dtype=torch.bool)
    return target.ne(loss.ignore_index)


def _at(x: Tensor, index: Tensor) -> Tensor:
    if x.shape[-1] == 0:  # every row is ignored
        return x.sum(dim=-1)
    return x.gather(-1, index[..., None]).squeeze(-1)


def _reduce(loss: spec.Loss, losses: Tensor, denominator: Tensor | float) -> Tensor:
    if loss.reduction == "none":
        return losses
    total = losses.sum()
    if loss.reduction == "sum":
        return total
    # Over nothing: NaN, where Python would refuse to divide by 0.
    return (
        total / denominator if isinstance(denominator, Tensor) or denominator else total * torch.nan
    )


def nll_loss(op: str, log_probs: Tensor, target: Any, weight: Any, **options: Any) -> Tensor:
    """The reduced mean of -w_y log p_y."""
    target, weight, loss = _receive_loss(op, log_probs, target, weight, options, "log_probs")
    spec.check_is_index(loss)
    return _pick(loss, _computed(log_probs.movedim(loss.axis, -1)), target, weight)


def _pick(loss: spec.Loss, log_probs: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    target = target.long()
    kept = _kept(loss, target)
    index = torch.where(kept, target, torch.zeros_like(target))
    w = torch.ones(loss.rows, dtype=log_probs.dtype, device=log_probs.device)
    if weight is not None:
        w = _at(weight.to(log_probs.dtype).expand_as(log_probs), index)
    w = torch.where(kept, w, torch.zeros_like(w))
    picked = torch.where(w == 0, torch.zeros_like(w), _at(log_probs, index))
    return _reduce(loss, 0 - w * picked, w.sum())  # 0.0 for a certain row, never -0.0


def log_loss(op: str, probs: Tensor, target: Any, weight: Any, **options: Any) -> Tensor:
    """Cross-entropy of given probabilities."""
    options["ignore_index"] = None
    target, weight, loss = _receive_loss(op, probs, target, weight, options, "probs")
    p = _computed(probs)
    spec.check_probabilities(op, _values(p), loss.axis, torch.finfo(probs.dtype).eps)
    log_probs = p.movedim(loss.axis, -1).log()
    if loss.target_kind == "index":
        return _pick(loss, log_probs, target, weight)
    mass = target.movedim(loss.axis, -1).to(p.dtype)
    if weight is not None:
        mass = mass * weight.to(p.dtype)
    zero = torch.zeros_like(p.movedim(loss.axis, -1))
    losses = 0 - (mass * torch.where(mass == 0, zero, log_probs)).sum(dim=-1)
    return _reduce(loss, losses, losses.numel())


def binary_cross_entropy(
    op: str, probs: Tensor, target: Any, weight: Any, *, reduction: str
) -> Tensor:
    """Cross-entropy of the probability of one class of two."""
    p, y = _receive_binary(op, "probs", probs, target)
    spec.check_unit_interval(op, _values(p), hint=" Logits? Use binary_cross_entropy_with_logits.")
    zero = torch.zeros_like(p)
    yes = torch.where(y == 0, zero, y * torch.where(y == 0, zero, p).log())
    no = torch.where(y == 1, zero, (1 - y) * torch.log1p(-torch.where(y == 1, zero, p)))
    losses = _weigh(op, 0 - yes - no, weight)
    return _reduce(spec.Loss.elementwise(op, probs.shape, reduction), losses, losses.numel())


def binary_cross_entropy_with_logits(
    op: str, logits: Tensor, target: Any, weight: Any, *, pos_weight: Any, reduction: str
) -> Tensor:
    """Softmax cross-entropy over the two logits [0, x] with the mass [1 - y, v y]."""
    x, y = _receive_binary(op, "logits", logits, target)
    pairs = torch.stack([torch.zeros_like(x), x], dim=-1)
    mass = torch.stack([1 - y, _weigh(op, y, pos_weight)], dim=-1)
    losses = _weigh(op, _expected(mass, _Scaled(pairs)), weight)
    return _reduce(spec.Loss.elementwise(op, logits.shape, reduction), losses, losses.numel())


def _receive_binary(op: str, name: str, scores: Tensor, target: Any) -> tuple[Tensor, Tensor]:
    _check_floating(op, name, scores)
    target = _beside(op, "target", target, scores)
    spec.check_binary_target(op, name, scores.shape, _values(target))
    x = _computed(scores)
    return x, target.to(x.dtype)


def _weigh(op: str, losses: Tensor, weight: Any) -> Tensor:
    if weight is None:
        return losses
    weight = _beside(op, "weight", weight, losses).to(losses.dtype)
    spec.check_element_weight(op, _values(weight), losses.shape)
    wide = weight.broadcast_to(losses.shape)
    zero = torch.zeros_like(losses)
    return torch.where(wide == 0, zero, torch.where(wide == 0, zero, losses) * wide)


def _beside(op: str, name: str, value: Any, scores: Tensor) -> Tensor:
    """An argument of any kind as a tensor where the scores are."""
    if isinstance(value, Tensor):
        if value.is_complex():
            raise DTypeError(f"[{op}] {name} has dtype {value.dtype}: pass real numbers.")
        return value.to(scores.device)
    array, _ = receive(op, name, value)
    # torch takes no read-only, unaligned or byte-swapped memory, and no bfloat16 from NumPy.
    dtype = np.dtype(np.float32) if array.dtype.kind == "V" else array.dtype.newbyteorder("=")
    return torch.from_numpy(np.require(array, dtype, ["C", "A", "W"])).to(scores.device)


def _computed(x: Tensor) -> Tensor:
    """Half precision is computed in float32."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _values(x: Tensor) -> Any:
    """A NumPy view for the checks; half precision has no NumPy type of its own everywhere."""
    return _computed(x.detach()).cpu().numpy()


_FLOATING: Sequence[torch.dtype] = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def _check_floating(op: str, name: str, x: Tensor) -> None:
    if x.layout != torch.strided:
        raise DTypeError(f"[{op}] {name} is not a dense tensor: pass {name}.to_dense().")
    if x.dtype not in _FLOATING:
        raise DTypeError(
            f"[{op}] {name} has dtype {x.dtype}: pass a floating-point tensor, e.g. {name}.float()."
        )


def _write(op: str, out: Tensor, result: Tensor, x: Tensor) -> Tensor:
    """Put a result into the caller's tensor; there is no gradient through it, as in torch."""
    if not isinstance(out, Tensor):
        raise DTypeError(f"[{op}] out is a {type(out).__name__}: pass a tensor.")
    if out.shape != result.shape:
        raise ShapeError(
            f"[{op}] out has shape {spec.describe(out.shape)}, but the result has shape "
            f"{spec.describe(result.shape)}."
        )
    if out.dtype != result.dtype:
        raise DTypeError(f"[{op}] out has dtype {out.dtype}, but the result has {result.dtype}.")
    if torch.is_grad_enabled() and (x.requires_grad or out.requires_grad):
        raise OptionError(
            f"[{op}] out= has no gradient: call it without, or under torch.no_grad()."
        )
    with torch.no_grad():
        return out.copy_(result)
