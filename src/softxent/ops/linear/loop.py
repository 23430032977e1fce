"""Loss and gradients of a linear head, a chunk of rows at a time: all logits never exist at once.

    z = X W^T + b      logits (N, C) of features X (N, D) and classifier W (C, D)
    G = dloss/dz       dX = G W,   dW = G^T X,   db = sum_i G_i

The logits of a chunk fill a buffer, which three steps work on in place:

    fill            the logits of every class                               one matmul
    reduce          each row over its classes: maximum, sums and loss       kernels
    differentiate   G over the logits, then dX and dW                       kernels, two matmuls

Only `reduce` needs all classes of a row together. Where classes are split over processes, it is the
step whose results are combined before the gradient is computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from softxent import _native
from softxent.ops.linear.matmuls import Matmuls
from softxent.ops.options import are_defaults_except
from softxent.ops.spec import Loss
from softxent.ops.types import Array

__all__ = ["MAX_BYTES", "Chunk", "Gradients", "LinearHead", "RowSums", "Stats"]

MAX_BYTES = 64 * 2**20
_BLOCK = 8192  # classes in a block that isn't copied
# Rows in a chunk where a matmul's result is copied: more rows make no matmul faster and leave less
# room for their logits; many fewer rows read the sums too often.
_ROWS, _FEWEST_ROWS = 1024, 256
_CACHE_LINE = 32  # numbers in half precision
_SAMPLE = 512  # rows and classes of the matmuls by which an engine may be timed
# What matmul libraries were measured to hold for themselves after their first calls, with room for
# the blocks that are copied.
_LIBRARIES = 32 * 2**20


@dataclass(slots=True)
class Gradients:
    """The wanted gradients; None for each that isn't wanted."""

    features: Any = None  # written to, in the features' own dtype
    classifier: Any = None  # sums, in the dtype of the computation
    bias: Any = None

    def __bool__(self) -> bool:
        """Whether any is wanted."""
        wanted = (self.features, self.classifier, self.bias)
        return any(gradient is not None for gradient in wanted)


@dataclass(slots=True)
class RowSums:
    """What `reduce` computes for each row: its loss, and the statistics saved for its gradient."""

    loss: Array  # (N,) float64
    saved: Array  # (N, 2) float64: the maximum, and the tail sum
    stats: Stats | None = None

    @classmethod
    def empty(cls, rows: int, stats: Stats | None = None) -> RowSums:
        """Zeros, which ignored rows keep."""
        return cls(np.zeros(rows), np.zeros((rows, 2)), stats)


