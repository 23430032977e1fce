"""Replace torch.nn.functional's functions, for code that can't change its import."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

import torch

from softxent.nn import functions
from softxent.ops.tensors import kernels_take

__all__ = ["patch"]

_NAMES = (
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "log_softmax",
    "nll_loss",
    "softmax",
)


class patch:  # noqa: N801  (it is called like a function)
    """Make torch.nn.functional use softxent: its losses, torch.nn's modules, models that call it.

        with softxent.nn.patch():            # inside this block
            train(model)

        active = softxent.nn.patch()         # from here to undo()
        active.undo()

    Softmax, log_softmax, cross_entropy, nll_loss and the two binary cross-entropies are patched.
    Calls that softxent's kernels don't serve (tensors on other devices, subclasses, transforms of
    torch.func, integers, a softmax without `dim`) go to torch's own function. Patches count: torch
    is as before when the last one is undone, in any order.

    Code that imported a function before (`from torch.nn.functional import cross_entropy`) keeps
    torch's.

    Example:
        >>> criterion = torch.nn.CrossEntropyLoss()
        >>> with patch():
        ...     loss = criterion(torch.tensor([[20.0, 0.0]]), torch.tensor([0]))
        >>> f"{loss:.2e}"                    # torch alone says 0.00e+00
        '2.06e-09'

    See Also: `softxent.nn` as a replacement of `torch.nn` in code whose import can change.
    """

    def __init__(self) -> None:
        self._active = True
        _install()

    def undo(self) -> None:
        """End this patch; a second call has no effect."""
        if self._active:
            self._active = False
            _uninstall()

    def __enter__(self) -> patch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.undo()


_lock = threading.Lock()
_installed: dict[str, tuple[Any, Any]] = {}  # name: torch's function and ours
_count = 0


def _install() -> None:
    global _count
    with _lock:
        _count += 1
        if _count > 1:
            return
        for name in _NAMES:
            theirs = getattr(torch.nn.functional, name)
            ours = _with_fallback(getattr(functions, name), theirs)
            _installed[name] = (theirs, ours)
            setattr(torch.nn.functional, name, ours)


def _uninstall() -> None:
    global _count
    with _lock:
        _count -= 1
        if _count > 0:
            return
        for name, (theirs, ours) in _installed.items():
            # A function that was patched over ours stays, and calls torch's through ours.
            if getattr(torch.nn.functional, name) is ours:
                setattr(torch.nn.functional, name, theirs)
        _installed.clear()


def _with_fallback(ours: Callable[..., Any], theirs: Callable[..., Any]) -> Callable[..., Any]:
    """Call ours while a patch is active and where it serves the arguments, else theirs."""

    @functools.wraps(theirs)
    def either(input: Any, *arguments: Any, **keywords: Any) -> Any:
        if _count > 0 and _serves(ours, input, arguments, keywords):
            return ours(input, *arguments, **keywords)
        return theirs(input, *arguments, **keywords)

    return either


def _serves(
    ours: Callable[..., Any], input: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> bool:
    every = (input, *arguments, *keywords.values())
    tensors = [x for x in every if isinstance(x, torch.Tensor)]
    if not (isinstance(input, torch.Tensor) and kernels_take(*tensors)):
        return False
    if ours in (functions.softmax, functions.log_softmax):
        dim = arguments[0] if arguments else keywords.get("dim")
        dtype = arguments[2] if len(arguments) > 2 else keywords.get("dtype")
        return dim is not None and (dtype or input.dtype).is_floating_point
    return input.is_floating_point()
