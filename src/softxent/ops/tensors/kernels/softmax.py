"""Softmax, log-softmax and logsumexp of CPU tensors, with autograd."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from softxent import _native
from softxent.ops.tensors import torch_private
from softxent.ops.tensors.kernels.buffers import as_array, empty_like, most_threads

__all__ = ["logsumexp", "softmax", "softmax_gradient"]


def softmax(x: Tensor, axis: int, *, log: bool) -> Tensor:
    """Softmax, or its logarithm, over an axis >= 0."""
    if x.requires_grad and torch.is_grad_enabled():
        result: Tensor = torch_private.apply_function(_Softmax, x, axis, log)
        return result
    return _softmax(x, axis, log)


def _softmax(x: Tensor, axis: int, log: bool) -> Tensor:
    result = empty_like(x)
    _native.softmax(as_array(x), as_array(result), axis=axis, log=log, threads=most_threads(x))
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
    """The gradient p (g - sum_j g_j p_j); for log-softmax g - p sum_j g_j.

    torch computes it, with its derivatives.
    """
    backward = torch_private.log_softmax_backward if log else torch_private.softmax_backward
    gradient: Tensor = backward(upstream, result, axis, result.dtype)
    return gradient


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
