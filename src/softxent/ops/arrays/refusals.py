"""What isn't an array of numbers, and what to pass in its place.

NumPy reads nearly everything: a masked array loses its mask, text becomes an array of text, a
generator an array of one object. Each is refused by its name, with a remedy that works.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from numbers import Real
from typing import Any

import numpy as np

from softxent.errors import DTypeError
from softxent.ops.types import Array

__all__ = ["check_dense", "check_object", "plain_array", "remedy"]


def plain_array(op: str, name: str, x: Array) -> Array:
    """The array as NumPy's own class; one with a mask is refused, so that no mask is lost."""
    if isinstance(x, np.ma.MaskedArray) and x.dtype.names is None and np.ma.is_masked(x):
        count = int(np.ma.getmaskarray(x).sum())
        whole = name in _SCORES and x.dtype.kind in "iub"  # integers hold no infinity
        given = f"{name}.astype(float)" if whole else name
        raise DTypeError(
            f"[{op}] {name} is a masked array, and {count} of its {x.size} numbers "
            f"{'is' if count == 1 else 'are'} masked: replace them. "
            f"{_without_mask(given, 'filled')}"
        )
    return np.asarray(x)


_SCORES = ("x", "logits", "scores", "input")


def _without_mask(name: str, method: str) -> str:
    """What to pass in place of a masked argument."""
    if name.partition(".")[0] in _SCORES:
        return f"{name}.{method}(-numpy.inf) leaves these classes out."
    if name in ("target", "ids"):
        return (
            f"{name}.{method}(-100) leaves these rows out of a loss with ignore_index=-100; class "
            "probabilities need a number for every class."
        )
    return f"Pass {name}.{method}(value), with the value that they stand for."


def check_dense(op: str, name: str, x: Any, torch: Any) -> None:
    """A tensor holds one number in each place: it isn't nested, sparse or masked.

    Args:
        op, name: as `receive`.
        x: the tensor.
        torch: the module; this one doesn't load it.
    """
    if x.is_nested:
        raise DTypeError(
            f"[{op}] {name} is a nested tensor, whose rows may have different lengths: pass "
            f"{name}.to_padded_tensor(padding), or one row at a time."
        )
    if x.layout is not torch.strided:
        raise DTypeError(
            f"[{op}] {name} is a tensor of layout {x.layout}, not dense: pass {name}.to_dense()."
        )
    if type(x).__name__ == "MaskedTensor":
        raise DTypeError(
            f"[{op}] {name} is a masked tensor: replace what is masked. "
            f"{_without_mask(name, 'to_tensor').replace('numpy', 'torch')}"
        )


def check_object(op: str, name: str, x: Any) -> None:
    """An argument that is no array may be read by NumPy: numbers, or nested lists of them."""
    kind = type(x).__name__
    if x is None:
        raise DTypeError(f"[{op}] {name} is None: pass an array of numbers.")
    for method in ("toarray", "todense"):  # SciPy's sparse matrices; those of other libraries
        if hasattr(x, method):
            raise DTypeError(f"[{op}] {name} is a sparse {kind}: pass {name}.{method}().")
    if isinstance(x, Iterator | Set | Mapping):
        values = f"{name}.values()" if isinstance(x, Mapping) else name
        raise DTypeError(
            f"[{op}] {name} is a {kind}: pass an array or nested lists of numbers, e.g. "
            f"list({values})."
        )
    if _holds_mask(x):
        raise DTypeError(
            f"[{op}] {name} is a {kind} with masked numbers: make it a masked array, e.g. "
            f"numpy.ma.array({name}), and replace them. {_without_mask(name, 'filled')}"
        )


def _holds_mask(x: Any) -> bool:
    """Whether nested lists hold a masked number, whose mask `numpy.asarray` would drop."""
    if not isinstance(x, list | tuple):
        return False
    kinds = {*map(type, x)}
    if not any(issubclass(kind, list | tuple | np.ma.MaskedArray) for kind in kinds):
        return False
    return any(
        np.ma.is_masked(one) if isinstance(one, np.ma.MaskedArray) else _holds_mask(one)
        for one in x
    )


def remedy(name: str, array: Array) -> str:
    """What to pass in place of an array whose dtype is none of numbers."""
    dtype = array.dtype
    if dtype.names is not None:
        return (
            f"it has the fields {', '.join(dtype.names)}. Pass numbers, e.g. "
            f"numpy.lib.recfunctions.structured_to_unstructured({name})."
        )
    if dtype.kind == "O":
        return _remedy_for_objects(name, array)
    if dtype.kind in "USTa":
        return _remedy_for_text(name)
    if dtype.kind in "Mm":
        return "dates and times aren't classes or scores. Pass real numbers."
    if dtype.kind == "c":
        return f"pass real numbers, e.g. {name}.real."
    return f"pass real numbers of at most 64 bits, e.g. {name}.astype(numpy.float64)."


def _remedy_for_text(name: str) -> str:
    if name in ("target", "ids", "predicted"):
        return (
            "text names no class. Number the classes: classes, index = "
            f"numpy.unique({name}, return_inverse=True)."
        )
    return "pass numbers, not text."


def _remedy_for_objects(name: str, array: Array) -> str:
    """By the first object that isn't a real number."""
    for flat, value in enumerate(array.reshape(-1)):
        if isinstance(value, str | bytes):
            return _remedy_for_text(name)
        if not isinstance(value, Real | np.bool_):
            where = name
            if array.ndim:
                position = np.unravel_index(flat, array.shape)
                where += f"[{', '.join(map(str, position))}]"
            what = repr(value) if len(repr(value)) <= 20 else f"a {type(value).__name__}"
            return f"{where} is {what}. Pass real numbers; replace what is missing first."
    return f"pass real numbers of at most 64 bits, e.g. {name}.astype(numpy.float64)."
