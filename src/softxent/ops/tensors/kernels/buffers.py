"""Tensors' memory as the compiled kernels take it, and memory for results."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from softxent.ops.arrays.memory import POOLED_BYTES, uninitialized
from softxent.ops.spec import size_of
from softxent.ops.tensors.dtypes import NUMPY
from softxent.ops.types import Array

__all__ = ["Array", "as_array", "empty", "empty_like", "is_plain_memory", "most_threads"]

_ALONE = 2**11  # elements that every kernel computes in one thread


def as_array(x: Tensor) -> Array:
    """A tensor's own memory as an array; bfloat16, which NumPy doesn't know, as uint16."""
    if x.requires_grad:
        x = x.detach()
    if x.is_neg():  # the sign is a flag of the view and not yet in memory
        x = x.resolve_neg()
    if x.dtype is torch.bfloat16:
        x = x.view(torch.uint16)
    result: Array = x.numpy()
    return result if result.ndim <= 9 else np.ascontiguousarray(result)


def is_plain_memory(x: Tensor) -> bool:
    """Whether the tensor is contiguous and aligned, so that its address alone describes it."""
    return x.is_contiguous() and not x.is_neg() and x.data_ptr() % x.itemsize == 0


def most_threads(x: Tensor) -> int:
    """The most threads that a kernel may use for x: as many as torch.set_num_threads says.

    0, which is no limit, for tensors so small that one thread computes them in any case.
    """
    return torch.get_num_threads() if x.numel() > _ALONE else 0


def empty_like(x: Tensor) -> Tensor:
    """An uninitialized tensor like x; a large one in memory of released results."""
    if x.nbytes < POOLED_BYTES or not x.is_contiguous():
        return torch.empty_like(x, requires_grad=False)
    return empty(tuple(x.shape), x.dtype)


def empty(shape: tuple[int, ...], dtype: torch.dtype, *, keep: bool = True) -> Tensor:
    """An uninitialized tensor of any dtype; a large one in memory of released results.

    Fresh pages for a classifier's gradient can cost as much as one of the matmuls. With
    `keep=False` a large one comes from the system and goes back there.
    """
    if 0 in shape:
        return torch.empty(shape, dtype=dtype)
    if dtype in NUMPY:
        return torch.from_numpy(uninitialized(shape, NUMPY[dtype], keep=keep))
    size = size_of(shape) * dtype.itemsize
    memory = uninitialized((size,), np.dtype(np.uint8), keep=keep)
    return torch.from_numpy(memory).view(dtype).view(shape)
