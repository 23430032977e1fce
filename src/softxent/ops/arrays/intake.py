"""What callers hand in, as NumPy arrays; and results back in the kind that was handed in."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from softxent.errors import DTypeError, ShapeError

__all__ = ["is_bfloat16", "is_tensor", "kind_of", "precision", "receive", "receive_optional"]

Array = npt.NDArray[Any]

# NumPy's letters for real numbers of at most 64 bits: what most calls bring needs no more than a
# look.
_EVERYDAY = frozenset("?bBhHiIlLqQefd")


def is_tensor(x: object) -> bool:
    """Whether x is a torch tensor; torch is not imported for the question."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def receive(op: str, name: str, x: Any) -> tuple[Array, Callable[[Array], Any]]:
    """X as a NumPy array without a copy where that is possible, and the way back to x's kind.

    Args:
        op: the public function's name, for messages.
        name: the argument's name.
        x: a NumPy array, nested lists of numbers, or anything that exports `__dlpack__`.

    Returns:
        The array, and a function that turns a result into the kind of x: an array of x's own
        library where x says how (the array API's `__array_namespace__`), else a NumPy array.

    Raises:
        ShapeError: nested lists of different lengths.
        DTypeError: not real numbers of at most 64 bits, or memory that NumPy can't reach.
    """
    if type(x) is np.ndarray and x.dtype.char in _EVERYDAY:
        return x, _itself
    export: Callable[[Array], Any] = _itself
    if isinstance(x, np.ndarray):
        array = np.asarray(x)
    elif is_tensor(x):
        x = x.detach().cpu()
        array = (x.float() if str(x.dtype) == "torch.bfloat16" else x).numpy()
    elif hasattr(x, "__dlpack__") and not isinstance(x, np.generic):
        array = _reach(op, name, x)
        namespace = getattr(x, "__array_namespace__", None)
        export = _itself if namespace is None else _exporter(namespace())
    else:
        try:
            array = np.asarray(x)
        except ValueError:
            raise ShapeError(
                f"[{op}] {name} isn't rectangular: its rows have different lengths."
            ) from None
    if kind_of(array.dtype) not in "fiub" or array.dtype.itemsize > 8:
        raise DTypeError(
            f"[{op}] {name} has dtype {array.dtype}: pass real numbers of at most 64 bits, e.g. "
            f"{name}.astype(numpy.float64)."
        )
    return array, export


def _reach(op: str, name: str, x: Any) -> Array:
    try:
        return np.from_dlpack(x)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        if hasattr(x, "__array__"):
            return np.asarray(x)  # DLPack and NumPy share no bfloat16
        raise DTypeError(
            f"[{op}] {name} is a {type(x).__name__} whose memory NumPy can't reach ({error}). "
            "Pass an array on the CPU."
        ) from None


def receive_optional(op: str, name: str, x: Any) -> Array | None:
    """As `receive`, for an argument that may be None; the way back isn't needed."""
    return None if x is None else receive(op, name, x)[0]


def precision(dtype: np.dtype[Any]) -> float:
    """The distance from 1 to the next number of a dtype; that of float64 for integers."""
    if is_bfloat16(dtype):
        return 2.0**-7
    return float(np.finfo(dtype if dtype.kind == "f" else np.float64).eps)


def kind_of(dtype: np.dtype[Any]) -> str:
    """NumPy's letter for the kind of a dtype; bfloat16, which NumPy doesn't know, is a float."""
    return dtype.kind if dtype.isbuiltin == 1 or not is_bfloat16(dtype) else "f"


def is_bfloat16(dtype: np.dtype[Any]) -> bool:
    """Whether this is ml_dtypes' bfloat16; NumPy's own dtypes are told apart without a name."""
    return dtype.isbuiltin != 1 and dtype.name == "bfloat16"


def _itself(result: Array) -> Any:
    return result


def _exporter(namespace: Any) -> Callable[[Array], Any]:
    def export(result: Array) -> Any:
        array = np.asarray(result)
        make = namespace.asarray if array.dtype.kind == "V" else namespace.from_dlpack
        return make(array)  # NumPy exports no bfloat16 to DLPack

    return export
