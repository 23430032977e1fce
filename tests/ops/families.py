"""The families of logits that exactness is promised for, at any number of classes and dtype."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
SIZES = (1, 2, 3, 10, 1000, 128_256, 1_000_000)


def depth(dtype: Any) -> float:
    """exp(-depth) is just above the smallest normal number."""
    return {"float16": 9.7, "float64": 708.3}.get(np.dtype(dtype).name, 87.3)


def _ahead(by: float) -> Callable[[Array, Any], Array]:
    """One class ahead of all others, which are equal."""
    return lambda z, dtype: np.where(_middle(z), by, 0 * z)


def _middle(z: Array) -> Array:
    return np.arange(z.shape[-1]) == z.shape[-1] // 2


# (randn of shape (rows, classes), the dtype) -> logits
FAMILIES: dict[str, Callable[[Array, Any], Array]] = {
    "randn": lambda z, dtype: z,
    "up to 100": lambda z, dtype: 30 * z,
    "up to 1e4": lambda z, dtype: np.clip(2500 * z, -1e4, 1e4),
    "offset 1e4": lambda z, dtype: z + 1e4,
    "offset -1e4": lambda z, dtype: 3 * z - 1e4,
    "all equal": lambda z, dtype: np.full_like(z, 0.1),
    "all equal, far": lambda z, dtype: np.full_like(z, -9999.7),
    "near ties": lambda z, dtype: 3 + 1e-6 * z,
    "20 ahead": _ahead(20),
    "40 ahead": _ahead(40),
    "88 ahead": _ahead(88),
    "ahead of noise": lambda z, dtype: np.where(_middle(z), 30.3, z),
    "the smallest probability": lambda z, dtype: np.where(_middle(z), depth(dtype) - 6, z - 0.3),
    "the smallest loss": lambda z, dtype: np.where(
        _middle(z), depth(dtype) + np.log(max(z.shape[-1] - 1, 1)), 0 * z
    ),
    "masked": lambda z, dtype: np.where((z < 0.3) & ~_middle(z), -np.inf, z),
}


def logits(family: str, rows: int, classes: int, dtype: Any) -> Array:
    """The same numbers in every run."""
    z = np.random.default_rng(classes).standard_normal((rows, classes))
    return FAMILIES[family](z, dtype).astype(dtype)


def rows_of(classes: int) -> int:
    """Enough rows for one to each lane, and then for one at a time."""
    return 20 if classes <= 10 else 3 if classes <= 1000 else 1


@functools.cache
def places(classes: int) -> Array:
    """Of long rows some classes: a few everywhere, the ends, and where blocks of 1024 meet."""
    if classes <= 1000:
        return np.arange(classes)
    edges = np.arange(0, classes, 16_384)
    some = [edges, edges - 1, np.arange(0, classes, 997), [classes // 2, classes - 1, classes - 2]]
    return np.unique(np.concatenate(some) % classes)


def targets(x: Array) -> list[int]:
    """The likeliest class and the unlikeliest that isn't masked."""
    wide = x.astype(np.float64)
    unmasked = np.where(np.isfinite(wide), wide, np.inf)
    return [int(wide.argmax()), int(unmasked.argmin())]
