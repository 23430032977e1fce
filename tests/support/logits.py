"""The hard inputs: logits that lose digits in a simple implementation, and ordinary ones.

`FAMILIES` can be drawn at any number of classes; `BATCHES` are small fixed batches for tests that
compute 50 digits of every result. Each returns the same numbers in every run.
"""

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


# --- families, at any number of classes ----------------------------------------------------------


def _middle(z: Array) -> Array:
    return np.asarray(np.arange(z.shape[-1]) == z.shape[-1] // 2)


def _ahead(by: float, others: float = 0) -> Callable[[Array, Any], Array]:
    """One class ahead of all others, which are equal."""
    return lambda z, dtype: np.where(_middle(z), by, 0 * z) + others


Family = Callable[[Array, Any], Array]  # (randn of shape (rows, classes), the dtype) -> logits

# The families of docs/exactness.md.
PUBLISHED: dict[str, Family] = {
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

# Around the limits at which the kernels choose how to compute a row: logits of size 60, common
# offsets, a spread beyond what is promised.
KERNELS: dict[str, Family] = {
    "times 100": lambda z, dtype: 100 * z,
    "times 1e4": lambda z, dtype: 1e4 * z,
    "offset 250": lambda z, dtype: 20 * z + 250,
    "offset -270": lambda z, dtype: 20 * z - 270,
    "all near -60": lambda z, dtype: 1e-2 * z - 59.5,
    "all near 60": lambda z, dtype: 1e-2 * z + 59.5,
    "beyond 60": lambda z, dtype: z + 60,
    "from -60 to 60": lambda z, dtype: 0 * z + np.linspace(-60, 60, z.shape[-1]),
    "below the maximum": lambda z, dtype: 0 * z - 1e-3 * np.arange(z.shape[-1]) - 1e-7,
    "40 ahead of -3": _ahead(40, -3),
    "85 ahead": _ahead(85),
    "700 ahead": _ahead(700),
}

FAMILIES = PUBLISHED | KERNELS


def logits(family: str, rows: int, classes: int, dtype: Any) -> Array:
    """Rows of a family."""
    z = np.random.default_rng(classes).standard_normal((rows, classes))
    return FAMILIES[family](z, dtype).astype(dtype)


def rows_of(classes: int) -> int:
    """How many rows: enough for one in each lane of a vector, and then one at a time."""
    return 20 if classes <= 10 else 3 if classes <= 1000 else 1


@functools.cache
def places(classes: int) -> Array:
    """Which classes of a long row to compare: some everywhere, the ends, and where blocks meet."""
    if classes <= 1000:
        return np.arange(classes)
    edges = np.arange(0, classes, 16_384)
    ends = np.array([classes // 2, classes - 1, classes - 2])
    some = np.concatenate([edges, edges - 1, np.arange(0, classes, 997), ends])
    return np.unique(some % classes)


def targets(x: Array) -> list[int]:
    """The likeliest class of a row, and the least likely that isn't masked."""
    wide = x.astype(np.float64)
    unmasked = np.where(np.isfinite(wide), wide, np.inf)
    return [int(wide.argmax()), int(unmasked.argmin())]


# --- fixed batches -------------------------------------------------------------------------------


def _rng(name: str) -> np.random.Generator:
    return np.random.default_rng(sum(name.encode()))


def _below_tiny(dtype: Any) -> float:
    """2 less than what `depth` says: for two or three classes."""
    return float(-np.log(np.finfo(dtype).tiny) - 2)


def ordinary(dtype: Any) -> Array:
    return _rng("ordinary").normal(size=(6, 10)).astype(dtype)


def thousand(dtype: Any) -> Array:
    return _rng("thousand").normal(0, 5, (2, 1000)).astype(dtype)


def confident(dtype: Any) -> Array:
    """Where `lse - x` gives 0: the losses are exp(-20), exp(-40), exp(-87)."""
    rows = [[20, 0], [0, 40], [88, 0], [1e-3, -87], [3000.5, 3000.5 - 50]]
    return np.array(rows, dtype)


def most_confident(dtype: Any) -> Array:
    """Losses down to the smallest normal number."""
    d = _below_tiny(dtype)
    return np.array([[0, -d, -d + 1], [17.25, -d + 19, 17.25 - d]], dtype)


def far(dtype: Any) -> Array:
    """Logits up to 1e4 apart."""
    rows = _rng("far").uniform(-5000, 5000, (4, 60))
    rows[:, ::7] = 5000 - _rng("close").uniform(0, 80, rows[:, ::7].shape)
    return rows.astype(dtype)


def offset(dtype: Any) -> Array:
    """Common offsets up to 1e4."""
    common: Array = np.array([[1e4], [-1e4], [123.4], [-77.7]])
    return (_rng("offset").normal(0, 5, (4, 50)) + common).astype(dtype)


def deep(dtype: Any) -> Array:
    """A small maximum over logits far below it: the difference doesn't fit in one float."""
    d = _below_tiny(dtype)
    rows = -_rng("deep").uniform(0.2 * d, d, (3, 40))
    rows[:, 0] = [-0.1234567, 0.7654321, -3.3]
    return rows.astype(dtype)


def ties(dtype: Any) -> Array:
    rows = [[0.3] * 8, [1, 1, 0, 0, 1, 1, 0, 0], [5, 5, -5, -5, 5, 5, 5, 5], [-2.5] * 8]
    return np.array(rows, dtype)


def masked(dtype: Any) -> Array:
    rows = _rng("masked").normal(0, 3, (4, 20)).astype(dtype)
    rows[:, 1::2] = -np.inf
    rows[3, 2:] = -np.inf
    return rows


def lse_near_zero(dtype: Any) -> Array:
    """The maximum and log(sum exp(z - max)) cancel in the log-sum-exp."""
    logs: Array = np.log(np.array([[0.5, 0.25, 0.25], [0.9, 0.07, 0.03], [0.2, 0.3, 0.5]]))
    return logs.astype(dtype)


def wide(dtype: Any) -> Array:
    """The hard rows over so many classes that the kernels compute each row by itself."""
    d = _below_tiny(dtype)
    rows = _rng("wide").normal(0, 1, (6, 700))
    rows[0, 500] = 60  # a confident prediction
    rows[1] -= 0.9 * d
    rows[1, 3] = 0.7  # the most confident
    rows[2] = _rng("far").uniform(-5000, 5000, 700)
    rows[2, ::50] = 5000 - np.arange(14)
    rows[3] += 1e4
    rows[4, 1::3] = -np.inf
    rows[5] = np.repeat([2.5, 2.5, -1.0, 2.25, 0.0, -80.0, 2.5], 100)
    return rows.astype(dtype)


BATCHES: dict[str, Callable[[Any], Array]] = {
    batch.__name__: batch
    for batch in (
        *(ordinary, thousand, wide, confident, most_confident, far, offset, deep, ties, masked),
        lse_near_zero,
    )
}


def million(dtype: Any) -> Array:
    """A million classes with 64 values among them, so that the oracle can count them."""
    values = _rng("million").normal(0, 4, 64).astype(dtype)
    return values[_rng("places").integers(0, 64, (1, 1_000_000))]
