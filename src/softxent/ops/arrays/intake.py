"""The caller's arguments as NumPy arrays, and results back in the kind that was passed in."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from softxent.errors import DTypeError, ShapeError
from softxent.ops import checks
from softxent.ops.arrays.refusals import check_dense, check_object, plain_array, remedy
from softxent.ops.dtypes import compute_dtype, epsilon, kind_of
from softxent.ops.options import LossOptions
from softxent.ops.spec import Loss, check_binary_shape
from softxent.ops.types import Array

__all__ = [
    "Array",
    "Export",
    "is_tensor",
    "receive",
    "receive_binary",
    "receive_loss",
    "receive_optional",
    "receive_target",
]

Export = Callable[[Array], Any]

# NumPy's letters for real numbers of at most 64 bits. Most calls bring one of these, and then one
# comparison is enough.
_REAL = frozenset("?bBhHiIlLqQefd")


def is_tensor(x: object) -> bool:
    """Whether x is a torch tensor. Only code that has imported torch can have one."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def receive(op: str, name: str, x: Any) -> tuple[Array, Export]:
    """An argument as a NumPy array, without a copy where possible, and the way back.

    Args:
        op: the public function's name, for messages.
        name: the argument's name.
        x: a NumPy array, nested lists of numbers, or anything that exports `__dlpack__`.

    Returns:
        The array, and a function that converts a result to the kind of x: an array of x's own
        library where x has the array API's `__array_namespace__`, else a NumPy array.

    Raises:
        ShapeError: nested lists of different lengths.
        DTypeError: not real numbers of at most 64 bits, memory that NumPy can't reach, or a mask,
            whose meaning an array of numbers can't keep.
    """
    if type(x) is np.ndarray and x.dtype.char in _REAL:
        return x, _unchanged
    export: Export = _unchanged
    if isinstance(x, np.ndarray):
        array = plain_array(op, name, x)
    elif is_tensor(x):
        check_dense(op, name, x, sys.modules["torch"])
        x = x.detach().cpu().resolve_neg()
        array = (x.float() if str(x.dtype) == "torch.bfloat16" else x).numpy()
    elif hasattr(x, "__dlpack__") and not isinstance(x, np.generic):
        array = _from_dlpack(op, name, x)
        namespace = getattr(x, "__array_namespace__", None)
        export = _unchanged if namespace is None else _exporter(namespace())
    else:
        array = _from_object(op, name, x)
    if kind_of(array.dtype) not in "fiub" or array.dtype.itemsize > 8:
        raise DTypeError(f"[{op}] {name} has dtype {array.dtype}: {remedy(name, array)}")
    return array, export


def _from_object(op: str, name: str, x: Any) -> Array:
    """Nested lists, numbers, and all else that NumPy reads."""
    check_object(op, name, x)
    try:
        array = np.asanyarray(x)
    except ValueError:
        raise ShapeError(
            f"[{op}] {name} isn't rectangular: its rows have different lengths."
        ) from None
    except (TypeError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise DTypeError(
            f"[{op}] {name} is a {type(x).__name__} that NumPy can't read ({reason}): pass an "
            "array of numbers. Tensors in a list? Pass torch.stack(list)."
        ) from None
    return plain_array(op, name, array)


def receive_optional(op: str, name: str, x: Any) -> Array | None:
    """As `receive`, for an argument that may be None; the way back isn't needed."""
    return None if x is None else receive(op, name, x)[0]


def receive_target(op: str, target: Any, ndim: int) -> Array:
    """A target as an array; an empty list, which NumPy takes for floats, as class indices."""
    array, _ = receive(op, "target", target)
    if array.dtype.kind == "f" and array.ndim < ndim:
        checks.check_not_missing(op, array)
        return array.astype(np.int64) if array.size == 0 else array
    return array


def receive_loss(
    op: str, logits: Any, target: Any, options: LossOptions, axis: int, name: str = "logits"
) -> tuple[Array, Array, Array | None, Loss, Export]:
    """Logits, target and class weights as arrays, the checked loss, and the way back.

    Signed class indices of logits aren't checked here: the kernels check them before they compute.

    Args:
        op: the public function's name.
        logits, target, options, axis: as the caller gave them.
        name: the public name of the first argument.
    """
    array, export = receive(op, name, logits)
    compute_dtype(op, name, array.dtype)
    target = receive_target(op, target, array.ndim)
    kind = kind_of(target.dtype)
    loss = Loss.of(op, array.shape, target.shape, kind, axis=axis, options=options, name=name)
    if loss.target_kind == "probabilities":
        checks.check_soft_target(op, target, loss.axis, epsilon(target.dtype))
    elif name != "logits" or kind != "i" or loss.options.ignore_index is None:
        checks.check_indices(op, target, loss.classes, loss.options.ignore_index)
    weight = receive_optional(op, "weight", options.weight)
    if weight is not None:
        checks.check_weight(op, weight.shape, weight, loss.classes)
    return array, target, weight, loss, export


def receive_binary(op: str, name: str, x: Any, target: Any) -> tuple[Array, Array, Export]:
    """Logits or probabilities of a binary loss, its checked target, and the way back."""
    array, export = receive(op, name, x)
    compute_dtype(op, name, array.dtype)
    target, _ = receive(op, "target", target)
    check_binary_shape(op, name, array.shape, target.shape)
    checks.check_binary_values(op, target, epsilon(target.dtype))
    return array, target, export


def _from_dlpack(op: str, name: str, x: Any) -> Array:
    try:
        return np.from_dlpack(x)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        if hasattr(x, "__array__"):
            # bfloat16: DLPack has it, NumPy's importer doesn't
            return plain_array(op, name, np.asanyarray(x))
        raise DTypeError(
            f"[{op}] {name} is a {type(x).__name__} whose memory NumPy can't reach ({error}). "
            "Pass an array on the CPU."
        ) from None


def _unchanged(result: Array) -> Any:
    return result


def _exporter(namespace: Any) -> Export:
    def export(result: Array) -> Any:
        array = np.asarray(result)
        # NumPy exports no bfloat16 through DLPack.
        make = namespace.asarray if array.dtype.kind == "V" else namespace.from_dlpack
        return make(array)

    return export
