"""Softmax, logsumexp, top-k and one-hot of tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from softxent.errors import DTypeError
from softxent.ops import spec
from softxent.ops.arrays.refusals import check_dense
from softxent.ops.tensors import decompositions, intake, kernels, operators
from softxent.ops.tensors.routing import is_traced, kernels_take
from softxent.ops.types import Axes

__all__ = ["logsumexp", "one_hot", "softmax", "top_k"]


def softmax(
    op: str, x: Tensor, axis: Axes, out: Tensor | None, *, log: bool, saves_result: bool = False
) -> Tensor:
    """Softmax, or its logarithm, over one or several axes; `kernels` explains `saves_result`."""
    intake.check_floating(op, "x", x)
    axes = spec.check_axes(op, axis, x.ndim)
    if len(axes) == 1:
        result = _softmax(x, axes[0], log=log, saves_result=saves_result)
    else:
        rows = _joined(x, axes)
        last = rows.ndim - 1
        result = _softmax(rows, last, log=log, saves_result=saves_result)
        result = _apart(result, x.shape, axes)
    return result if out is None else intake.copy_to(op, out, result, x)


def _softmax(x: Tensor, axis: int, *, log: bool, saves_result: bool) -> Tensor:
    if not kernels_take(x):
        return decompositions.softmax(x, axis, log=log)
    if is_traced():
        result: Tensor = operators.softmax(x, axis, log, saves_result)
        return result
    return kernels.softmax(x, axis, log=log, saves_result=saves_result)


def logsumexp(op: str, x: Tensor, axis: Axes, keepdims: bool) -> Tensor:
    """Logsumexp over one or several axes."""
    intake.check_floating(op, "x", x)
    axes = spec.check_axes(op, axis, x.ndim)
    if len(axes) == 1:
        result = _logsumexp(x, axes[0])
    else:
        rows = _joined(x, axes)
        result = _logsumexp(rows, rows.ndim - 1)
    for position in axes if keepdims else ():
        result = result.unsqueeze(position)
    return result


def _logsumexp(x: Tensor, axis: int) -> Tensor:
    if not kernels_take(x):
        return decompositions.logsumexp(x, axis)
    if is_traced():
        result: Tensor = operators.logsumexp(x, axis)
        return result
    return kernels.logsumexp(x, axis)


def _joined(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """The tensor with these axes, any number of them, as one axis at the end."""
    if not axes:
        return x.unsqueeze(-1)
    moved = x.movedim(axes, tuple(range(-len(axes), 0)))
    return moved.flatten(x.ndim - len(axes))


def _apart(x: Tensor, shape: Sequence[int], axes: tuple[int, ...]) -> Tensor:
    """The inverse of `_joined`, for a tensor that had this shape."""
    if not axes:
        return x.squeeze(-1)
    apart: Tensor = x.unflatten(-1, [shape[i] for i in axes])
    return apart.movedim(tuple(range(-len(axes), 0)), axes)


def top_k(op: str, x: Tensor, k: int, axis: int) -> tuple[Tensor, Tensor]:
    """The k largest values and their indices; the lower of two equal indices comes first.

    A stable sort keeps the order of equals, which torch.topk leaves open.
    """
    check_dense(op, "x", x, torch)
    if x.is_complex():
        raise DTypeError(f"[{op}] x has dtype {x.dtype}: complex numbers have no order.")
    axis = spec.check_axis(op, axis, x.ndim)
    k = spec.check_k(op, k, x.shape[axis])
    values, indices = torch.sort(x, dim=axis, descending=True, stable=True)
    return values.narrow(axis, 0, k), indices.narrow(axis, 0, k)


def one_hot(op: str, target: Tensor, classes: int) -> Tensor:
    """Zeros with a one at each index."""
    check_dense(op, "target", target, torch)
    if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
        raise DTypeError(f"[{op}] target has dtype {target.dtype}: class indices are integers.")
    intake.check_indices(op, target, classes, None)
    zeros = target.new_zeros((*target.shape, classes), dtype=torch.int64)
    return zeros.scatter(-1, target.long()[..., None], 1)
