"""The matrix products of a linear head on NumPy arrays, a block of classes at a time.

A backend of the head's loop (`head`) brings these products for its own kind of array. A tile holds
the logits of some rows, or their gradient; its columns are cut into blocks of classes so that what
a product needs beside its result stays small.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from softxent.ops import native

__all__ = ["NumpyProducts", "Products"]

Array = npt.NDArray[Any]


class Products(Protocol):
    """What the loop over chunks needs of a backend; arrays are of the backend's own kind."""

    tile_itemsize: int  # bytes of a logit in a tile
    sum_itemsize: int  # bytes of a number in a sum over chunks or blocks
    adds_in_place: bool  # whether classifier sums need no room for what is added
    copies: bool  # whether a product's result is made elsewhere and copied
    widens: bool  # whether weights are copied to another dtype

    def prepare(self, x: Any, w: Any) -> None:
        """Look at a chunk's features and a block's weights; the others are like them."""

    def tile(self, rows: int, classes: int, spare: int) -> Any:
        """An uninitialised tile; as many bytes of a result will be made when it is gone."""

    def zeros(self, *shape: int) -> Any:
        """Sums at their start, in the dtype in which they are computed."""

    def scratch(self, size: int) -> Any:
        """Room for `size` numbers of a product that is added to a sum."""

    def as_array(self, tile: Any) -> Array:
        """The tile's own memory as the kernels take it."""

    def logits(self, x: Any, w: Any, bias: Any, out: Any) -> None:
        """Out = x w^T + bias."""

    def add_features(self, g: Any, w: Any, total: Any, scratch: Any) -> None:
        """Total += g w."""

    def add_classifier(self, g: Any, x: Any, total: Any, scratch: Any) -> None:
        """Total += g^T x."""

    def add_columns(self, g: Any, total: Any) -> None:
        """Total += the sum of g over its rows."""

    def put(self, values: Any, out: Any, rows: Any) -> None:
        """out[rows] = values, in the dtype of `out`."""

    def columns(self, tile: Any, classes: Any) -> Any:
        """A copy of the tile's columns of some classes."""

    def rows(self, w: Any, classes: Array) -> Any:
        """A copy of some classes' rows."""

    def put_rows(self, values: Any, w: Any, classes: Array) -> None:
        """Write such a copy back."""

    def reach(self, g: Any, limit: float, *, both_sides: bool) -> Array:
        """Whether each column has a number >= limit, or <= -limit, or NaN."""


class NumpyProducts:
    """The products by NumPy's BLAS; half precision is multiplied in float32, block by block."""

    def __init__(self, dtype: np.dtype[Any], *, widens: bool) -> None:
        self.dtype = dtype
        self.tile_itemsize = self.sum_itemsize = dtype.itemsize
        self.adds_in_place = False
        self.copies = False
        self.widens = widens

    def prepare(self, x: Array, w: Array) -> None:
        """Nothing to choose."""

    def tile(self, rows: int, classes: int, spare: int) -> Array:
        """Uninitialised, in the dtype of the computation."""
        return native.fresh((rows, classes), self.dtype, keep=False)

    def zeros(self, *shape: int) -> Array:
        """In the dtype of the computation."""
        return np.zeros(shape, self.dtype)

    def scratch(self, size: int) -> Array:
        """In the dtype of the computation."""
        return np.empty(size, self.dtype)

    def as_array(self, tile: Array) -> Array:
        """Itself."""
        return tile

    def logits(self, x: Array, w: Array, bias: Array | None, out: Array) -> None:
        """Out = x w^T + bias."""
        np.matmul(self._wide(x), self._wide(w).T, out=out)
        if bias is not None:
            out += self._wide(bias)

    def add_features(self, g: Array, w: Array, total: Array, scratch: Array) -> None:
        """Total += g w."""
        total += np.matmul(g, self._wide(w), out=scratch[: total.size].reshape(total.shape))

    def add_classifier(self, g: Array, x: Array, total: Array, scratch: Array) -> None:
        """Total += g^T x."""
        total += np.matmul(g.T, self._wide(x), out=scratch[: total.size].reshape(total.shape))

    def add_columns(self, g: Array, total: Array) -> None:
        """Total += the sum of g over its rows."""
        total += g.sum(axis=0)

    def put(self, values: Array, out: Array, rows: Any) -> None:
        """out[rows] = values, in the dtype of `out`."""
        out[rows] = values

    def columns(self, tile: Array, classes: Any) -> Array:
        """A copy of scattered columns."""
        part: Array = tile[:, classes]
        return part

    def rows(self, w: Array, classes: Array) -> Array:
        """A copy of some classes' rows."""
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
