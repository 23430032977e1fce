"""The compiled kernels on torch's CPU tensors, with autograd.

The forward pass keeps two numbers a row beside the logits, their maximum and the others' share of
the sum; the backward pass makes the gradient of them, for any upstream gradient and as often as it
is asked for. Derivatives of the gradient itself are `composed` of torch's operations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from softxent import _native
from softxent.ops import composed, native, spec

__all__ = [
    "array",
    "binary_cross_entropy",
    "cross_entropy",
    "cross_entropy_with_grad",
    "cross_entropy_with_stats",
    "gradient",
    "logsumexp",
    "loss_and_summary",
    "reduce",
    "softmax",
    "softmax_gradient",
]

Array = npt.NDArray[Any]


def array(x: Tensor) -> Array:
    """A tensor's own memory, as the kernels read it."""
    if x.requires_grad:
        x = x.detach()
    if x.is_neg():  # a lazy sign is no number in memory
        x = x.resolve_neg()
    if x.dtype is torch.bfloat16:
        x = x.view(torch.uint16)  # NumPy has no bfloat16
    result: Array = x.numpy()
    return result if result.ndim <= 9 else np.ascontiguousarray(result)


def empty_like(x: Tensor) -> Tensor:
    """A buffer for a result of the shape and layout of x, in memory that others have given back."""
    dtype = _NUMPY.get(x.dtype)
    if dtype is None or not x.is_contiguous():
        return torch.empty_like(x, requires_grad=False)
    return torch.from_numpy(native.fresh(tuple(x.shape), dtype))


_HALVES = (torch.float16, torch.bfloat16)
_NUMPY: dict[torch.dtype, np.dtype[Any]] = {
    torch.float32: np.dtype(np.float32),
    torch.float64: np.dtype(np.float64),
    torch.float16: np.dtype(np.float16),
}


# As the kernels number them.
_TYPES = {torch.float32: 0, torch.float64: 1, torch.float16: 2, torch.bfloat16: 3}

# Where a second call would take longer than the numbers: (64, 10).
_SMALL = 4096


def _is_plain_memory(x: Tensor) -> bool:
    """Numbers side by side, each where the processor wants it."""
    return x.is_contiguous() and not x.is_neg() and x.data_ptr() % x.itemsize == 0


def _applied(function: type[torch.autograd.Function], *arguments: Any) -> Tensor:
    """function.apply without its look for torch.func's transforms, which don't come here: 2 us."""
    result: Tensor = super(torch.autograd.Function, function).apply(*arguments)  # type: ignore[misc]
    return result


# --- softmax ---


def softmax(x: Tensor, axis: int, *, log: bool) -> Tensor:
    """Softmax, or its logarithm, over an axis >= 0."""
    if x.requires_grad and torch.is_grad_enabled():
        return _applied(_Softmax, x, axis, log)
    return _softmax(x, axis, log)


def _softmax(x: Tensor, axis: int, log: bool) -> Tensor:
    result = empty_like(x)
    _native.softmax(array(x), array(result), axis=axis, log=log)
    return result


class _Softmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, axis: int, log: bool) -> Tensor:
        result = _softmax(x, axis, log)
        ctx.save_for_backward(result)
        ctx.axis, ctx.log = axis, log
        return result

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (result,) = ctx.saved_tensors
        return softmax_gradient(upstream, result, ctx.axis, ctx.log), None, None


def softmax_gradient(upstream: Tensor, result: Tensor, axis: int, log: bool) -> Tensor:
    """P (g - sum_j g_j p_j), or g - p sum_j g_j; torch's own operation, with its derivatives."""
    backward = torch._log_softmax_backward_data if log else torch._softmax_backward_data
    gradient: Tensor = backward(upstream, result, axis, result.dtype)
    return gradient


def logsumexp(x: Tensor, axis: int) -> Tensor:
    """Logsumexp over an axis >= 0, which the result lacks."""
    if x.requires_grad and torch.is_grad_enabled():
        return _applied(_LogSumExp, x, axis)
    return _logsumexp(x, axis)


