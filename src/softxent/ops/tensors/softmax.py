"""Softmax, logsumexp, top-k and one-hot of tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from softxent.errors import DTypeError
from softxent.ops import spec
from softxent.ops.tensors import decompositions, intake, kernels, operators
from softxent.ops.tensors.routing import is_traced, kernels_take

__all__ = ["logsumexp", "one_hot", "softmax", "top_k"]


def softmax(op: str, x: Tensor, axis: int, out: Tensor | None, *, log: bool) -> Tensor:
    """Softmax, or its logarithm, over one axis."""
    intake.check_floating(op, "x", x)
    axis = spec.check_axis(op, axis, x.ndim)
    if not kernels_take(x):
        result = decompositions.softmax(x, axis, log=log)
    elif is_traced():
        result = operators.softmax(x, axis, log)
    else:
        result = kernels.softmax(x, axis, log=log)
    return result if out is None else intake.copy_to(op, out, result, x)


def logsumexp(op: str, x: Tensor, axis: int, keepdims: bool) -> Tensor:
    """Logsumexp over one axis."""
    intake.check_floating(op, "x", x)
    axis = spec.check_axis(op, axis, x.ndim)
    if not kernels_take(x):
        result = decompositions.logsumexp(x, axis)
    elif is_traced():
        result = operators.logsumexp(x, axis)
    else:
        result = kernels.logsumexp(x, axis)
    return result.unsqueeze(axis) if keepdims else result


def top_k(op: str, x: Tensor, k: int, axis: int) -> tuple[Tensor, Tensor]:
    """The k largest values and their indices; the lower of two equal indices comes first.

    A stable sort keeps the order of equals, which torch.topk leaves open.
    """
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
