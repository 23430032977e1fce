"""Loss and gradients of a linear head, a chunk of rows at a time; all logits never exist at once.

    z = X W^T + b      logits (N, C) of features X (N, D) and classifier W (C, D)
    G = dloss/dz       dX = G W,   dW = G^T X,   db = sum_i G_i

A chunk's logits fill a tile, which three steps go over in place:

    fill       the logits of every class                                    one product
    reduce     each row over its classes: maximum, sum and loss             the kernels
    gradient   G over the logits, from those; then dX and dW                the kernels, two products

Only `reduce` sees all classes of a row together: where the classes are split over machines, it is
the step whose results are combined before the gradient is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from softxent import _native
from softxent.ops import spec
from softxent.ops.products import Products

__all__ = ["MAX_BYTES", "Gradients", "Head", "Sums"]

Array = npt.NDArray[Any]
MAX_BYTES = 64 * 2**20


@dataclass(slots=True)
class Gradients:
    """The gradients that are wanted; each None where it isn't."""

    features: Any = None  # written to, in the features' own dtype
    classifier: Any = None  # sums, in the dtype of the computation
    bias: Any = None

    def __bool__(self) -> bool:
        """Whether any is wanted."""
        wanted = (self.features, self.classifier, self.bias)
        return any(gradient is not None for gradient in wanted)


@dataclass(slots=True)
class Sums:
    """What `reduce` leaves of the rows: one loss each, and what its gradient needs."""

    loss: Array  # (N,) float64
    summary: Array  # (N, 2) float64: the maximum, and the sum of exp beside it

    @classmethod
    def empty(cls, rows: int) -> Sums:
        """An ignored row stays as it is here: no loss."""
        return cls(np.zeros(rows), np.full((rows, 2), np.nan))