def _logsumexp(x: Tensor, axis: int) -> Tensor:
    shape = x.shape[:axis] + x.shape[axis + 1 :]
    result = np.empty(shape, np.float64)
    _native.logsumexp(array(x), result, axis=axis)
    return torch.from_numpy(result).to(x.dtype)


class _LogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, axis: int) -> Tensor:
        ctx.save_for_backward(x)
        ctx.axis = axis
        return _logsumexp(x, axis)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return upstream.unsqueeze(ctx.axis) * softmax(x, ctx.axis, log=False), None


# --- binary cross-entropy ---


def binary_cross_entropy(
    loss: spec.Loss,
    logits: Tensor,
    target: Tensor,
    positive_weight: Tensor | None,
    weight: Tensor | None,
) -> Tensor:
    """The reduced loss of two classes, of the dtype in which logits are computed.

    Weights have the logits' shape. A target needs no check before: one outside [0, 1] is refused.
    """
    arguments = (logits, target, positive_weight, weight)
    plain = positive_weight is None and weight is None and _is_plain_binary(loss, logits, target)
    if logits.requires_grad and torch.is_grad_enabled():
        if plain:
            return _applied(_PlainBinaryCrossEntropy, logits, target, loss)
        return _applied(_BinaryCrossEntropy, *arguments, loss)
    if plain:
        return _plain_binary_loss(loss, logits, target, None)
    return _binary_cross_entropy(loss, *arguments)


def _binary_cross_entropy(
    loss: spec.Loss,
    logits: Tensor,
    target: Tensor,
    positive_weight: Tensor | None,
    weight: Tensor | None,
) -> Tensor:
    dtype = composed.dtype_of(logits)
    losses = torch.empty(logits.shape, dtype=dtype) if loss.reduction == "none" else None
    try:
        total = _native.binary_cross_entropy(
            _elements(logits),
            _elements(target),
            positive_weight=_elements(positive_weight),
            weight=_elements(weight),
            loss=_elements(losses),
        )
    except IndexError:  # nothing was returned
        _check_binary(loss, target)
        raise
    if losses is not None:
        return losses
    count = logits.numel() if loss.reduction == "mean" else 1
    return _scalar(total / count if count else math.nan, dtype)


def _check_binary(loss: spec.Loss, target: Tensor) -> None:
    y = target.detach()
    spec.check_binary_values(loss.op, (y.float() if y.dtype in _HALVES else y).numpy())


@overload
def _elements(x: Tensor) -> Array: ...
@overload
def _elements(x: None) -> None: ...


def _elements(x: Tensor | None) -> Array | None:
    """All of a tensor's numbers as one dimension."""
    return None if x is None else array(x.contiguous().view(-1))


class _BinaryCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        target: Tensor,
        positive_weight: Tensor | None,
        weight: Tensor | None,
        loss: spec.Loss,
    ) -> Tensor:
        ctx.save_for_backward(logits, target, positive_weight, weight)
        ctx.loss = loss
        return _binary_cross_entropy(loss, logits, target, positive_weight, weight)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        logits, target, positive_weight, weight = ctx.saved_tensors
        loss: spec.Loss = ctx.loss
        if torch.is_grad_enabled() or _is_batched(upstream):
            grad = _composed_binary(loss, logits, target, positive_weight, weight, upstream)
            return grad, None, None, None, None
        per_element = loss.reduction == "none"
        grad = empty_like(logits.contiguous())
        mean_of = max(1, logits.numel()) if loss.reduction == "mean" else 1
        _native.binary_cross_entropy(
            _elements(logits),
            _elements(target),
            positive_weight=_elements(positive_weight),
            weight=_elements(weight),
            upstream=_elements(upstream) if per_element else None,
            scale=1.0 if per_element else float(upstream) / mean_of,
            grad=_elements(grad),
            value=False,
        )
        return grad, None, None, None, None


def _composed_binary(
    loss: spec.Loss,
    logits: Tensor,
    target: Tensor,
    positive_weight: Tensor | None,
    weight: Tensor | None,
    upstream: Tensor,
) -> Tensor:
    """The gradient, part of the graph where gradients are enabled."""
    with torch.enable_grad():
        x = logits.view_as(logits)
        value = composed.binary_cross_entropy(loss, x, target, positive_weight, weight)
    (grad,) = _differentiate([value], [x], [upstream])
    return grad


