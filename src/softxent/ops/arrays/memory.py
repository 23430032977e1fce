"""Memory of large results, kept for the next ones."""

from __future__ import annotations

import numpy as np

from softxent import _native
from softxent.ops.arrays.intake import Array
from softxent.ops.spec import size_of

__all__ = ["POOLED_BYTES", "empty_cache", "uninitialized"]

POOLED_BYTES = 1 << 20  # for smaller arrays NumPy is faster than the pool


def uninitialized(
    shape: tuple[int, ...], dtype: np.dtype[np.generic], *, keep: bool = True
) -> Array:
    """An uninitialized array; a large one in memory that earlier results have released.

    With `keep=False` a large one comes from the system and goes back there when it is released.
    """
    size = size_of(shape) * dtype.itemsize
    if size < POOLED_BYTES:
        return np.empty(shape, dtype)
    return np.ndarray(shape, dtype, _native.empty(size, keep))


def empty_cache() -> None:
    """Return the memory of results that are no longer in use to the system.

    The first use of fresh memory takes longer than a softmax over it, because the system has to
    provide its pages. So results of 1 MiB and more live in memory that is kept for the next result
    when their arrays are released: at most 512 MiB in all, or as many bytes as the environment
    variable SOFTXENT_CACHE_BYTES says (0 keeps none). Arrays in use are not touched.

    Example:
        >>> empty_cache()
    """
    _native.release_memory()