@dataclass(slots=True, kw_only=True)
class Head:
    """One linear head and its loss, checked.

    Attributes:
        loss: what the options say.
        products: the backend's products.
        features: X, (..., D): rows of any leading shape.
        classifier: W, (C, D).
        bias: b, (C,), or None.
        target: class indices (N,) int64, or class probabilities (N, C).
        weight: class weights (C,) as the kernels want them, or None.
        max_bytes: how much may be held beside inputs and gradients.
        skip_below: the gradient of a class may be left out of the products for the rows of a
            chunk where its absolute value is less than this for all of them; 0 for never.
    """

    loss: spec.Loss
    products: Products
    features: Any
    classifier: Any
    bias: Any
    target: Array
    weight: Array | None
    max_bytes: int = MAX_BYTES
    skip_below: float = 0.0
    kept: Array | None = field(init=False)  # the rows that aren't ignored; None for all

    def __post_init__(self) -> None:
        self.kept = None
        if self.loss.target_kind == "index" and self.loss.ignore_index is not None:
            kept = self.target != self.loss.ignore_index
            if not kept.all():
                self.kept = np.flatnonzero(kept)

    def denominator(self) -> float:
        """What `mean` divides by: the kept targets' summed weight, or the number of rows."""
        if self.loss.target_kind != "index" or self.weight is None:
            return float(len(self.target) if self.kept is None else len(self.kept))
        kept = self.target if self.kept is None else self.target[self.kept]
        return float(self.weight[kept].sum(dtype=np.float64))

    def scale(self) -> float:
        """The factor of the gradient for the loss's reduction."""
        if self.loss.reduction != "mean":
            return 1.0
        denominator = self.denominator()
        return 1 / denominator if denominator else np.nan

    def reduce(self) -> Sums:
        """The loss of each row: one product."""
        sums = Sums.empty(len(self.target))
        for rows, x, tile in self._chunks():
            self._fill(x, tile)
            self._reduce(rows, tile, sums)
        return sums

    def differentiate(
        self, sums: Sums, into: Gradients, *, scale: float = 1.0, upstream: Array | None = None
    ) -> None:
        """The gradients from the rows' sums: a product for the logits again, two for themselves.

        Args:
            sums: what `reduce` gave.
            into: zeros; the gradients are added.
            scale: factor of the gradient.
            upstream: (N,) float64, the factor of each row's gradient, times `scale`.
        """
        for rows, x, tile in self._chunks():
            self._fill(x, tile)
            self._differentiate(rows, x, tile, sums, into, scale, upstream)

    def reduce_and_differentiate(self, into: Gradients, *, scale: float = 1.0) -> Sums:
        """Both at once, on the same logits: three products in all."""
        sums = Sums.empty(len(self.target))
        for rows, x, tile in self._chunks():
            self._fill(x, tile)
            self._reduce(rows, tile, sums)
            self._differentiate(rows, x, tile, sums, into, scale, None)
        return sums

    def _chunks(self) -> Iterator[tuple[Any, Any, Any]]:
        """Rows (a slice, or indices where some are ignored), their features, room for logits."""
        count = len(self.target) if self.kept is None else len(self.kept)
        if count == 0:
            return
        most = min(count, self._rows_at_once())
        some = slice(0, most) if self.kept is None else self.kept[:most]
        self.products.prepare(self._take(some), self.classifier[: self._block_size()])
        most = min(count, self._rows_at_once())
        size = -(-count // -(-count // most))  # chunks of one size: no short one at the end
        tiles = self.products.tile(size, self.loss.classes)
        for begin in range(0, count, size):
            rows: Any = slice(begin, min(begin + size, count))
            if self.kept is not None:
                rows = self.kept[rows]
            x = self._take(rows)
            yield rows, x, tiles[: len(x)]

    def _rows_at_once(self) -> int:
        """What isn't left for the tile is room for products, and for what they hold themselves."""
        products, width = self.products, self.features.shape[-1]
        share = self.max_bytes * 7 // 8 if products.adds_in_place else self.max_bytes * 5 // 8
        row = products.tile_itemsize * self.loss.classes
        row += (products.tile_itemsize + 2 * products.sum_itemsize) * width
        return max(1, share // row)

    def _blocks(self) -> Iterator[slice]:
        size = self._block_size()
        for begin in range(0, self.loss.classes, size):
            yield slice(begin, min(begin + size, self.loss.classes))

    def _block_size(self) -> int:
        """As many classes as room for their products allows; large blocks multiply faster."""
        row = self.products.sum_itemsize * max(1, self.features.shape[-1])
        most = 8192 if self.products.adds_in_place else self.max_bytes // 8 // row
        return max(16, min(8192, most))

    def _take(self, rows: Any) -> Any:
        """Rows of features of any leading shape; a view where there is one."""
        x = self.features
        if x.ndim == 2:
            return x[rows]
        if isinstance(rows, slice):
            rows = np.arange(rows.start, rows.stop)
        return x[np.unravel_index(rows, tuple(x.shape[:-1]))]

    def _fill(self, x: Any, tile: Any) -> None:
        for block in self._blocks():
            bias = None if self.bias is None else self.bias[block]
            self.products.logits(x, self.classifier[block], bias, tile[:, block])

    def _reduce(self, rows: Any, tile: Any, sums: Sums) -> None:
        count = len(tile)
        loss, summary = np.empty(count), np.empty((count, 2))
        _native.cross_entropy(
            self.products.as_array(tile), loss=loss, summary=summary, **self._options(rows)
        )
        sums.loss[rows], sums.summary[rows] = loss, summary

    def _differentiate(
        self,
        rows: Any,
        x: Any,
        tile: Any,
        sums: Sums,
        into: Gradients,
        scale: float,
        upstream: Array | None,
    ) -> None:
        if not into:
            return
        array = self.products.as_array(tile)
        _native.cross_entropy(
            array,
            summary=np.ascontiguousarray(sums.summary[rows]),
            from_summary=True,
            scale=scale,
            upstream=None if upstream is None else np.ascontiguousarray(upstream[rows]),
            grad=array,
            **self._options(rows),
        )
        products, width = self.products, self.features.shape[-1]
        if into.bias is not None:
            for block in self._blocks():
                products.add_columns(tile[:, block], into.bias[block])
        if into.features is None and into.classifier is None:
            return
        scratch = products.scratch(max(self._block_size(), len(x)) * width)
        dx = None if into.features is None else products.zeros(len(x), width)
        active = self._active(rows, tile, scale, upstream)
        for block in self._blocks() if active is None else self._parts(active):
            g = tile[:, block]
            if dx is not None:
                products.add_features(g, self.classifier[block], dx, scratch)
            if into.classifier is None:
                continue
            if isinstance(block, slice):
                products.add_classifier(g, x, into.classifier[block], scratch)
            else:
                total = into.classifier[block]  # a copy
                products.add_classifier(g, x, total, scratch)
                into.classifier[block] = total
        if dx is not None:
            products.put(dx, into.features, rows)

    def _active(
        self, rows: Any, tile: Any, scale: float, upstream: Array | None
    ) -> Array | None:
        """The classes that count in a chunk, or None for all of them."""
        if self.skip_below == 0:
            return None
        largest = 1.0 if upstream is None else float(np.abs(upstream[rows]).max())
        reach = self.products.reach(tile)
        active = np.flatnonzero(~(reach < self.skip_below * abs(scale) * largest))  # keeps NaN
        # Fetching scattered classes costs about as much as multiplying with half of them.
        return active if 2 * len(active) < self.loss.classes else None

    def _parts(self, active: Array) -> Iterator[Array]:
        size = self._block_size()
        for begin in range(0, len(active), size):
            yield active[begin : begin + size]

    def _options(self, rows: Any) -> dict[str, Any]:
        loss, target = self.loss, self.target[rows]
        index = loss.target_kind == "index"
        return {
            "index": np.ascontiguousarray(target) if index else None,
            "probabilities": None if index else target,
            "weight": self.weight,
            "ignore_index": -1 if loss.ignore_index is None else loss.ignore_index,
            "label_smoothing": loss.label_smoothing,
            "z_loss": loss.z_loss,
            "softcap": loss.softcap or 0.0,
            "temperature": loss.temperature,
        }
