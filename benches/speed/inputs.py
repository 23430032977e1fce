"""The arrays of a cell, the exact answer, and the comparison with it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from benches.speed.grid import Cell
from softxent.ops import reference

Array = npt.NDArray[Any]

DTYPES: dict[str, npt.DTypeLike] = {"float32": np.float32, "bfloat16": ml_dtypes.bfloat16}
# The largest error of a number, relative to it and to the mean probability. torch and JAX round
# the log-probabilities of bfloat16, which are as large as 16, to 8 digits.
TOLERANCE = {"float32": 1e-4, "bfloat16": 0.1}
_BLOCK = 2**22  # numbers in a block of rows


@dataclass(frozen=True)
class Inputs:
    """Logits with a target for each row, and an array for a result."""

    cell: Cell
    x: Array
    y: npt.NDArray[np.int64]
    out: Array

    @property
    def rows(self) -> int:
        return self.y.size

    @property
    def classes(self) -> int:
        return int(self.x.shape[self.cell.axis])

    @classmethod
    def of(cls, cell: Cell) -> Inputs:
        rng = np.random.default_rng(0)
        x = rng.standard_normal(cell.shape, dtype=np.float32).astype(DTYPES[cell.dtype], copy=False)
        classes = cell.shape[cell.axis]
        rows = tuple(np.delete(cell.shape, cell.axis))
        return cls(cell, x, rng.integers(0, classes, rows), np.empty_like(x))

    def blocks(self, *arrays: Array) -> Iterator[tuple[Array, ...]]:
        """Rows of arrays of the logits' shape, with their targets, as many at a time as fit."""
        flat = [np.moveaxis(a, self.cell.axis, -1).reshape(-1, self.classes) for a in arrays]
        size = max(1, _BLOCK // self.classes)
        for begin in range(0, self.rows, size):
            part = slice(begin, begin + size)
            yield (self.y.reshape(-1)[part], *(a[part] for a in flat))


@dataclass(frozen=True)
class Answer:
    """The loss, or None, and an array of the logits' shape, or None."""

    loss: float | None = None
    array: Array | None = None


def exact_answer(inputs: Inputs) -> Answer:
    """By the formula in float64; the array is rounded to float32 at the end."""
    task, axis = inputs.cell.task, inputs.cell.axis
    array = None
    if task != "loss":  # in memory the classes of a row are adjacent, so that blocks are views
        array = np.moveaxis(np.empty((*inputs.y.shape, inputs.classes), np.float32), -1, axis)
    total = 0.0
    given = (inputs.x,) if array is None else (inputs.x, array)
    for y, x, *out in inputs.blocks(*given):
        if task == "softmax":
            result = reference.softmax(x)
        else:
            loss, gradient, _ = reference.cross_entropy(x, y)
            total += math.fsum(loss)
            result = gradient / inputs.rows
        if out:
            out[0][...] = result
    return Answer(None if task == "softmax" else total / inputs.rows, array)


def plain(x: Any) -> Array:
    """A tensor or an array of any library as NumPy's, half precision as float32."""
    if hasattr(x, "detach"):
        x = x.detach()
        return np.asarray(x.float() if x.element_size() < 4 else x)
    array: Array = np.asarray(x)
    is_half = array.dtype.kind != "f" or array.dtype.itemsize < 4
    return array.astype(np.float32) if is_half else array


def check(name: str, got: Answer, exact: Answer, inputs: Inputs) -> None:
    """Raise AssertionError where an answer isn't the exact one."""
    within = TOLERANCE[inputs.cell.dtype]
    where = f"{name}, {inputs.cell}"
    if exact.loss is not None:
        assert got.loss is not None, where
        error = abs(got.loss - exact.loss)
        assert error <= within * abs(exact.loss), f"{where}: loss {got.loss}, not {exact.loss}"
    if exact.array is None:
        return
    assert got.array is not None, where
    assert got.array.shape == exact.array.shape, where
    small = within / inputs.classes / (1 if inputs.cell.task == "softmax" else inputs.rows)
    for _, ours, wanted in inputs.blocks(got.array, exact.array):
        error = np.abs(ours - wanted)
        wrong = ~(error <= within * np.abs(wanted) + small)  # NaN is wrong, too
        assert not wrong.any(), f"{where}: off by {error[wrong].max()}"
