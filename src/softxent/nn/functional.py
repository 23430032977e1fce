"""A drop-in replacement for `torch.nn.functional`.

The names in `__all__` are softxent's. Every other public name (`relu`, `linear`) is torch's own.
"""

from typing import TYPE_CHECKING, Any

import torch

from softxent.nn.functions import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    cross_entropy_with_stats,
    log_softmax,
    nll_loss,
    softmax,
)
from softxent.nn.linear import (
    linear_cross_entropy,
    linear_cross_entropy_with_stats,
    linear_log_prob_and_entropy,
)

# mypy keeps the first definition of a name and pyright the last, so softxent's are on both sides.
if TYPE_CHECKING:
    from torch.nn.functional import *  # type: ignore[assignment]  # noqa: F403

    from softxent.nn.functions import *  # noqa: F403
    from softxent.nn.linear import *  # noqa: F403

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "cross_entropy_with_stats",
    "linear_cross_entropy",
    "linear_cross_entropy_with_stats",
    "linear_log_prob_and_entropy",
    "log_softmax",
    "nll_loss",
    "softmax",
]


def __getattr__(name: str) -> Any:
    """A public name that softxent doesn't define, from torch.nn.functional."""
    if not name.startswith("_") and hasattr(torch.nn.functional, name):
        return getattr(torch.nn.functional, name)
    raise AttributeError(f"neither {__name__!r} nor 'torch.nn.functional' has {name!r}")


def __dir__() -> list[str]:
    theirs = (name for name in dir(torch.nn.functional) if not name.startswith("_"))
    return sorted({*__all__, *theirs})


def _adopt(name: str) -> None:
    """Give a function its public path, and torch.jit.script what it compiles in its place."""
    function = globals()[name]
    function.__module__ = __name__  # for tracebacks, documentation and `softxent.doctor.watch`
    theirs = getattr(torch.nn.functional, name, None)
    if theirs is not None and name != "linear_cross_entropy":
        function.__prepare_scriptable__ = lambda: theirs
    else:
        function.__script_unsupported = f"[{name}] it can't be compiled: use torch.compile."


for _name in __all__:
    _adopt(_name)
