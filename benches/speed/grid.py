"""Which tasks, shapes and dtypes are measured."""

from __future__ import annotations

import math
from dataclasses import dataclass

TASKS = ("loss and gradient", "loss", "softmax", "linear head")
DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True, slots=True)
class Cell:
    """One task on logits of a shape; a linear head has (rows, features, classes)."""

    task: str
    dtype: str
    shape: tuple[int, ...]
    axis: int = -1

    @property
    def megabytes(self) -> float:
        """Of the logits, in 2^20 bytes."""
        shape = self.shape[::2] if self.task == "linear head" else self.shape
        return math.prod(shape) * (4 if self.dtype == "float32" else 2) / 2**20

    def __str__(self) -> str:
        where = "" if self.axis == -1 else f" axis {self.axis}"
        return f"{self.task}, {self.dtype} {self.shape}{where}"


_IMAGES = (4, 19, 512, 512)  # classes on axis 1, as in segmentation
_SHAPES: tuple[tuple[int, ...], ...] = (
    (64, 10), (1024, 100), (1024, 1000), (65536, 10), (65536, 100), (16384, 1000), (2048, 32000),
    (1024, 128256), _IMAGES,
)  # fmt: skip
_HALF_SHAPES: tuple[tuple[int, ...], ...] = (
    (1024, 1000), (65536, 100), (16384, 1000), (2048, 32000),
)  # fmt: skip
_SOFTMAX_SHAPES: tuple[tuple[int, ...], ...] = ((65536, 10), (16384, 1000), (2048, 32000))
_HEAD, _LARGE_HEAD = (512, 256, 8192), (2048, 768, 50257)

_FULL_CLASSES = (10, 20, 50, 100, 200, 500, 1000, 10000, 32000, 50257, 128256)
_FULL_MEGABYTES = (1, 8, 64, 512)


def _cell(task: str, dtype: str, shape: tuple[int, ...]) -> Cell:
    return Cell(task, dtype, shape, 1 if shape == _IMAGES else -1)


def default_grid() -> list[Cell]:
    """A few minutes: from (64, 10) to (1024, 128256)."""
    cells = [_cell("loss and gradient", "float32", shape) for shape in _SHAPES]
    cells += [_cell("loss and gradient", "bfloat16", shape) for shape in _HALF_SHAPES]
    cells += [_cell("loss", "float32", shape) for shape in _SHAPES]
    cells += [_cell("softmax", "float32", shape) for shape in _SOFTMAX_SHAPES]
    return cells + [Cell("linear head", dtype, _HEAD) for dtype in DTYPES]


def full_grid() -> list[Cell]:
    """1 to 512 MB of 10 to 128256 classes in both dtypes, beside the default grid; hours."""
    cells = dict.fromkeys(default_grid())
    for dtype, size in zip(DTYPES, (4, 2), strict=True):
        sized = [
            (rows, classes)
            for classes in _FULL_CLASSES
            for megabytes in _FULL_MEGABYTES
            if (rows := round(megabytes * 2**20 / size / classes)) > 0
        ]
        for task in ("loss and gradient", "loss", "softmax"):
            cells |= dict.fromkeys(_cell(task, dtype, shape) for shape in (*_SHAPES, *sized))
        cells[Cell("linear head", dtype, _LARGE_HEAD)] = None
    return sorted(cells, key=lambda c: (TASKS.index(c.task), DTYPES.index(c.dtype), c.megabytes))
