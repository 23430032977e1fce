"""Observe the calls of a loss in code that isn't ours.

A module's `forward` is wrapped by an attribute of the instance, a function by a replacement in
`torch.nn.functional`. Both cost a quarter of a microsecond per call that isn't reported, less than
a forward hook, and both are removed afterwards.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from softxent.doctor.losses.known_losses import FUNCTIONS, Loss

__all__ = ["LossCalls", "OnCall"]

# Looked up once. Of torch's two questions for a compiler this is the cheaper one.
_compiling, _current_thread = torch.compiler.is_dynamo_compiling, threading.get_ident

# Gets the loss that was called, its positional arguments, its keywords, and what it returned.
OnCall = Callable[[Loss, tuple[Any, ...], Mapping[str, Any], Any], None]


class LossCalls:
    """Counts the calls of a loss between `start` and `stop`, in the thread that called `start`.

    Of a function that isn't torch's own, the calls of torch's losses inside it are counted: of a
    lambda around `F.cross_entropy`, the calls of `F.cross_entropy`.

    Attributes:
        count: the number of calls so far.
        next_reported: the call, counted from 1, from which on calls are reported to `on_call`.
    """

    def __init__(self, loss: Loss, on_call: OnCall) -> None:
        self.count = 0
        self.next_reported = 1
        self._on_call = on_call
        self._places = _places(loss)
        self._replaced: list[tuple[Any, str, Any]] = []

    def start(self) -> None:
        """Wrap the loss."""
        for owner, name in self._places:
            own = owner.__dict__.get(name)
            self._replaced.append((owner, name, own))
            setattr(owner, name, self._wrapped(getattr(owner, name), owner))

    def _wrapped(self, own: Callable[..., Any], owner: Any) -> _CountingFunction:
        """The function, with a counter and a callback.

        Between the steps of a training loop the caches are cold, so each attribute lookup and each
        avoidable call here costs a fraction of a microsecond.
        """
        loss, thread = own if isinstance(owner, ModuleType) else owner, _current_thread()

        def counted(*args: Any, **kwargs: Any) -> Any:
            value = own(*args, **kwargs)
            # Compiled code must not depend on what is counted here.
            if _compiling() or _current_thread() != thread:
                return value
            self.count += 1
            if self.count >= self.next_reported and not torch.compiler.is_compiling():
                self._on_call(loss, args, kwargs, value)
            return value

        function = _CountingFunction(counted)
        function.own = own
        return function

    def stop(self) -> None:
        """Restore the loss."""
        for owner, name, own in reversed(self._replaced):
            if own is None:
                delattr(owner, name)
            else:
                setattr(owner, name, own)
        self._replaced.clear()


def _places(loss: Loss) -> list[tuple[Any, str]]:
    """The attributes that have to be replaced to observe a loss: (owner, name)."""
    if isinstance(loss, nn.Module):
        return [(loss, "forward")]
    places: list[tuple[Any, str]] = [(functional, name) for name in FUNCTIONS]
    name = getattr(loss, "__name__", "")
    home = sys.modules.get(getattr(loss, "__module__", None) or "")
    if name in FUNCTIONS and home is not functional and getattr(home, name, None) is loss:
        places.append((home, name))  # another library's function of the same name
    return places


class _CountingFunction(functools.partial[Any]):
    """A wrapped function that is pickled and copied as the original one.

    It is an attribute of the loss, so it is saved and copied with the loss, or with the model that
    contains the loss.
    """

    own: Callable[..., Any]

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial, (self.own,)
