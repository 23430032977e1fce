"""The matrix products of a linear head on torch's CPU tensors, by the fastest engine there is.

Which engine multiplies fastest depends on the processor and on the shape: torch's own (MKL, or
oneDNN for half precision), NumPy's BLAS and oneDNN have each been up to twice as fast as another.
The first products of a kind are made by each in turn, and the fastest is kept for the life of the
process, so that the same call gives the same bits. SOFTXENT_PRODUCTS names one instead.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from softxent.errors import OptionError
from softxent.ops import native

__all__ = ["TorchProducts", "as_array", "chosen_engines", "empty", "engines", "zeros"]


@dataclass(frozen=True, slots=True)
class _Engine:
    write: Callable[[Tensor, Tensor, Tensor], Any]  # out = a b
    add: Callable[[Tensor, Tensor, Tensor, Tensor], Any]  # out += a b, with room for a b


def _torch_add(a: Tensor, b: Tensor, out: Tensor, scratch: Tensor) -> None:
    if out.dtype == a.dtype:
        out.addmm_(a, b)
    else:  # a sum in float32 of products in half precision
        out.add_(torch.mm(a, b, out=_shaped(scratch, out)))


def _numpy_write(a: Tensor, b: Tensor, out: Tensor) -> None:
    np.matmul(a.numpy(), b.numpy(), out=out.numpy())


def _numpy_add(a: Tensor, b: Tensor, out: Tensor, scratch: Tensor) -> None:
    part = _shaped(scratch, out)
    _numpy_write(a, b, part)
    out.add_(part)


def _onednn(a: Tensor, b: Tensor) -> Tensor:
    result: Tensor = torch.ops.mkldnn._linear_pointwise(a, b.T, None, "none", [], "")
    return result


def _shaped(scratch: Tensor, like: Tensor) -> Tensor:
    return scratch[: like.numel()].view(like.shape)


_ENGINES = {
    "torch": _Engine(lambda a, b, out: torch.mm(a, b, out=out), _torch_add),
    "onednn": _Engine(
        lambda a, b, out: out.copy_(_onednn(a, b)),
        lambda a, b, out, scratch: out.add_(_onednn(a, b)),
    ),
    "numpy": _Engine(_numpy_write, _numpy_add),
}
_SMALL = 2**21  # multiplications: below, nothing is worth measuring
_GAIN = 0.9  # another engine's threads get in the way of torch's: it has to be that much faster
_chosen: dict[tuple[Any, ...], str] = {}
_lock = threading.Lock()


def engines(dtype: torch.dtype) -> list[str]:
    """The engines that can multiply tensors of a dtype here; torch's own comes first.

    NumPy's has threads of its own: it is left out where torch was told to use fewer.
    """
    names = ["torch"]
    if dtype == torch.float32 and torch._C._has_mkldnn:
        names.append("onednn")
    if dtype in (torch.float32, torch.float64) and (
        torch.get_num_threads() >= native.get_num_threads()
    ):
        names.append("numpy")
    return names


def chosen_engines() -> dict[str, str]:
    """The dtypes and sizes (rows, width, classes) met so far, each with its engine.

    Sizes are rounded up to powers of 2: within a factor of 2 they share an engine.
    """
    return {" ".join(str(part) for part in key): name for key, name in _chosen.items()}


def _choose(x: Tensor, w: Tensor) -> str:
    """The engine for products of these rows and this block of classes."""
    names = engines(x.dtype)
    pinned = os.environ.get("SOFTXENT_PRODUCTS")
    if pinned:
        if pinned not in _ENGINES:
            raise OptionError(
                f"[softxent] SOFTXENT_PRODUCTS is {pinned!r}: valid are {', '.join(_ENGINES)}."
            )
        return pinned if pinned in names else "torch"
    sizes = (*x.shape, len(w))
    if len(names) == 1 or sizes[0] * sizes[1] * sizes[2] < _SMALL:
        return "torch"
    rounded = (1 << max(0, size - 1).bit_length() for size in sizes)
    key = (str(x.dtype).removeprefix("torch."), *rounded)
    with _lock:
        if key not in _chosen:
            _chosen[key] = _fastest(names, x, w)
    return _chosen[key]


def _fastest(names: list[str], x: Tensor, w: Tensor) -> str:
    """By the best of four rounds of the three products, the first of which isn't counted.

    The rounds of an engine follow each other: threads of another one that still wait for work
    would slow it down.
    """
    shapes = (len(x), len(w)), x.shape, w.shape
    tile, dx, dw = (empty(tuple(shape), x.dtype, keep=False) for shape in shapes)
    best = {}
    for name in names:
        write, taken = _ENGINES[name].write, []
        for _ in range(4):
            start = time.perf_counter()
            write(x, w.T, tile)
            write(tile, w, dx)
            write(tile.T, x, dw)
            taken.append(time.perf_counter() - start)
        best[name] = min(taken[1:])
    fastest = min(names, key=best.__getitem__)
    return fastest if best[fastest] < _GAIN * best["torch"] else "torch"


class TorchProducts:
    """The products for tensors of one dtype; sums of half precision are float32."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.half = dtype in (torch.float16, torch.bfloat16)
        self.sum_dtype = torch.float32 if self.half else dtype
        self.tile_itemsize = dtype.itemsize
        self.sum_itemsize = self.sum_dtype.itemsize
        self.engine = _ENGINES["torch"]
        self.adds_in_place = not self.half
        self.copies = self.half  # its sums are float32
        self.widens = False

    def prepare(self, x: Tensor, w: Tensor) -> None:
        """Choose the engine for chunks and blocks like these."""
        name = _choose(x, w)
        self.engine = _ENGINES[name]
        self.adds_in_place = name == "torch" and not self.half
        self.copies = name == "onednn" or self.half

    def tile(self, rows: int, classes: int, spare: int) -> Tensor:
        """Each row begins a cache line in half precision: products take up to twice as long else.

        In float32 that makes no difference, and oneDNN copies rows with gaps between them.
        """
        line = 64 // self.tile_itemsize if self.half else 1
        stride = -(-classes // line) * line
        size = rows * stride * self.tile_itemsize
        # Kept where the result fits into it, and isn't much smaller: it then has the same pages.
        # What a tile leaves untouched of memory that is large enough costs nothing.
        keep = size <= spare + spare // 2
        memory = empty((max(size, spare) if keep else size,), torch.uint8, keep=keep)
        tile = memory[:size].view(self.dtype).view(rows, stride)
        tile[:, classes:] = 0  # oneDNN was seen to read a row's next number: NaN there would spread
        return tile[:, :classes]

    def zeros(self, *shape: int) -> Tensor:
        """In the dtype of the sums."""
        return zeros(shape, self.sum_dtype)

    def scratch(self, size: int) -> Tensor:
        """In the tile's dtype: what a product gives."""
        return empty((size,), self.dtype)

    def as_array(self, tile: Tensor) -> npt.NDArray[Any]:
        """The tensor's own memory; bfloat16 as its bits."""
        return as_array(tile)

    def logits(self, x: Tensor, w: Tensor, bias: Tensor | None, out: Tensor) -> None:
        """Out = x w^T + bias."""
        self.engine.write(x, w.T, out)
        if bias is not None:
            out.add_(bias)

    def add_features(self, g: Tensor, w: Tensor, total: Tensor, scratch: Tensor) -> None:
        """Total += g w."""
        self.engine.add(g, w, total, scratch)

    def add_classifier(self, g: Tensor, x: Tensor, total: Tensor, scratch: Tensor) -> None:
        """Total += g^T x."""
        self.engine.add(g.T, x, total, scratch)

    def add_columns(self, g: Tensor, total: Tensor) -> None:
        """Total += the sum of g over its rows."""
        total.add_(g.sum(dim=0, dtype=self.sum_dtype))

    def put(self, values: Tensor, out: Tensor, rows: Any) -> None:
        """out[rows] = values, in the dtype of `out`."""
        out[rows] = values.to(out.dtype)

    def columns(self, tile: Tensor, classes: Any) -> Tensor:
        """A copy of scattered columns."""
        copy = empty((len(tile), len(classes)), tile.dtype)
        return torch.index_select(tile, 1, torch.from_numpy(classes), out=copy)

    def rows(self, w: Tensor, classes: npt.NDArray[Any]) -> Tensor:
        """A copy of some classes' rows; indexing as such takes several times as long."""
        copy = empty((len(classes), w.shape[1]), w.dtype)
        return torch.index_select(w, 0, torch.from_numpy(classes), out=copy)

    def put_rows(self, values: Tensor, w: Tensor, classes: npt.NDArray[Any]) -> None:
        """Write such a copy back."""
        w.index_copy_(0, torch.from_numpy(classes), values)

    def reach(self, g: Tensor, limit: float, *, both_sides: bool) -> npt.NDArray[Any]:
        """Whether each column has a number >= limit, or <= -limit, or NaN."""
        reached = ~(g.amax(dim=0) < limit)  # aminmax takes five times as long
        if both_sides:
            reached |= g.amin(dim=0) <= -limit
        result: npt.NDArray[Any] = reached.numpy()
        return result


def zeros(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Zeros for a result."""
    return empty(shape, dtype).zero_()


def empty(shape: tuple[int, ...], dtype: torch.dtype, *, keep: bool = True) -> Tensor:
    """Uninitialised; a large one in memory that an earlier tensor has given back.

    The pages of a classifier's gradient can cost as much as one of the products.
    """
    if 0 in shape:
        return torch.empty(shape, dtype=dtype)
    size = native.product(shape) * dtype.itemsize
    memory = native.fresh((size,), np.dtype(np.uint8), keep=keep)
    return torch.from_numpy(memory).view(dtype).view(shape)


def as_array(x: Tensor) -> npt.NDArray[Any]:
    """A CPU tensor's own memory as the kernels take it; bfloat16 as its bits."""
    return (x.view(torch.uint16) if x.dtype == torch.bfloat16 else x).numpy()