def _is_plain_binary(loss: spec.Loss, logits: Tensor, target: Tensor) -> bool:
    """As `_is_plain`."""
    return (
        loss.reduction != "none"
        and target.dtype is logits.dtype
        and _is_plain_memory(logits)
        and _is_plain_memory(target)
    )


def _plain_binary(
    logits: Tensor, target: Tensor, grad: Tensor | None, scale: float, *, value: bool
) -> float:
    return _native.plain_binary_cross_entropy(
        logits.data_ptr(),
        target.data_ptr(),
        0 if grad is None else grad.data_ptr(),
        _TYPES[logits.dtype],
        logits.numel(),
        scale,
        value,
    )


def _plain_binary_loss(
    loss: spec.Loss, logits: Tensor, target: Tensor, grad: Tensor | None
) -> Tensor:
    """The reduced loss, and the gradient in the same call if it is wanted."""
    count = logits.numel() if loss.reduction == "mean" else 1
    share = 1 / count if count else math.nan
    try:
        total = _plain_binary(logits, target, grad, share, value=True)
    except IndexError:  # nothing was returned
        _check_binary(loss, target)
        raise
    return _scalar(total / count if count else math.nan, composed.dtype_of(logits))


class _PlainBinaryCrossEntropy(torch.autograd.Function):
    """As _PlainCrossEntropy."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, loss: spec.Loss) -> Tensor:
        ctx.grad = torch.empty_like(logits) if logits.numel() <= _SMALL else None
        value = _plain_binary_loss(loss, logits, target, ctx.grad)
        ctx.save_for_backward(logits, target)
        ctx.loss = loss
        return value

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        logits, target = ctx.saved_tensors
        loss: spec.Loss = ctx.loss
        if torch.is_grad_enabled() or _is_batched(upstream):
            return _composed_binary(loss, logits, target, None, None, upstream), None, None
        grad, ctx.grad = ctx.grad, None
        scale = upstream.item()
        if grad is None or scale != 1:
            grad = empty_like(logits)
            count = max(1, logits.numel()) if loss.reduction == "mean" else 1
            _plain_binary(logits, target, grad, scale / count, value=False)
        return grad, None, None


# --- cross-entropy ---


def cross_entropy(
    loss: spec.Loss,
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    dtype: torch.dtype,
    *,
    inplace_backward: bool = False,
) -> Tensor:
    """The reduced loss, of this dtype.

    Class indices need no check before: those out of range are refused before anything is computed.
    """
    plain = weight is None and not inplace_backward and _is_plain(loss, logits, target)
    if torch.is_grad_enabled() and (
        logits.requires_grad
        or target.requires_grad
        or (weight is not None and weight.requires_grad)
    ):
        if plain:
            return _applied(_PlainCrossEntropy, logits, target, loss, dtype)
        return _applied(_CrossEntropy, logits, target, weight, loss, dtype, inplace_backward)
    if plain:
        return _scalar(_plain_cross_entropy(loss, logits, target), dtype)
    losses = _row_losses(loss) if loss.reduction == "none" else None
    arguments = _arguments(loss, logits, target, weight)
    return reduce(loss, losses, _run(loss, target, arguments, {"loss": losses}), dtype)


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        target: Tensor,
        weight: Tensor | None,
        loss: spec.Loss,
        dtype: torch.dtype,
        inplace_backward: bool,
    ) -> Tensor:
        value, summary = loss_and_summary(loss, logits, target, weight, dtype)
        ctx.save_for_backward(logits, target, weight)
        ctx.loss, ctx.summary, ctx.inplace_backward = loss, summary, inplace_backward
        return value

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        logits, target, weight = ctx.saved_tensors
        return *_gradients(ctx, logits, target, weight, upstream), None, None, None


def _gradients(
    ctx: Any, logits: Tensor, target: Tensor, weight: Tensor | None, upstream: Tensor
) -> list[Tensor | None]:
    """Of the loss, with respect to the three."""
    wanted = ctx.needs_input_grad[:3]
    # The gradient's own derivative, or many upstream gradients at once.
    if torch.is_grad_enabled() or _is_batched(upstream):
        return composed_gradients(ctx.loss, logits, target, weight, upstream, wanted)
    grads: list[Tensor | None] = [None, None, None]
    if wanted[1] or wanted[2]:
        others = (False, *wanted[1:])
        grads = composed_gradients(ctx.loss, logits, target, weight, upstream, others)
    if wanted[0]:
        given = (ctx.loss, logits, target, weight, ctx.summary, upstream)
        in_place = ctx.inplace_backward
        try:
            grads[0] = gradient(*given, logits.detach() if in_place else empty_like(logits))
        except BufferError:  # the target or the weight lies where the logits do, and is read yet
            grads[0], in_place = gradient(*given, empty_like(logits)), False
        if in_place:
            torch.autograd.graph.increment_version(logits)
    return grads


def _is_plain(loss: spec.Loss, logits: Tensor, target: Tensor) -> bool:
    """Whether the kernels can be told by addresses alone where everything is."""
    return (
        loss.is_plain_mean_or_sum
        and target.dtype is torch.int64
        and loss.axis == logits.ndim - 1
        and logits.is_contiguous()
        and target.is_contiguous()
        and not logits.is_neg()
        and logits.data_ptr() % logits.itemsize == 0
        and target.data_ptr() % 8 == 0
    )


def _plain_cross_entropy(
    loss: spec.Loss,
    logits: Tensor,
    target: Tensor,
    grad: Tensor | None = None,
    summary: Tensor | None = None,
    scale: float = 1.0,
) -> float:
    """The reduced loss; the gradient too, or the summary; of both, the gradient alone."""
    try:
        return _native.plain_cross_entropy(
            logits.data_ptr(),
            target.data_ptr(),
            0 if grad is None else grad.data_ptr(),
            0 if summary is None else summary.data_ptr(),
            _TYPES[logits.dtype],
            target.numel(),
            loss.classes,
            loss.ignore_index,  # type: ignore[arg-type]
            loss.label_smoothing,
            loss.reduction == "mean",
            scale,
        )
    except IndexError:  # a class index out of range; nothing was written
        spec.check_indices(loss.op, array(target), loss.classes, loss.ignore_index)
        raise


class _PlainCrossEntropy(torch.autograd.Function):
    """What most models ask for: mean or sum, of class indices, of rows one after another.

    A small batch gets loss and gradient from one call of the kernel, and the gradient waits for
    the upstream one. That is 1 nearly always. For another one, and for a second backward pass, the
    gradient is made again, so that its bits don't tell how it was made.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, target: Tensor, loss: spec.Loss, dtype: torch.dtype
    ) -> Tensor:
        grad = summary = None
        if logits.numel() <= _SMALL:
            grad = torch.empty_like(logits)
        else:
            summary = torch.empty(2 * target.numel(), dtype=torch.float64)
        value = _plain_cross_entropy(loss, logits, target, grad, summary)
        ctx.save_for_backward(logits, target)
        ctx.loss, ctx.grad, ctx.summary = loss, grad, summary
        return _scalar(value, dtype)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        logits, target = ctx.saved_tensors
        if torch.is_grad_enabled() or _is_batched(upstream):
            wanted = (True, False, False)
            grads = composed_gradients(ctx.loss, logits, target, None, upstream, wanted)
            return grads[0], None, None, None
        grad, ctx.grad = ctx.grad, None
        scale = upstream.item()
        if grad is None or scale != 1:
            grad = empty_like(logits)
            _plain_cross_entropy(ctx.loss, logits, target, grad, ctx.summary, scale)
        return grad, None, None, None


