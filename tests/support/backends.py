"""The kinds of array that the library takes, and how tests make them and read them back.

A test converts its NumPy arrays with `backend(...)`, calls a public function, and converts the
result back to NumPy with `backend.take(...)`, which fails unless the result is of the kind that was
given. The fixture `backend` in `tests/ops` runs a test on every kind.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

Array = np.ndarray[Any, np.dtype[Any]]


class ForeignArray:
    """An array of another library: only the DLPack protocol gives access to it."""

    def __init__(self, array: Any) -> None:
        self._array = np.array(array)

    def __dlpack__(self, **options: Any) -> Any:
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()


class NamespacedArray(ForeignArray):
    """One that also names its library, as the array API standard does."""

    def __array_namespace__(self) -> Any:
        return ForeignNamespace


class ForeignNamespace:
    @staticmethod
    def from_dlpack(x: Any) -> NamespacedArray:
        return NamespacedArray(np.from_dlpack(x))


class Backend:
    """One kind of array: how to make it from NumPy, and how to read it back."""

    def __init__(self, name: str) -> None:
        self.name = name
        if name == "torch":
            self._torch = pytest.importorskip("torch")

    def __repr__(self) -> str:
        return self.name

    @property
    def tensors(self) -> bool:
        return self.name == "torch"

    def __call__(self, values: Any, dtype: Any = None) -> Any:
        """The values as an array of this kind; a new copy each time."""
        array = np.array(values, dtype)
        match self.name:
            case "torch":
                return self._torch.from_numpy(array)
            case "readonly":
                array.setflags(write=False)
            case "dlpack":
                return NamespacedArray(array)
        return array

    def take(self, result: Any) -> Array:
        """A result as NumPy; fails unless it is of the kind that this backend returns."""
        match self.name:
            case "torch":
                assert isinstance(result, self._torch.Tensor), type(result)
                return np.asarray(result.detach().numpy())
            case "dlpack":
                assert isinstance(result, NamespacedArray), type(result)
                return np.from_dlpack(result)
            case _:
                assert isinstance(result, np.ndarray | np.generic), type(result)
                return np.asarray(result)

    def take_both(self, results: tuple[Any, Any]) -> tuple[Array, Array]:
        first, second = results
        return self.take(first), self.take(second)


KINDS = ("readonly", "torch", "dlpack")
