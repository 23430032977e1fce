"""The matmuls of a linear head on torch's CPU tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from softxent.ops.linear import engines
from softxent.ops.tensors.dtypes import compute_dtype, is_half
from softxent.ops.tensors.kernels.buffers import as_array, empty

__all__ = ["TorchMatmuls"]


class TorchMatmuls:
    """Matmuls of one dtype, by the chosen engine; sums of half precision are float32.

    Args:
        dtype: of features and classifier.
        widens: whether these are half precision and are multiplied in float32: features a chunk at
            a time, the classifier block by block.
    """

    def __init__(self, dtype: torch.dtype, *, widens: bool = False) -> None:
        self.sum_dtype = compute_dtype(dtype)
        self.dtype = self.sum_dtype if widens else dtype
        self.half = is_half(self.dtype)
        self.logits_itemsize = self.dtype.itemsize
        self.sum_itemsize = self.sum_dtype.itemsize
        self.widens = widens
        self._use(engines.TORCH)

    def _use(self, engine: engines.Engine) -> None:
        self.engine = engine
        self.adds_in_place = engine.adds_in_place and not self.half
        self.copies = engine.copies or self.half  # the sums of half precision are float32

    def prepare(self, x: Tensor, w: Tensor) -> None:
        """Choose the engine for chunks and blocks like these."""
        self._use(engines.choose(self.features(x), self.features(w)))

    def features(self, x: Tensor) -> Tensor:
        """In the dtype of the logits, which is their own unless they are widened."""
        return x.to(self.dtype)

    def logits_buffer(self, rows: int, classes: int, spare: int) -> Tensor:
        """In half precision each row begins at a cache line: otherwise matmuls take twice as long.

        In float32 alignment makes no difference, and oneDNN copies rows that have gaps.
        """
        line = 64 // self.logits_itemsize if self.half else 1
        stride = -(-classes // line) * line
        size = rows * stride * self.logits_itemsize
        # Memory of a similar size is kept, so that the result gets the same pages. The untouched
        # end of memory that is too large costs nothing.
        keep = size <= spare + spare // 2
        memory = empty((max(size, spare) if keep else size,), torch.uint8, keep=keep)
        buffer = memory[:size].view(self.dtype).view(rows, stride)
        # oneDNN was seen to read the number after a row; a NaN there would spread.
        buffer[:, classes:] = 0
        return buffer[:, :classes]

    def zeros(self, *shape: int) -> Tensor:
        """In the dtype of the sums."""
        return empty(shape, self.sum_dtype).zero_()

    def scratch(self, size: int) -> Tensor:
        """In the dtype of the logits, which is that of a matmul's result."""
        return empty((size,), self.dtype)

    def as_array(self, logits: Tensor) -> npt.NDArray[Any]:
        """The buffer's own memory; bfloat16 as its bits."""
        return as_array(logits)

    def most_threads(self) -> int:
        """As many as torch.set_num_threads says."""
        return torch.get_num_threads()

    def logits(self, x: Tensor, w: Tensor, bias: Tensor | None, out: Tensor) -> None:
        """Set out to x w^T + bias."""
        self.engine.write(x, self.features(w).T, out)
        if bias is not None:
            out.add_(bias)

    def add_features(self, g: Tensor, w: Tensor, total: Tensor, scratch: Tensor) -> None:
        """Add g w to total."""
        self.engine.add(g, self.features(w), total, scratch)

    def add_classifier(self, g: Tensor, x: Tensor, total: Tensor, scratch: Tensor) -> None:
        """Add g^T x to total."""
        self.engine.add(g.T, x, total, scratch)

    def add_columns(self, g: Tensor, total: Tensor) -> None:
        """Add the sum of g over its rows to total."""
        total.add_(g.sum(dim=0, dtype=self.sum_dtype))

    def put(self, values: Tensor, out: Tensor, rows: Any) -> None:
        """Write values to out[rows], in the dtype of `out`."""
        out[rows] = values.to(out.dtype)

    def columns(self, logits: Tensor, classes: Any) -> Tensor:
        """A copy of some columns."""
        copy = empty((len(logits), len(classes)), logits.dtype)
        return torch.index_select(logits, 1, torch.from_numpy(classes), out=copy)

    def rows(self, w: Tensor, classes: npt.NDArray[Any]) -> Tensor:
        """A copy of the rows of some classes; w[classes] takes several times as long."""
        copy = empty((len(classes), w.shape[1]), w.dtype)
        return torch.index_select(w, 0, torch.from_numpy(classes), out=copy)

    def put_rows(self, values: Tensor, w: Tensor, classes: npt.NDArray[Any]) -> None:
        """Write such a copy back."""
        w.index_copy_(0, torch.from_numpy(classes), values)

    def reach(self, g: Tensor, limit: float, *, both_sides: bool) -> npt.NDArray[np.bool_]:
        """Whether each column has a number >= limit, or <= -limit, or NaN."""
        reached = ~(g.amax(dim=0) < limit)  # aminmax takes five times as long
        if both_sides:
            reached |= g.amin(dim=0) <= -limit
        result: npt.NDArray[np.bool_] = reached.numpy()
        return result
