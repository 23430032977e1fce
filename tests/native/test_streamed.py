"""Results too long for the caches are written past them: the same bits, and nothing beside them.

What is computed a few rows at a time is short, and isn't.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from softxent import _native

Kernel = Callable[[np.ndarray, np.ndarray, np.ndarray], None]

KERNELS: dict[str, Kernel] = {
    "softmax": lambda x, y, out: _native.softmax(x, out),
    "log_softmax": lambda x, y, out: _native.softmax(x, out, log=True),
    "gradient": lambda x, y, out: _native.cross_entropy(x, index=y, grad=out),
    "smoothed": lambda x, y, out: _native.cross_entropy(x, index=y, label_smoothing=0.1, grad=out),
    "backward": lambda x, y, out: backward(x, y, out),
}


def backward(x: np.ndarray, y: np.ndarray, out: np.ndarray) -> None:
    summary = np.empty((len(x), 2))
    _native.cross_entropy(x, index=y, summary=summary)
    _native.cross_entropy(x, index=y, summary=summary, from_summary=True, grad=out)


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """NaN is NaN: its sign is the processor's choice."""
    a, b = (
        (v.astype(np.uint32) << 16).view(np.float32) if v.dtype == np.uint16 else v for v in (a, b)
    )
    a, b = (np.where(np.isnan(v), v.dtype.type(np.nan), v) for v in (a, b))
    return a.tobytes() == b.tobytes()


def stored(x: np.ndarray, dtype: type) -> np.ndarray:
    """As dtype; uint16 stands for the bits of bfloat16, cut off."""
    return (x.view(np.uint32) >> 16).astype(dtype) if dtype is np.uint16 else x.astype(dtype)


SHAPES = [(1001, 0), (1001, 3), (9000, 1), (262_144, 5)]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(
    ("dtype", "classes", "offset"),
    [(dtype, *shape) for dtype in (np.float32, np.float64) for shape in SHAPES]
    + [(np.float16, *SHAPES[1]), (np.uint16, *SHAPES[2])],
)
def test_same_bits_as_a_few_rows_at_a_time(
    kernel: str, dtype: type, classes: int, offset: int, threads: None
) -> None:
    rows = 17 * 2**20 // (classes * np.dtype(dtype).itemsize) + 1
    rng = np.random.default_rng(classes)
    x = rng.standard_normal((rows, classes), dtype=np.float32)
    x[1] *= 30  # not of everyday size
    x[2, 7] = np.nan
    x[-1, classes // 2 :] = -np.inf
    x = stored(x, dtype)
    y = rng.integers(0, classes // 2, rows)
    y[3] = -100
    run = KERNELS[kernel]
    few = np.empty_like(x)
    for i in range(0, rows, rows // 5 + 1):
        part = slice(i, i + rows // 5 + 1)
        run(x[part], y[part], few[part])
    around = np.full(rows * classes + offset + 40, 7, dtype)
    out = around[offset : offset + rows * classes].reshape(rows, classes)
    for count in (1, 2, 40):  # 40: more than there are rows of 262,144
        _native.set_num_threads(count)
        out[:] = 7
        run(x, y, out)
        assert same_bits(out, few)
        assert (around[:offset] == 7).all()
        assert (around[offset + out.size :] == 7).all()
    run(x, y, x)
    assert same_bits(x, few)
