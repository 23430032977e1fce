"""Replace torch.nn.functional's functions, for code that can't change its import."""

from __future__ import annotations

import contextlib
import functools
import threading
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any, cast

import torch
from torch import Tensor

from softxent.errors import SoftxentError
from softxent.nn import functional, functions
from softxent.ops.options import IGNORE_INDEX, LossOptions, Reduction
from softxent.ops.tensors import kernels_take

__all__ = ["patch"]


class patch:  # noqa: N801  (it is called like a function)
    """Make torch.nn.functional use softxent: its losses, torch.nn's modules, models that call it.

        with softxent.nn.patch():            # inside this block
            train(model)

        active = softxent.nn.patch()         # from here to undo()
        active.undo()

    Softmax, log_softmax, cross_entropy, nll_loss, the two binary cross-entropies and, in versions
    of torch that have it, linear_cross_entropy are patched. A program that runs with torch's
    functions runs with the patch:

    - Calls that softxent's kernels don't serve (tensors on other devices, subclasses, transforms of
      torch.func, integers, a softmax without `dim`) go to torch's own function, and so does
      torch.jit.script.
    - Arguments that only softxent refuses, such as negative class probabilities, are computed by
      torch's function after a warning. What both refuse raises softxent's error, which is also a
      RuntimeError and an instance of the class that torch raises.
    - Logits may be changed in place between forward and backward, as with torch's functions. For
      this the gradient of a cross-entropy is computed in the forward pass (half precision and
      reduction="none" keep a copy of the logits), and those of softmax and log_softmax from their
      results.

    Patches count: torch is as before when the last one is undone, in any order. Code that imported
    a function before (`from torch.nn.functional import cross_entropy`) keeps torch's.

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
        for name, ours in _OURS.items():
            if theirs := getattr(torch.nn.functional, name, None):
                either = _with_fallback(name, ours, theirs)
                _installed[name] = (theirs, either)
                setattr(torch.nn.functional, name, either)


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


def _with_fallback(name: str, ours: Callable[..., Any], theirs: Callable[..., Any]) -> Any:
    """A function that calls ours while a patch is active and serves the arguments, else theirs."""

    @functools.wraps(theirs)
    def either(input: Any, *arguments: Any, **keywords: Any) -> Any:
        if _count == 0 or not _serves(name, input, arguments, keywords):
            return theirs(input, *arguments, **keywords)
        try:
            return ours(input, *arguments, **keywords)
        except Exception as error:
            refused = error
        return _as_torch_would(refused, theirs, input, *arguments, **keywords)

    either.__prepare_scriptable__ = lambda: theirs  # type: ignore[attr-defined]  # torch.jit.script
    return either


def _as_torch_would(
    error: Exception, theirs: Callable[..., Any], *arguments: Any, **keywords: Any
) -> Any:
    """What torch's own function does with arguments that ours refuses.

    If it computes them, the program gets its result and a warning with our message. If it refuses
    them too, it gets our message in an error that is also torch's, for handlers of either.
    """
    try:
        result = theirs(*arguments, **keywords)
    except Exception as torchs:
        if not isinstance(error, SoftxentError):
            raise
        ours: Any = type(error)
        raise _error_class(ours, cast(Any, type(torchs)))(*error.args) from None
    with contextlib.suppress(Warning):  # even where warnings are errors, the program goes on
        warnings.warn(f"{error} torch computes it nevertheless.", stacklevel=3)
    return result


@functools.cache
def _error_class(ours: Any, theirs: Any) -> type[Exception]:
    """A class for errors that are ours, torch's, and a RuntimeError."""
    if issubclass(theirs, ours):  # from a patched function that torch's calls
        return theirs  # type: ignore[no-any-return]
    others = [kind for kind in (theirs, RuntimeError) if not issubclass(ours, kind)]
    if len(others) == 2 and issubclass(theirs, RuntimeError):
        others = [theirs]
    body = {"__reduce__": _reduce, "__doc__": ours.__doc__, "__module__": ours.__module__}
    try:
        result: type[Exception] = type(ours.__name__, (ours, *others), body)
    except TypeError:  # torch's has a memory layout of its own
        return ours  # type: ignore[no-any-return]
    return result


def _reduce(error: Exception) -> tuple[Any, ...]:
    ours = type(error).__mro__[1]
    return ours, error.args


def _cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduce: bool | None = None,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Ours, where torch lets the program change its logits before the backward pass."""
    if size_average is not None or reduce is not None:
        reduction = functions.legacy_reduction(size_average, reduce)
    options = LossOptions(
        weight=weight,
        ignore_index=ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )
    return functions.cross_entropy_with_options(input, target, options, logits_may_change=True)


def _softmax(
    input: Tensor,
    dim: int | None = None,
    _stacklevel: int = 3,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Ours, where torch lets the program change or free the argument before the backward pass."""
    return functions.any_softmax("softmax", input, dim, _stacklevel, dtype, saves_result=True)


def _log_softmax(
    input: Tensor,
    dim: int | None = None,
    _stacklevel: int = 3,
    dtype: torch.dtype | None = None,
) -> Tensor:
    return functions.any_softmax("log_softmax", input, dim, _stacklevel, dtype, saves_result=True)


def _linear_cross_entropy(
    input: Tensor, linear_weight: Tensor, target: Tensor, **keywords: Any
) -> Tensor:
    """Ours, in the dtype of torch's."""
    loss = functional.linear_cross_entropy(input, linear_weight, target, **keywords)
    return loss.to(input.dtype)


_OURS: dict[str, Callable[..., Any]] = {
    "binary_cross_entropy": functions.binary_cross_entropy,
    "binary_cross_entropy_with_logits": functions.binary_cross_entropy_with_logits,
    "cross_entropy": _cross_entropy,
    "linear_cross_entropy": _linear_cross_entropy,  # in newer versions of torch
    "log_softmax": _log_softmax,
    "nll_loss": functions.nll_loss,
    "softmax": _softmax,
}


def _serves(name: str, input: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> bool:
    every = (input, *arguments, *keywords.values())
    tensors = [x for x in every if isinstance(x, Tensor)]
    if not (isinstance(input, Tensor) and kernels_take(*tensors)):
        return False
    if name in ("softmax", "log_softmax"):
        dim = arguments[0] if arguments else keywords.get("dim")
        dtype = arguments[2] if len(arguments) > 2 else keywords.get("dtype")
        return dim is not None and (dtype or input.dtype).is_floating_point
    if name == "linear_cross_entropy":
        weight = arguments[0] if arguments else keywords.get("linear_weight")
        if not (isinstance(weight, Tensor) and weight.ndim == 2):
            return False
    return input.is_floating_point()
