"""Loss and gradients of a linear head, a chunk of rows at a time; all logits never exist at once.

    z = X W^T + b      logits (N, C) of features X (N, D) and classifier W (C, D)
    G = dloss/dz       dX = G W,   dW = G^T X,   db = sum_i G_i

A chunk's logits fill a tile, which three steps go over in place:

    fill       the logits of every class                                    one product
    reduce     each row over its classes: maximum, sum and loss             kernels
    gradient   G over the logits, from those; then dX and dW                kernels, two products

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

__all__ = ["MAX_BYTES", "Chunk", "Gradients", "Head", "Stats", "Sums"]

Array = npt.NDArray[Any]
MAX_BYTES = 64 * 2**20
_BLOCK = 8192  # classes in a block of which no copy is made
# Rows at once where a product is made elsewhere and copied: more make no product faster, and leave
# room for fewer of their logits there; many fewer read the sums too often.
_ROWS, _FEWEST_ROWS = 1024, 256
_LINE = 32  # numbers in half precision
_SAMPLE = 512  # rows and classes of the products by which an engine is chosen
# What the libraries that multiply were seen to hold for themselves after their first products, with
# room for the blocks that are copied.
_LIBRARIES = 32 * 2**20


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
    stats: Stats | None = None

    @classmethod
    def empty(cls, rows: int, stats: Stats | None = None) -> Sums:
        """An ignored row stays as it is here."""
        return cls(np.zeros(rows), np.zeros((rows, 2)), stats)


@dataclass(slots=True)
class Stats:
    """What else `reduce` can say of the rows."""

    k: int  # how many of the largest logits count as hits
    entropy: Array  # (N,) float64
    argmax: Array  # (N,) int64
    hits: Array  # (N,) bool

    @classmethod
    def empty(cls, rows: int, k: int) -> Stats:
        """An ignored row stays as it is here."""
        return cls(k, np.zeros(rows), np.full(rows, -1, np.int64), np.zeros(rows, np.bool_))


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows: a slice, or indices where others are ignored."""

    rows: Any
    x: Any  # their features, (rows, D)
    tile: Any  # room for their logits, (rows, C)