@dataclass(slots=True)
class Stats:
    """Further statistics of each row, which `reduce` computes on request."""

    k: int  # how many of the largest logits count as hits
    entropy: Array  # (N,) float64
    argmax: Array  # (N,) int64
    hits: Array  # (N,) bool

    @classmethod
    def empty(cls, rows: int, k: int) -> Stats:
        """The values that ignored rows keep."""
        return cls(k, np.zeros(rows), np.full(rows, -1, np.int64), np.zeros(rows, np.bool_))


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows of the batch."""

    rows: Any  # a slice, or indices where other rows are ignored
    x: Any  # their features, (rows, D)
    logits: Any  # the buffer of their logits, (rows, C)


@dataclass(frozen=True, slots=True)
class Limit:
    """The gradient below which a class may be left out."""

    value: float
    positive: bool  # whether the factors of all rows are


@dataclass(slots=True, kw_only=True)
class LinearHead:
    """One linear head and its loss, checked.

    Attributes:
        loss: the checked options and shapes.
        matmuls: the backend's matmuls.
        features: X, (..., D): rows of any leading shape.
        classifier: W, (C, D).
        bias: b, (C,), or None.
        target: class indices (N,) int64, a copy that only this call knows, or class probabilities
            (N, C).
        weight: class weights (C,) in the dtype that the kernels need, or None.
        max_bytes: how many bytes may be allocated beside inputs and gradients.
        skip_below: a class is left out of the gradients' matmuls for the rows of a chunk where
            all of its gradient, without the reduction's factor, is below this; 0 for never.
        spare: bytes of results that will be allocated when the logits buffer has been released.
        kept: indices of the rows that aren't ignored; None for all rows.
        z_loss: the factor of lse^2 beside losses that are divided by the denominator of `mean`.
    """

    loss: Loss
    matmuls: Matmuls
    features: Any
    classifier: Any
    bias: Any
    target: Array
    weight: Array | None
    max_bytes: int = MAX_BYTES
    skip_below: float = 0.0
    spare: int = 0
    kept: Array | None = field(init=False)
    z_loss: float = field(init=False)

    def __post_init__(self) -> None:
        self.kept = None
        ignore_index = self.loss.options.ignore_index
        if self.loss.target_kind == "index" and ignore_index is not None:
            kept = self.target != ignore_index
            if not kept.all():
                self.kept = np.flatnonzero(kept)
        self.z_loss = self.loss.options.z_loss
        count = self.kept_count()
        if self.z_loss and count and self.loss.options.reduction == "mean":
            # `mean` averages the z terms over the kept rows, without weights.
            self.z_loss *= self.denominator() / count

    @property
    def sums_in_float32(self) -> bool:
        """Whether the gradients are half precision and their sums are not."""
        return bool(self.matmuls.sum_itemsize > self.features.dtype.itemsize)

    def kept_count(self) -> int:
        """How many rows aren't ignored."""
        return len(self.target if self.kept is None else self.kept)

    def denominator(self) -> float:
        """What `mean` divides by: the summed weight of the kept targets, or the number of rows."""
        if self.loss.target_kind != "index" or self.weight is None:
            return float(self.kept_count())
        kept = self.target if self.kept is None else self.target[self.kept]
        return float(self.weight[kept].sum(dtype=np.float64))

    def scale(self) -> float:
        """The factor of the gradient for the loss's reduction."""
        if self.loss.options.reduction != "mean":
            return 1.0
        denominator = self.denominator()
        return 1 / denominator if denominator else np.nan

    def reduce(self, stats: Stats | None = None) -> RowSums:
        """The loss of each row, and its further statistics on request: one matmul."""
        sums = RowSums.empty(len(self.target), stats)
        for chunk in self.chunks():
            self.fill(chunk)
            self.reduce_chunk(chunk, sums)
        return sums

    def differentiate(
        self, sums: RowSums, into: Gradients, *, scale: float = 1.0, upstream: Array | None = None
    ) -> None:
        """The gradients from the rows' sums: three matmuls, one of them for the logits again.

        Args:
            sums: the result of `reduce`.
            into: zeros, to which the gradients are added.
            scale: factor of the gradient.
            upstream: (N,) float64, the factor of each row's gradient beside `scale`.
        """
        for chunk in self.chunks():
            self.fill(chunk)
            self.differentiate_chunk(chunk, sums, scale, upstream)
            self.collect(chunk, into, self._limit(chunk, scale, upstream))

    def reduce_and_differentiate(self, into: Gradients, *, scale: float = 1.0) -> RowSums:
        """Loss and gradients from the same logits: three matmuls in all."""
        sums = RowSums.empty(len(self.target))
        for chunk in self.chunks():
            self.fill(chunk)
            self.reduce_chunk(chunk, sums, scale)
            self.collect(chunk, into, self._limit(chunk, scale))
        return sums

    def chunks(self) -> Iterator[Chunk]:
        """The rows that aren't ignored, as many at a time as the memory allows."""
        count = self.kept_count()
        if count == 0:
            return
        most = min(count, self._rows_at_once())
        sample = self._take(self._rows(0, min(most, _SAMPLE)))
        self.matmuls.prepare(sample, self.classifier[:_SAMPLE])
        most = min(count, self._rows_at_once())
        size = -(-count // -(-count // most))  # chunks of one size: no short one at the end
        buffer = self.matmuls.logits_buffer(size, self.loss.classes, self.spare)
        for begin in range(0, count, size):
            rows = self._rows(begin, min(begin + size, count))
            x = self.matmuls.features(self._take(rows))
            yield Chunk(rows, x, buffer[: len(x)])

    def fill(self, chunk: Chunk) -> None:
        """Compute the chunk's logits."""
        for block in self._blocks(self._logits_at_once(len(chunk.x))):
            bias = None if self.bias is None else self.bias[block]
            self.matmuls.logits(chunk.x, self.classifier[block], bias, chunk.logits[:, block])

    def reduce_chunk(self, chunk: Chunk, sums: RowSums, scale: float | None = None) -> None:
        """Each row's sums; with a scale also the gradient, while the row is in the cache."""
        logits, count = self.matmuls.as_array(chunk.logits), len(chunk.x)
        results: dict[str, Any] = {"loss": np.empty(count), "saved": np.empty((count, 2))}
        arguments = self._arguments(chunk.rows)
        if sums.stats is not None:
            arguments["k"] = sums.stats.k
            results |= {
                "entropy": np.empty(count),
                "argmax": np.empty(count, np.int64),
                "hits": np.empty(count, np.bool_),
            }
        if scale is not None:
            arguments |= {"grad": logits, "scale": scale}
        _native.cross_entropy(logits, **results, **arguments)
        sums.loss[chunk.rows] = results.pop("loss")
        sums.saved[chunk.rows] = results.pop("saved")
        for name, values in results.items():
            getattr(sums.stats, name)[chunk.rows] = values

    def differentiate_chunk(
        self, chunk: Chunk, sums: RowSums, scale: float = 1.0, upstream: Array | None = None
    ) -> None:
        """Overwrite the logits with their gradient."""
        logits, rows = self.matmuls.as_array(chunk.logits), chunk.rows
        _native.cross_entropy(
            logits,
            saved=np.ascontiguousarray(sums.saved[rows]),
            from_saved=True,
            scale=scale,
            upstream=None if upstream is None else np.ascontiguousarray(upstream[rows]),
            grad=logits,
            **self._arguments(rows),
        )

    def collect(self, chunk: Chunk, into: Gradients, limit: Limit | None = None) -> None:
        """Add a chunk's share of the gradients, without the classes below the limit."""
        x, g, matmuls = chunk.x, chunk.logits, self.matmuls
        if into.bias is not None:
            for block in self._blocks(_BLOCK):
                matmuls.add_columns(g[:, block], into.bias[block])
        if into.features is None and into.classifier is None:
            return
        width = self.features.shape[-1]
        active = self._active(chunk, limit)
        if active is not None:
            self._collect_active(chunk, into, active)
            return
        block_size = _BLOCK if matmuls.adds_in_place else self._copied(matmuls.logits_itemsize)
        if matmuls.copies:
            block_size = min(block_size, self._logits_at_once(len(x)))
        scratch = matmuls.scratch(max(block_size, len(x)) * width)
        if into.features is not None:
            dx = matmuls.zeros(len(x), width)
            for block in self._blocks(self._logits_at_once(len(x))):
                matmuls.add_features(g[:, block], self.classifier[block], dx, scratch)
            matmuls.put(dx, into.features, chunk.rows)
        if into.classifier is not None:
            for block in self._blocks(block_size):
                matmuls.add_classifier(g[:, block], x, into.classifier[block], scratch)

    def _collect_active(self, chunk: Chunk, into: Gradients, active: Array) -> None:
        """The same for some classes, copied block by block."""
        x, matmuls, size = chunk.x, self.matmuls, self._copied()
        width = self.features.shape[-1]
        scratch = matmuls.scratch(max(size, len(x)) * width)
        dx = None if into.features is None else matmuls.zeros(len(x), width)
        for begin in range(0, len(active), size):
            block = active[begin : begin + size]
            g = matmuls.columns(chunk.logits, block)
            if dx is not None:
                matmuls.add_features(g, matmuls.rows(self.classifier, block), dx, scratch)
            if into.classifier is not None:
                total = matmuls.rows(into.classifier, block)
                matmuls.add_classifier(g, x, total, scratch)
                matmuls.put_rows(total, into.classifier, block)
        if dx is not None:
            matmuls.put(dx, into.features, chunk.rows)

    def _limit(self, chunk: Chunk, scale: float, upstream: Array | None = None) -> Limit | None:
        if self.skip_below == 0:
            return None
        largest = 1.0 if upstream is None else float(np.abs(upstream[chunk.rows]).max())
        return Limit(self.skip_below * abs(scale) * largest, upstream is None and scale > 0)

    def _active(self, chunk: Chunk, limit: Limit | None) -> Array | None:
        """The classes that reach the limit in some row, or None where they are many."""
        if limit is None:
            return None
        matmuls, g = self.matmuls, chunk.logits
        loss = self.loss
        # Then only targets have a negative gradient: elsewhere it is p >= 0 times a factor.
        positive = limit.positive and loss.target_kind == "index"
        # Any other option may make more of them negative.
        positive &= are_defaults_except(
            loss.options, "ignore_index", "reduction", "softcap", "temperature"
        )
        positive &= self.weight is None or bool((self.weight >= 0).all())
        reached = np.empty(loss.classes, bool)
        for block in self._blocks(_BLOCK):
            reached[block] = matmuls.reach(g[:, block], limit.value, both_sides=not positive)
        if positive:
            reached[self.target[chunk.rows]] = True
        active = np.flatnonzero(reached)
        # Copying scattered classes costs about as much as multiplying half of all.
        return active if 2 * len(active) < self.loss.classes else None

    def _rows(self, begin: int, end: int) -> Any:
        return slice(begin, end) if self.kept is None else self.kept[begin:end]

    def _rows_at_once(self) -> int:
        """As many rows as fit beside the libraries' own memory and the blocks."""
        matmuls, width = self.matmuls, self.features.shape[-1]
        own = (
            _LIBRARIES if matmuls.adds_in_place or self.spare else _LIBRARIES + self.max_bytes // 8
        )
        share = self.max_bytes - min(own, self.max_bytes * 5 // 8) + self.spare
        row: int = matmuls.logits_itemsize * self.loss.classes + 64
        row += (matmuls.logits_itemsize + 2 * matmuls.sum_itemsize) * width
        most = max(1, share // row)
        if matmuls.copies:
            most = min(most, _ROWS, max(_FEWEST_ROWS, self._copied_numbers() // max(1, width)))
        return most

    def _logits_at_once(self, rows: int) -> int:
        """How many classes are in a block of logits; fewer where the block is copied."""
        if self.matmuls.widens:
            return self._copied()
        if not self.matmuls.copies:
            return _BLOCK
        lines = self._copied_numbers() // rows // _CACHE_LINE  # blocks begin at cache lines
        return max(_CACHE_LINE, min(_BLOCK, lines * _CACHE_LINE))

    def _copied_numbers(self) -> int:
        """How many numbers a matmul's result may have that is allocated elsewhere and copied.

        glibc keeps several times as much as is allocated there at once.
        """
        return self.max_bytes // 32 // self.matmuls.sum_itemsize

    def _blocks(self, size: int) -> Iterator[slice]:
        """All classes, `size` at a time."""
        for begin in range(0, self.loss.classes, size):
            yield slice(begin, min(begin + size, self.loss.classes))

    def _copied(self, itemsize: int | None = None) -> int:
        """How many classes are in a block of the classifier that is copied."""
        row: int = (itemsize or self.matmuls.sum_itemsize) * max(1, self.features.shape[-1])
        return max(16, min(_BLOCK, self.max_bytes // 32 // row))

    def _take(self, rows: Any) -> Any:
        """Rows of features of any leading shape, as a view where possible."""
        x = self.features
        if x.ndim == 2:
            return x[rows]
        if isinstance(rows, slice):
            rows = np.arange(rows.start, rows.stop)
        return x[np.unravel_index(rows, self.loss.rows)]

    def _arguments(self, rows: Any) -> dict[str, Any]:
        """The kernel's inputs beside the logits."""
        target = self.target[rows]
        index = self.loss.target_kind == "index"
        return {
            "index": np.ascontiguousarray(target) if index else None,
            "probabilities": None if index else target,
            "weight": self.weight,
            "threads": self.matmuls.most_threads(),
            **self.loss.kernel_options,
            "z_loss": self.z_loss,
        }
