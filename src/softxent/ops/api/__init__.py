"""The public functions on arrays and tensors: documentation, argument binding, dispatch."""

from softxent.ops.api.cross_entropy import cross_entropy, cross_entropy_with_grad
from softxent.ops.api.losses import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    log_loss,
    nll_loss,
)
from softxent.ops.api.softmax import log_softmax, logsumexp, one_hot, softmax, top_k

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "cross_entropy_with_grad",
    "log_loss",
    "log_softmax",
    "logsumexp",
    "nll_loss",
    "one_hot",
    "softmax",
    "top_k",
]

# What torch.jit.script says of them.
for _name in __all__:
    setattr(
        globals()[_name],
        "__script_unsupported",
        f"[{_name}] it can't be compiled: use torch.compile.",
    )