def cross_entropy_with_stats(
    loss: spec.Loss,
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    dtype: torch.dtype,
    k: int,
) -> tuple[Tensor, ...]:
    """The reduced loss; and a row its lse, its entropy, its largest class, and whether it hits."""
    results: tuple[Tensor, ...] = _CrossEntropyWithStats.apply(  # type: ignore[no-untyped-call]
        logits, target, weight, loss, dtype, k
    )
    return results


class _CrossEntropyWithStats(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        target: Tensor,
        weight: Tensor | None,
        loss: spec.Loss,
        dtype: torch.dtype,
        k: int,
    ) -> tuple[Tensor, ...]:
        arguments = _arguments(loss, logits, target, weight)
        rows = native.product(loss.rows)
        losses, summary, entropy = _row_losses(loss), np.empty((rows, 2)), np.empty(rows)
        argmax, hits = np.empty(rows, np.int64), np.empty(rows, np.bool_)
        buffers: dict[str, Any] = {"loss": losses, "summary": summary, "entropy": entropy}
        buffers |= {"k": k, "argmax": argmax, "hits": hits}
        total = _run(loss, target, arguments, buffers)
        lse = summary[:, 0] + np.log1p(summary[:, 1])
        if loss.target_kind == "index":
            lse[arguments["index"] == loss.ignore_index] = 0
        ctx.save_for_backward(logits, target, weight)
        ctx.loss, ctx.summary, ctx.inplace_backward = loss, summary, False
        ctx.set_materialize_grads(False)
        own = composed.dtype_of(logits)
        results = [
            torch.from_numpy(x).to(own if x.dtype == np.float64 else None).view(loss.rows)
            for x in (lse, entropy, argmax, hits)
        ]
        ctx.mark_non_differentiable(*results[2:])
        return reduce(loss, losses, total, dtype), *results

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor | None) -> Any:
        logits, target, weight = ctx.saved_tensors
        grads: list[Tensor | None] = [None, None, None]
        if upstream[0] is not None:
            grads = _gradients(ctx, logits, target, weight, upstream[0])
        others = [g for g in upstream[1:3] if g is not None]
        if others and ctx.needs_input_grad[0]:
            with torch.enable_grad():
                alone = logits.view_as(logits)
                _, *both, _, _ = composed.cross_entropy_with_stats(
                    ctx.loss, alone, target, weight, 1
                )
                asked = [x for x, g in zip(both, upstream[1:3], strict=True) if g is not None]
            (more,) = _differentiate(asked, [alone], others)
            grads[0] = more if grads[0] is None else grads[0] + more
        return *grads, None, None, None


