"""Every private name of torch that softxent uses, in one place.

Private names change without notice. `NAMES` lists them with what each one is for;
`missing()` returns those that the installed torch lacks, and a test prints them.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

__all__ = [
    "NAMES",
    "FakeTensor",
    "apply_function",
    "count_dispatch_modes",
    "has_internal_overlap",
    "has_onednn",
    "has_saved_tensor_hooks",
    "in_forward_mode",
    "in_jit_trace",
    "is_batched",
    "linear_by_onednn",
    "missing",
    "transforms_active",
    "without_transforms",
]

# Dotted names below `torch`, and what softxent needs each one for.
NAMES = {
    "_C._are_functorch_transforms_active": "torch.func transforms are served by decomposition",
    "_C._functorch.is_functorch_wrapped_tensor": "values under a transform are checked",
    "_C._functorch.get_unwrapped": "values under a transform are checked",
    "_C._functorch.is_legacy_batchedtensor": "is_grads_batched is served by decomposition",
    "_C._DisableFuncTorch": "values under a transform are checked",
    "_C._autograd._top_saved_tensors_default_hooks": "checkpoints keep no gradient in memory",
    "_C._len_torch_dispatch_stack": "tracers get an operator",
    "_C._get_tracing_state": "torch.jit.trace records the decomposition",
    "_C._has_mkldnn": "oneDNN is one of the matmul engines",
    "_subclasses.fake_tensor.FakeTensor": "tracers see these in place of ordinary tensors",
    "autograd.forward_ad._current_level": "forward-mode derivatives are served by decomposition",
    "_C._FunctionBase.apply": "Function.apply without its search for transforms",
    "_debug_has_internal_overlap": "expanded logits can't be overwritten",
    "ops.mkldnn._linear_pointwise": "a matmul by oneDNN in float32",
}


def missing() -> list[str]:
    """The names that the installed torch lacks."""
    absent = []
    for name in NAMES:
        try:
            functools.reduce(getattr, name.split("."), torch)
        except AttributeError:
            absent.append(name)
    return absent


if _absent := missing():
    raise ImportError(
        f"[softxent] torch {torch.__version__} lacks {', '.join(_absent)}, which softxent needs. "
        "Install a version of torch that pyproject.toml admits."
    )

FakeTensor = torch._subclasses.fake_tensor.FakeTensor
transforms_active = torch._C._are_functorch_transforms_active
count_dispatch_modes = torch._C._len_torch_dispatch_stack
has_internal_overlap = torch._debug_has_internal_overlap


def in_forward_mode() -> bool:
    """Whether forward-mode derivatives are being computed."""
    return forward_ad._current_level >= 0


def in_jit_trace() -> bool:
    """Whether torch.jit.trace is recording."""
    return torch._C._get_tracing_state() is not None


def is_batched(x: Tensor) -> bool:
    """Whether x stands for many tensors, as with is_grads_batched of torch.autograd.grad."""
    batched: bool = torch._C._functorch.is_legacy_batchedtensor(x)
    return batched or transforms_active()


def without_transforms(x: Tensor) -> tuple[Tensor, Any]:
    """A tensor below all torch.func transforms, and a context in which none is active.

    Under vmap that tensor holds all samples.
    """
    while torch._C._functorch.is_functorch_wrapped_tensor(x):
        x = torch._C._functorch.get_unwrapped(x)
    return x, torch._C._DisableFuncTorch()


def apply_function(function: type[torch.autograd.Function], *arguments: Any) -> Any:
    """function.apply without its search for torch.func transforms, which takes 2 us.

    Callers have made sure that no transform is active.
    """
    return super(torch.autograd.Function, function).apply(*arguments)  # type: ignore[misc]


def has_saved_tensor_hooks() -> bool:
    """Whether hooks decide what becomes of tensors that are saved for backward."""
    return torch._C._autograd._top_saved_tensors_default_hooks(False) is not None


def has_onednn() -> bool:
    """Whether torch was built with oneDNN."""
    return bool(torch._C._has_mkldnn)


def linear_by_onednn(a: Tensor, b: Tensor) -> Tensor:
    """The product a b by oneDNN, in float32."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise(a, b.T, None, "none", [], "")
    return result
