"""What callers hand in, as NumPy arrays; and results back in the kind that was handed in."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from softxent.errors import DTypeError, ShapeError

__all__ = ["is_tensor", "kind_of", "receive", "receive_optional"]

Array = npt.NDArray[Any]


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
        DTypeError: not numbers, or memory that NumPy can't reach.
    """
    if isinstance(x, np.ndarray):
        return x, _itself
    if is_tensor(x):
        return x.detach().cpu().numpy(), _itself
    if hasattr(x, "__dlpack__") and not isinstance(x, np.generic):
        try:
            array = np.from_dlpack(x)
        except (BufferError, RuntimeError, TypeError, ValueError) as error:
            raise DTypeError(
                f"[{op}] {name} is a {type(x).__name__} whose memory NumPy can't reach ({error}). "
                "Pass an array on the CPU."
            ) from None
        namespace = getattr(x, "__array_namespace__", None)
        return array, _itself if namespace is None else _exporter(namespace())
    try:
        array = np.asarray(x)
    except ValueError:
        raise ShapeError(
            f"[{op}] {name} isn't rectangular: its rows have different lengths."
        ) from None
    if array.dtype.kind not in "fiub" and array.dtype.name != "bfloat16":
        raise DTypeError(f"[{op}] {name} doesn't hold real numbers: NumPy sees {array.dtype}.")
    if array.size == 0 and not hasattr(x, "__array__"):
        array = array.astype(np.float64)  # an empty list has no dtype of its own
    return array, _itself


def receive_optional(op: str, name: str, x: Any) -> Array | None:
    """As `receive`, for an argument that may be None; the way back isn't needed."""
    return None if x is None else receive(op, name, x)[0]


def kind_of(dtype: np.dtype[Any]) -> str:
    """NumPy's letter for the kind of a dtype; bfloat16, which NumPy doesn't know, is a float."""
    return "f" if dtype.name == "bfloat16" else dtype.kind


def _itself(result: Array) -> Any:
    return result


def _exporter(namespace: Any) -> Callable[[Array], Any]:
    def export(result: Array) -> Any:
        return namespace.from_dlpack(np.asarray(result))

    return export