def _is_batched(upstream: Tensor) -> bool:
    """Whether this stands for many gradients, as with is_grads_batched of torch.autograd.grad."""
    batched: bool = torch._C._functorch.is_legacy_batchedtensor(upstream)
    return batched or torch._C._are_functorch_transforms_active()


def loss_and_summary(
    loss: spec.Loss, logits: Tensor, target: Tensor, weight: Tensor | None, dtype: torch.dtype
) -> tuple[Tensor, Array]:
    """The reduced loss, and what the gradient needs of the forward pass."""
    losses = _row_losses(loss) if loss.reduction == "none" else None
    summary = np.empty((native.product(loss.rows), 2), np.float64)
    arguments = _arguments(loss, logits, target, weight)
    total = _run(loss, target, arguments, {"loss": losses, "summary": summary})
    return reduce(loss, losses, total, dtype), summary


def _row_losses(loss: spec.Loss) -> Array:
    return np.empty(native.product(loss.rows), np.float64)


def gradient(
    loss: spec.Loss,
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    summary: Array | None,
    upstream: Tensor,
    out: Tensor,
) -> Tensor:
    """The gradient with respect to the logits, from the forward pass's summary if that is given."""
    arguments = _arguments(loss, logits, target, weight)
    buffers: dict[str, Any] = {"grad": array(out)}
    if loss.reduction == "none":
        buffers["upstream"] = array(upstream.double().contiguous()).reshape(-1)
    else:
        buffers["scale"] = upstream.item()
    if summary is not None:
        buffers |= {"summary": summary, "from_summary": True}
    _run(loss, target, arguments, buffers)
    return out


