"""Seeing the calls of a loss: whatever stands between two lines of somebody else's loop.

A module's `forward` is covered by an attribute of the instance, a function by one in its place in
`torch.nn.functional`. Both cost a quarter of a microsecond a call where nothing else runs, where a
forward hook costs more than one; both are gone afterwards.
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

from softxent.doctor.known_losses import FUNCTIONS, Loss

__all__ = ["Calls", "Seen"]

# Of the two questions for a compiler, the one that is a single cold call.
_compiling, _here = torch.compiler.is_dynamo_compiling, threading.get_ident

# The loss that was called, its positional arguments, its keywords, and what it returned.
Seen = Callable[[Loss, tuple[Any, ...], Mapping[str, Any], Any], None]


class Calls:
    """The calls of a loss, from `begin` to `end`, in the thread that began.

    All are counted; those from the `wanted` one on are shown, until another is wanted.

    Of a function that isn't torch's own, the calls of torch's losses within it are seen: a lambda
    around `F.cross_entropy` shows its arguments there.
    """

    def __init__(self, loss: Loss, see: Seen) -> None:
        self.count = 0
        self.wanted = 1
        self.see = see
        self._places = _places(loss)
        self._before: list[tuple[Any, str, Any]] = []

    def begin(self) -> None:
        """Cover the loss."""
        for owner, name in self._places:
            own = owner.__dict__.get(name)
            self._before.append((owner, name, own))
            setattr(owner, name, self._covered(getattr(owner, name), owner))

    def _covered(self, own: Callable[..., Any], owner: Any) -> _Covered:
        """The function, with a count of its calls and a look at some.

        Between the steps of a loop all of this is cold: each name that had to be looked up, and
        each call that isn't needed, would cost a fraction of a microsecond.
        """
        loss, thread = own if isinstance(owner, ModuleType) else owner, _here()

        def counted(*args: Any, **kwargs: Any) -> Any:
            value = own(*args, **kwargs)
            # Compiled code must not depend on what is counted here.
            if _compiling() or _here() != thread:
                return value
            self.count += 1
            if self.count >= self.wanted and not torch.compiler.is_compiling():
                self.see(loss, args, kwargs, value)
            return value

        covered = _Covered(counted)
        covered.own = own
        return covered

    def end(self) -> None:
        """Uncover it, as it was."""
        for owner, name, own in reversed(self._before):
            if own is None:
                delattr(owner, name)
            else:
                setattr(owner, name, own)
        self._before.clear()


def _places(loss: Loss) -> list[tuple[Any, str]]:
    if isinstance(loss, nn.Module):
        return [(loss, "forward")]
    places: list[tuple[Any, str]] = [(functional, name) for name in FUNCTIONS]
    name = getattr(loss, "__name__", "")
    home = sys.modules.get(getattr(loss, "__module__", None) or "")
    if name in FUNCTIONS and home is not functional and getattr(home, name, None) is loss:
        places.append((home, name))  # another library's function of the same name
    return places


class _Covered(functools.partial[Any]):
    """A function that is called as ever, and seen.

    It stands in a loss's `__dict__`, so whoever saves or copies the loss, or the model that holds
    it, meets it: what they get is the function alone.
    """

    own: Callable[..., Any]

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial, (self.own,)
