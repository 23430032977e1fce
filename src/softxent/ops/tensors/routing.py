"""Which implementation serves which tensors.

Ordinary tensors on the CPU go to the compiled kernels (`softxent.ops.tensors.kernels`). While
torch.compile, torch.export or another tracer records, they go to an operator that the tracer
records as a whole (`softxent.ops.tensors.operators`). Everything else is decomposed into torch
operations (`softxent.ops.tensors.decompositions`): other devices, meta tensors, subclasses, the
transforms of torch.func, forward-mode derivatives.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from softxent.ops.tensors import torch_private

__all__ = ["is_ordinary", "is_traced", "kernels_take", "on_cpu", "wants_gradient"]

_ORDINARY = (Tensor, torch.nn.Parameter)


def is_ordinary(x: Tensor) -> bool:
    """Whether this is a tensor of torch's own class, no subclass."""
    return type(x) in _ORDINARY


def is_traced() -> bool:
    """Whether torch.compile, torch.export or another tracer records the operations."""
    return torch.compiler.is_compiling() or torch_private.count_dispatch_modes() > 0


def kernels_take(*tensors: Tensor | None) -> bool:
    """Whether these are ordinary CPU tensors, and autograd alone works on them."""
    if torch_private.transforms_active() or not on_cpu(*tensors):
        return False
    return torch.compiler.is_compiling() or not (
        torch_private.in_forward_mode() or torch_private.in_jit_trace()
    )


def on_cpu(*tensors: Tensor | None) -> bool:
    """Whether these are dense tensors on the CPU and no subclasses, but for a tracer's own."""
    for x in tensors:
        if x is None:
            continue
        if type(x) in _ORDINARY:
            cpu = x.is_cpu
        else:
            fake = isinstance(x, torch_private.FakeTensor)
            cpu = fake and is_traced() and x.device.type == "cpu"
        if not (cpu and x.layout is torch.strided) or x.is_nested:
            return False
    return True


def wants_gradient(*arguments: Any) -> bool:
    """Whether one of these requires a gradient."""
    return any(isinstance(x, Tensor) and x.requires_grad for x in arguments)