def cross_entropy_with_grad(
    loss: spec.Loss, logits: Tensor, target: Tensor, weight: Tensor | None, out: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The reduced loss and its gradient in one go, the gradient in `out` if that is given."""
    grad = empty_like(logits.detach()) if out is None else out
    buffer = grad if out is None or _writable(out, logits, target, weight) else empty_like(grad)
    losses = _row_losses(loss) if loss.reduction == "none" else None
    arguments = _arguments(loss, logits, target, weight)
    total = _run(loss, target, arguments, {"loss": losses, "grad": array(buffer)})
    if buffer is not grad:
        with torch.no_grad():
            grad.copy_(buffer)
    elif out is not None:
        torch.autograd.graph.increment_version(out)
    return reduce(loss, losses, total, composed.dtype_of(logits)), grad


def _writable(out: Tensor, logits: Tensor, target: Tensor, weight: Tensor | None) -> bool:
    """Whether the kernels can write here while they read the inputs: over the logits or apart."""
    place = array(out)
    others = [array(x) for x in (target, weight) if x is not None]
    if not (out.data_ptr() == logits.data_ptr() and out.stride() == logits.stride()):
        others.append(array(logits))
    return not any(np.may_share_memory(place, other) for other in others)


def composed_gradients(
    loss: spec.Loss,
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    upstream: Tensor,
    wanted: tuple[bool, ...],
) -> list[Tensor | None]:
    """Gradients with respect to those of logits, target and weight that are wanted.

    They are part of the graph where gradients are enabled.
    """
    with torch.enable_grad():
        given = [
            _alone(x) if want else x
            for x, want in zip((logits, target, weight), wanted, strict=True)
        ]
        value = composed.cross_entropy(loss, *given)  # type: ignore[arg-type]
        value = value.to(upstream.dtype)
    inputs = [x for x, want in zip(given, wanted, strict=True) if want]
    grads = iter(_differentiate([value], inputs, [upstream]))
    return [next(grads) if want else None for want in wanted]


def _alone(x: Tensor | None) -> Tensor | None:
    """An input as this loss alone sees it: it may depend on another, whose share isn't ours."""
    return None if x is None else x.view_as(x)


def _differentiate(
    outputs: list[Tensor], inputs: list[Any], upstream: list[Tensor]
) -> Sequence[Tensor]:
    """Gradients, which are part of the graph where gradients are enabled."""
    keep_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        return torch.autograd.grad(outputs, inputs, upstream, create_graph=keep_graph)


def reduce(
    loss: spec.Loss, losses: Array | None, total: tuple[float, float], dtype: torch.dtype
) -> Tensor:
    """Losses a row as the caller wants them: each, their sum, or the sum over a denominator."""
    if loss.reduction == "none" and losses is not None:
        return torch.from_numpy(losses).to(dtype).view(loss.rows)
    value, denominator = total
    if loss.reduction == "mean":
        value = value / denominator if denominator else math.nan
    return _scalar(value, dtype)


def _scalar(value: float, dtype: torch.dtype) -> Tensor:
    try:
        return torch.scalar_tensor(value, dtype=dtype)
    except RuntimeError:  # beyond the dtype's largest number: inf
        return torch.scalar_tensor(value, dtype=torch.float64).to(dtype)


def _arguments(
    loss: spec.Loss, logits: Tensor, target: Tensor, weight: Tensor | None
) -> dict[str, Any]:
    """What every call of the kernel is given."""
    arguments: dict[str, Any] = {
        "logits": array(logits),
        "axis": loss.axis,
        "ignore_index": loss.ignore_index,
        "label_smoothing": loss.label_smoothing,
        "z_loss": loss.z_loss,
        "softcap": loss.softcap or 0.0,
        "temperature": loss.temperature,
        "mean": loss.reduction == "mean",
    }
    if loss.target_kind == "index":
        index = np.require(array(target.long()), requirements=["C", "A"])
        arguments["index"] = index.reshape(-1)
    else:
        mass = target if target.is_floating_point() else target.double()
        arguments["probabilities"] = array(mass)
    if weight is not None:
        wide = torch.float64 if logits.dtype == torch.float64 else torch.float32
        arguments["weight"] = array(weight.to(wide).contiguous())
    return arguments


def _run(
    loss: spec.Loss, target: Tensor, arguments: dict[str, Any], buffers: dict[str, Any]
) -> tuple[float, float]:
    """The sum of the losses, and what their mean divides by."""
    try:
        return _native.cross_entropy(**arguments, **buffers)
    except IndexError:  # a class index out of range; nothing was written
        spec.check_indices(loss.op, array(target), loss.classes, loss.ignore_index)
        raise
