"""A linear head and its loss together: all logits never exist at once.

api                 the public functions
arrays, tensors     checks, and which implementation computes
loop                `LinearHead`: the loop over chunks of rows, for any kind of array
problem             a linear head on tensors: the checked loss and its limits
matmuls             the loop's matmuls for NumPy; `torch_matmuls` for torch, by `engines`
autograd, stats     the loop as autograd functions
operators           the same as operators of torch.library, for compiled graphs
decompositions      torch operations: any device, any derivative
"""

from softxent.ops.linear.api import (
    LinearGradients,
    linear_cross_entropy,
    linear_cross_entropy_with_grad,
)

__all__ = ["LinearGradients", "linear_cross_entropy", "linear_cross_entropy_with_grad"]

# What torch.jit.script says of them.
for _function in (linear_cross_entropy, linear_cross_entropy_with_grad):
    _message = f"[{_function.__name__}] it can't be compiled: use torch.compile."
    setattr(_function, "__script_unsupported", _message)
