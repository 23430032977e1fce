"""The matmuls of a linear head on NumPy arrays, a block of classes at a time.

Each backend of the loop (`softxent.ops.linear.loop`) brings these matmuls for its own kind of
array. The logits buffer holds the logits of some rows, or their gradient; its columns are divided
into blocks of classes, so that a matmul needs little memory beside its result.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from softxent.ops.arrays.memory import uninitialized
from softxent.ops.types import Array

__all__ = ["Matmuls", "NumpyMatmuls"]


class Matmuls(Protocol):
    """What the loop over chunks needs of a backend. Arrays are of the backend's own kind.

    Attributes:
        logits_itemsize: bytes of a number in the logits buffer.
        sum_itemsize: bytes of a number in a sum over chunks or blocks.
        adds_in_place: whether classifier sums need no scratch memory for what is added.
        copies: whether the engine allocates a matmul's result elsewhere and copies it.
        widens: whether the classifier is converted to another dtype, block by block.
    """

    logits_itemsize: int
    sum_itemsize: int
    adds_in_place: bool
    copies: bool
    widens: bool

    def features(self, x: Any) -> Any:
        """The features of a chunk, in the dtype in which they are multiplied."""

    def prepare(self, x: Any, w: Any) -> None:
        """Choose the engine for chunks of features like x and blocks of weights like w."""

    def logits_buffer(self, rows: int, classes: int, spare: int) -> Any:
        """Uninitialized; `spare` bytes of a result will be allocated when it has been released."""

    def zeros(self, *shape: int) -> Any:
        """The start of a sum, in the dtype of sums."""

    def scratch(self, size: int) -> Any:
        """Room for `size` numbers of a matmul that is added to a sum."""

    def as_array(self, logits: Any) -> Array:
        """The buffer's own memory as the kernels take it."""

    def most_threads(self) -> int:
        """The most threads that a kernel may use; 0 for no limit."""

    def logits(self, x: Any, w: Any, bias: Any, out: Any) -> None:
        """Set out to x w^T + bias."""

    def add_features(self, g: Any, w: Any, total: Any, scratch: Any) -> None:
        """Add g w to total."""

    def add_classifier(self, g: Any, x: Any, total: Any, scratch: Any) -> None:
        """Add g^T x to total."""

    def add_columns(self, g: Any, total: Any) -> None:
        """Add the sum of g over its rows to total."""

    def put(self, values: Any, out: Any, rows: Any) -> None:
        """Write values to out[rows], in the dtype of `out`."""

    def columns(self, logits: Any, classes: Any) -> Any:
        """A copy of the buffer's columns of some classes."""

    def rows(self, w: Any, classes: Array) -> Any:
        """A copy of the rows of some classes."""

    def put_rows(self, values: Any, w: Any, classes: Array) -> None:
        """Write such a copy back."""

    def reach(self, g: Any, limit: float, *, both_sides: bool) -> Array:
        """Whether each column has a number >= limit, or <= -limit, or NaN."""


class NumpyMatmuls:
    """Matmuls by NumPy's BLAS. Half precision is multiplied in float32, block by block."""

    def __init__(self, dtype: np.dtype[Any], *, widens: bool) -> None:
        self.dtype = dtype
        self.logits_itemsize = self.sum_itemsize = dtype.itemsize
        self.adds_in_place = False
        self.copies = False
        self.widens = widens

    def features(self, x: Array) -> Array:
        """In the dtype of the computation."""
        return self._wide(x)

    def prepare(self, x: Array, w: Array) -> None:
        """NumPy has one engine."""

    def logits_buffer(self, rows: int, classes: int, spare: int) -> Array:
        """Uninitialized, in the dtype of the computation."""
        return uninitialized((rows, classes), self.dtype, keep=False)

    def zeros(self, *shape: int) -> Array:
        """In the dtype of the computation."""
        return np.zeros(shape, self.dtype)

    def scratch(self, size: int) -> Array:
        """In the dtype of the computation."""
        return np.empty(size, self.dtype)

    def as_array(self, logits: Array) -> Array:
        """The buffer itself."""
        return logits

    def most_threads(self) -> int:
        """No limit."""
        return 0

    def logits(self, x: Array, w: Array, bias: Array | None, out: Array) -> None:
        """Set out to x w^T + bias."""
        np.matmul(x, self._wide(w).T, out=out)
        if bias is not None:
            out += self._wide(bias)

    def add_features(self, g: Array, w: Array, total: Array, scratch: Array) -> None:
        """Add g w to total."""
        total += np.matmul(g, self._wide(w), out=scratch[: total.size].reshape(total.shape))

    def add_classifier(self, g: Array, x: Array, total: Array, scratch: Array) -> None:
        """Add g^T x to total."""
        total += np.matmul(g.T, x, out=scratch[: total.size].reshape(total.shape))

    def add_columns(self, g: Array, total: Array) -> None:
        """Add the sum of g over its rows to total."""
        total += g.sum(axis=0)

    def put(self, values: Array, out: Array, rows: Any) -> None:
        """Write values to out[rows], in the dtype of `out`."""
        out[rows] = values

    def columns(self, logits: Array, classes: Any) -> Array:
        """A copy of some columns."""
        part: Array = logits[:, classes]
        return part

    def rows(self, w: Array, classes: Array) -> Array:
        """A copy of the rows of some classes."""
        return w[classes]

    def put_rows(self, values: Array, w: Array, classes: Array) -> None:
        """Write such a copy back."""
        w[classes] = values

    def reach(self, g: Array, limit: float, *, both_sides: bool) -> Array:
        """Whether each column has a number >= limit, or <= -limit, or NaN."""
        reached: Array = ~(g.max(axis=0) < limit)
        return reached | (g.min(axis=0) <= -limit) if both_sides else reached

    def _wide(self, x: Array) -> Array:
        result: Array = x.astype(self.dtype, copy=False)
        return result