@dataclass(frozen=True, slots=True)
class Limit:
    """Below it, a class's gradient may be left out."""

    value: float
    positive: bool  # whether the factors of all rows are


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
        skip_below: a class is left out of the gradients' products for the rows of a chunk where
            all of its gradient, without the reduction's factor, is below this; 0 for never.
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
    spare: int = 0  # bytes of results that will be made when the tile is gone
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

    def reduce(self, stats: Stats | None = None) -> Sums:
        """The loss of each row, and its statistics if they are asked for: one product."""
        sums = Sums.empty(len(self.target), stats)
        for chunk in self.chunks():
            self.fill(chunk)
            self.reduce_chunk(chunk, sums)
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
        for chunk in self.chunks():
            self.fill(chunk)
            self.differentiate_chunk(chunk, sums, scale, upstream)
            self.collect(chunk, into, self._limit(chunk, scale, upstream))

    def reduce_and_differentiate(self, into: Gradients, *, scale: float = 1.0) -> Sums:
        """Both at once, on the same logits: three products in all."""
        sums = Sums.empty(len(self.target))
        for chunk in self.chunks():
            self.fill(chunk)
            self.reduce_chunk(chunk, sums, scale)
            self.collect(chunk, into, self._limit(chunk, scale))
        return sums

    def chunks(self) -> Iterator[Chunk]:
        """All rows that aren't ignored, as many at a time as the memory allows."""
        count = len(self.target) if self.kept is None else len(self.kept)
        if count == 0:
            return
        most = min(count, self._rows_at_once())
        sample = self._take(self._rows(0, min(most, _SAMPLE)))
        self.products.prepare(sample, self.classifier[:_SAMPLE])
        most = min(count, self._rows_at_once())
        size = -(-count // -(-count // most))  # chunks of one size: no short one at the end
        tile = self.products.tile(size, self.loss.classes, self.spare)
        for begin in range(0, count, size):
            rows = self._rows(begin, min(begin + size, count))
            x = self._take(rows)
            yield Chunk(rows, x, tile[: len(x)])

    def fill(self, chunk: Chunk) -> None:
        """The chunk's logits."""
        for block in self._blocks(self._logits_at_once(len(chunk.x))):
            bias = None if self.bias is None else self.bias[block]
            self.products.logits(chunk.x, self.classifier[block], bias, chunk.tile[:, block])

    def reduce_chunk(self, chunk: Chunk, sums: Sums, scale: float | None = None) -> None:
        """Each row's sums over its classes; and with a scale the gradient, while a row is near."""
        tile, count = self.products.as_array(chunk.tile), len(chunk.x)
        found: dict[str, Any] = {"loss": np.empty(count), "summary": np.empty((count, 2))}
        options = self._options(chunk.rows)
        if sums.stats is not None:
            options["k"] = sums.stats.k
            found |= {
                "entropy": np.empty(count),
                "argmax": np.empty(count, np.int64),
                "hits": np.empty(count, np.bool_),
            }
        if scale is not None:
            options |= {"grad": tile, "scale": scale}
        _native.cross_entropy(tile, **found, **options)
        for name, values in found.items():
            into = getattr(sums if name in ("loss", "summary") else sums.stats, name)
            into[chunk.rows] = values

    def differentiate_chunk(
        self, chunk: Chunk, sums: Sums, scale: float = 1.0, upstream: Array | None = None
    ) -> None:
        """The gradient over the logits."""
        tile, rows = self.products.as_array(chunk.tile), chunk.rows
        _native.cross_entropy(
            tile,
            summary=np.ascontiguousarray(sums.summary[rows]),
            from_summary=True,
            scale=scale,
            upstream=None if upstream is None else np.ascontiguousarray(upstream[rows]),
            grad=tile,
            **self._options(rows),
        )

    def collect(self, chunk: Chunk, into: Gradients, limit: Limit | None = None) -> None:
        """What a chunk's gradient gives to the others, but for classes below the limit."""
        x, tile, products = chunk.x, chunk.tile, self.products
        if into.bias is not None:
            for block in self._blocks(_BLOCK):
                products.add_columns(tile[:, block], into.bias[block])
        if into.features is None and into.classifier is None:
            return
        width = self.features.shape[-1]
        active = self._active(chunk, limit)
        if active is not None:
            self._collect_active(chunk, into, active)
            return
        block_size = _BLOCK if products.adds_in_place else self._copied(products.tile_itemsize)
        if products.copies:
            block_size = min(block_size, self._logits_at_once(len(x)))
        scratch = products.scratch(max(block_size, len(x)) * width)
        if into.features is not None:
            dx = products.zeros(len(x), width)
            for block in self._blocks(self._logits_at_once(len(x))):
                products.add_features(tile[:, block], self.classifier[block], dx, scratch)
            products.put(dx, into.features, chunk.rows)
        if into.classifier is not None:
            for block in self._blocks(block_size):
                products.add_classifier(tile[:, block], x, into.classifier[block], scratch)

    def _collect_active(self, chunk: Chunk, into: Gradients, active: Array) -> None:
        """The same of some classes, copied block by block."""
        x, products, size = chunk.x, self.products, self._copied()
        width = self.features.shape[-1]
        scratch = products.scratch(max(size, len(x)) * width)
        dx = None if into.features is None else products.zeros(len(x), width)
        for begin in range(0, len(active), size):
            block = active[begin : begin + size]
            g = products.columns(chunk.tile, block)
            if dx is not None:
                products.add_features(g, products.rows(self.classifier, block), dx, scratch)
            if into.classifier is not None:
                total = products.rows(into.classifier, block)
                products.add_classifier(g, x, total, scratch)
                products.put_rows(total, into.classifier, block)
        if dx is not None:
            products.put(dx, into.features, chunk.rows)

    def _limit(self, chunk: Chunk, scale: float, upstream: Array | None = None) -> Limit | None:
        if self.skip_below == 0:
            return None
        largest = 1.0 if upstream is None else float(np.abs(upstream[chunk.rows]).max())
        return Limit(self.skip_below * abs(scale) * largest, upstream is None and scale > 0)

    def _active(self, chunk: Chunk, limit: Limit | None) -> Array | None:
        """The classes that aren't below the limit in all rows, or None where they are many."""
        if limit is None:
            return None
        products, tile = self.products, chunk.tile
        loss = self.loss
        # Then only targets have a negative gradient: elsewhere it is p >= 0 times a factor.
        positive = limit.positive and loss.target_kind == "index"
        positive &= loss.label_smoothing == 0 and loss.z_loss == 0
        counts = np.empty(loss.classes, bool)
        for block in self._blocks(_BLOCK):
            counts[block] = products.reach(tile[:, block], limit.value, both_sides=not positive)
        if positive:
            counts[self.target[chunk.rows]] = True
        active = np.flatnonzero(counts)
        # Fetching scattered classes costs about as much as multiplying half of all.
        return active if 2 * len(active) < self.loss.classes else None

    def _rows(self, begin: int, end: int) -> Any:
        return slice(begin, end) if self.kept is None else self.kept[begin:end]

    def _rows_at_once(self) -> int:
        """As many as fit beside the libraries' own memory and the blocks."""
        products, width = self.products, self.features.shape[-1]
        own = (
            _LIBRARIES if products.adds_in_place or self.spare else _LIBRARIES + self.max_bytes // 8
        )
        share = self.max_bytes - min(own, self.max_bytes * 5 // 8) + self.spare
        row: int = products.tile_itemsize * self.loss.classes + 64
        row += (products.tile_itemsize + 2 * products.sum_itemsize) * width
        most = max(1, share // row)
        if products.copies:
            most = min(most, _ROWS, max(_FEWEST_ROWS, self._copied_numbers() // max(1, width)))
        return most

    def _logits_at_once(self, rows: int) -> int:
        """How many classes are in a block of logits: where it is copied, as many as have room."""
        if self.products.widens:
            return self._copied()
        if not self.products.copies:
            return _BLOCK
        lines = self._copied_numbers() // rows // _LINE  # a block begins where a cache line does
        return max(_LINE, min(_BLOCK, lines * _LINE))

    def _copied_numbers(self) -> int:
        """How many numbers a product may have that is made elsewhere and copied.

        glibc keeps several times as much as is allocated there at once.
        """
        return self.max_bytes // 32 // self.products.sum_itemsize

    def _blocks(self, size: int) -> Iterator[slice]:
        """All classes, so many at a time."""
        for begin in range(0, self.loss.classes, size):
            yield slice(begin, min(begin + size, self.loss.classes))

    def _copied(self, itemsize: int | None = None) -> int:
        """How many classes are in a block of which a copy is made: what there is room for."""
        row: int = (itemsize or self.products.sum_itemsize) * max(1, self.features.shape[-1])
        return max(16, min(_BLOCK, self.max_bytes // 32 // row))

    def _take(self, rows: Any) -> Any:
        """Rows of features of any leading shape; a view where there is one."""
        x = self.features
        if x.ndim == 2:
            return x[rows]
        if isinstance(rows, slice):
            rows = np.arange(rows.start, rows.stop)
        return x[np.unravel_index(rows, self.loss.rows)]

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
