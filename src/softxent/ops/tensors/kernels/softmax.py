"""Softmax, log-softmax and logsumexp of CPU tensors, with autograd."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from softxent import _native
from softxent.ops.tensors import decompositions, torch_private
from softxent.ops.tensors.kernels.buffers import as_array, empty_like, most_threads
from softxent.ops.tensors.kernels.derivatives import differentiate, independent
from softxent.ops.tensors.routing import kernels_take

__all__ = ["logsumexp", "softmax", "softmax_gradient", "softmax_gradient_by_decomposition"]


def softmax(x: Tensor, axis: int, *, log: bool, saves_result: bool = False) -> Tensor:
    """Softmax, or its logarithm, over an axis >= 0.

    Args:
        x, axis, log: as `softxent.ops.tensors.softmax`.
        saves_result: whether the backward pass computes from the result, as torch's does. Then x
            may be changed or freed before; from x itself the gradient has all its digits.
    """
    if x.requires_grad and torch.is_grad_enabled():
        result: Tensor = torch_private.apply_function(_Softmax, x, axis, log, saves_result)
        return result
    return _softmax(x, axis, log)


def _softmax(x: Tensor, axis: int, log: bool) -> Tensor:
    result = empty_like(x)
    _native.softmax(as_array(x), as_array(result), axis=axis, log=log, threads=most_threads(x))
    return result


class _Softmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, axis: int, log: bool, saves_result: bool) -> Tensor:
        result = _softmax(x, axis, log)
        ctx.save_for_backward(result if saves_result else x)
        ctx.call = axis, log, saves_result
        return result

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (saved,) = ctx.saved_tensors
        return softmax_gradient(upstream, saved, *ctx.call), None, None, None


def softmax_gradient(
    upstream: Tensor, saved: Tensor, axis: int, log: bool, from_result: bool
) -> Tensor:
    """The gradient with respect to x, differentiable; `saved` is x, or the result.

    softmax:        p_j (g_j - sum_k g_k p_k)
    log-softmax:    g_j - p_j sum_k g_k
    """
    if torch_private.is_batched(upstream) or not kernels_take(upstream, saved):
        return decompositions.softmax_gradient(
            upstream, saved, axis, log=log, from_result=from_result
        )
    call = upstream, saved, axis, log, from_result
    if torch.is_grad_enabled() and (upstream.requires_grad or saved.requires_grad):
        result: Tensor = torch_private.apply_function(_SoftmaxGradient, *call)
        return result
    return _softmax_gradient(*call)


def _softmax_gradient(
    upstream: Tensor, saved: Tensor, axis: int, log: bool, from_result: bool
) -> Tensor:
    result = empty_like(saved.detach())
    arrays = (as_array(x) for x in (saved, upstream, result))
    threads = most_threads(saved)
    _native.softmax_gradient(*arrays, axis=axis, log=log, from_result=from_result, threads=threads)
    return result


class _SoftmaxGradient(torch.autograd.Function):
    """The gradient by the kernel, and its own derivatives by decomposition."""

    @staticmethod
    def forward(ctx: Any, upstream: Tensor, saved: Tensor, *call: Any) -> Tensor:
        ctx.save_for_backward(upstream, saved)
        ctx.call = call
        return _softmax_gradient(upstream, saved, *call)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> Any:
        wanted = ctx.needs_input_grad[:2]
        grads = softmax_gradient_by_decomposition(ctx.saved_tensors, ctx.call, outer, wanted)
        return *grads, None, None, None


def softmax_gradient_by_decomposition(
    tensors: Sequence[Tensor], call: tuple[int, bool, bool], outer: Tensor, wanted: Sequence[bool]
) -> list[Tensor | None]:
    """The wanted derivatives of `softmax_gradient` with respect to its two tensors."""
    axis, log, from_result = call
    with torch.enable_grad():
        given = [independent(x) if want else x for x, want in zip(tensors, wanted, strict=True)]
        upstream, saved = given
        gradient = decompositions.softmax_gradient(
            upstream, saved, axis, log=log, from_result=from_result
        )
    inputs = [x for x, want in zip(given, wanted, strict=True) if want]
    grads = iter(differentiate([gradient], inputs, [outer]))
    return [next(grads) if want else None for want in wanted]


def logsumexp(x: Tensor, axis: int) -> Tensor:
    """Logsumexp over an axis >= 0, which the result lacks."""
    if x.requires_grad and torch.is_grad_enabled():
        result: Tensor = torch_private.apply_function(_LogSumExp, x, axis)
        return result
    return _logsumexp(x, axis)


def _logsumexp(x: Tensor, axis: int) -> Tensor:
    result = np.empty(x.shape[:axis] + x.shape[axis + 1 :], np.float64)
    _native.logsumexp(as_array(x), result, axis=axis, threads=most_threads(x))
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
