"""softxent's losses under torch's names: a drop-in replacement for `from torch import nn`.

    from softxent import nn                      # was: from torch import nn

    class Classifier(nn.Module):                 # torch's own
        ...
    criterion = nn.CrossEntropyLoss()            # softxent's

The names in `__all__` are softxent's. Every other public name of `torch.nn` (`nn.Module`,
`nn.Linear`, `nn.init`) is torch's own object, and so are the names of `torch.nn.functional` that
`softxent.nn.functional` doesn't define. docs/torch.md lists which is which.
"""

from typing import TYPE_CHECKING, Any

from softxent.errors import missing_extra

try:
    import torch
except ImportError:
    raise missing_extra("torch", needed_by="nn", extra="torch") from None

from softxent.nn import functional
from softxent.nn.losses import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    LinearCrossEntropyLoss,
    LogSoftmax,
    NLLLoss,
    Softmax,
)
from softxent.nn.patching import patch
from softxent.nn.stats import LossStats

# mypy keeps the first definition of a name and pyright the last, so softxent's are on both sides.
if TYPE_CHECKING:
    from torch.nn import *  # type: ignore[assignment, no-redef]  # noqa: F403

    from softxent.nn import functional as functional
    from softxent.nn.losses import *  # noqa: F403

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "LinearCrossEntropyLoss",
    "LogSoftmax",
    "LossStats",
    "NLLLoss",
    "Softmax",
    "functional",
    "patch",
]


def __getattr__(name: str) -> Any:
    """A public name that softxent doesn't define, from torch.nn."""
    if not name.startswith("_") and hasattr(torch.nn, name):
        return getattr(torch.nn, name)
    raise AttributeError(f"neither {__name__!r} nor 'torch.nn' has {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in dir(torch.nn) if not name.startswith("_"))})
