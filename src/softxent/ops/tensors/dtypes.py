"""Which dtype a tensor is computed in: torch's form of the rules in `softxent.ops.dtypes`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from softxent.ops.dtypes import COMPUTED_IN

__all__ = [
    "FLOATING",
    "HALF",
    "KERNEL_TYPE",
    "KIND",
    "NUMPY",
    "compute_dtype",
    "computed",
    "epsilon",
    "is_half",
    "loss_dtype",
]

_COMPUTED_IN: dict[torch.dtype, torch.dtype] = {
    getattr(torch, name): getattr(torch, computed) for name, computed in COMPUTED_IN.items()
}
FLOATING = tuple(_COMPUTED_IN)
HALF = tuple(dtype for dtype, computed in _COMPUTED_IN.items() if dtype.itemsize < 4)

# NumPy's letter for the kind of each dtype that a target may have.
KIND = {
    torch.bool: "b",
    torch.int8: "i",
    torch.int16: "i",
    torch.int32: "i",
    torch.int64: "i",
    torch.uint8: "u",
    torch.uint16: "u",
    torch.uint32: "u",
    torch.uint64: "u",
}

# NumPy's dtype where it has one: not for bfloat16.
NUMPY: dict[torch.dtype, np.dtype[Any]] = {
    dtype: np.dtype(name)
    for name, dtype in ((name, getattr(torch, name)) for name in COMPUTED_IN)
    if name != "bfloat16"
}

# How the compiled kernels number the types of logits (native/kernels.h).
KERNEL_TYPE = {torch.float32: 0, torch.float64: 1, torch.float16: 2, torch.bfloat16: 3}


def is_half(dtype: torch.dtype) -> bool:
    """Whether this is half precision, which is computed in float32."""
    return dtype in HALF


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype in which floating-point numbers of this dtype are computed."""
    return _COMPUTED_IN[dtype]


def computed(x: Tensor) -> Tensor:
    """The tensor in the dtype in which it is computed."""
    return x.float() if x.dtype in HALF else x


def epsilon(x: Tensor) -> float:
    """The distance from 1 to the next larger number; 0 for integers."""
    return torch.finfo(x.dtype).eps if x.is_floating_point() else 0.0


def loss_dtype(x: Tensor) -> torch.dtype:
    """The dtype of the loss of these logits: the one in which they are computed."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32
