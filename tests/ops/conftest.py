"""One fixture, `backend`: each test that asks for it runs on every kind of array that is taken.

A test hands its NumPy arrays through `backend(...)`, calls a public function, and takes the result
back as NumPy with `backend.take(...)`, which fails unless the result is of the kind that was given.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import softxent
from softxent import _native

Array = np.ndarray[Any, np.dtype[Any]]


class ForeignArray:
    """An array of some other library: it can be reached through the DLPack protocol alone."""

    def __init__(self, array: Any) -> None:
        self._array = np.array(array)

    def __dlpack__(self, **options: Any) -> Any:
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()


class NamespacedArray(ForeignArray):
    """One that also says, as the array API has it, how its library makes arrays."""

    def __array_namespace__(self) -> Any:
        return ForeignNamespace


class ForeignNamespace:
    @staticmethod
    def from_dlpack(x: Any) -> NamespacedArray:
        return NamespacedArray(np.from_dlpack(x))


class Backend:
    """How one kind of array is made, and taken apart again."""

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
        """The values as an array of this kind; a fresh copy each time."""
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
        """A result as NumPy; it must be of the kind that this backend gives."""
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
_, *LOWER = _native.levels()


@pytest.fixture(params=["numpy", *(f"numpy on {level}" for level in LOWER), *KINDS])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """Every kind of array; and NumPy's on the lower instruction sets too."""
    kind, _, level = request.param.partition(" on ")
    before = _native.current_level()
    if level:
        assert _native.select_level(level)
    yield Backend(kind)
    _native.select_level(before)


@pytest.fixture
def threads() -> Iterator[Any]:
    """`set_num_threads` for one test."""
    before = softxent.get_num_threads()
    yield softxent.set_num_threads
    softxent.set_num_threads(before)
