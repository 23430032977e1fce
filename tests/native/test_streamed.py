"""Large results are written with non-temporal stores: the same bits, and nothing beside them.

The same rows computed a few at a time are small results, which use ordinary stores.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from softxent import _native
from tests.support.bits import same_bits

KERNELS: dict[str, Callable[..., Any]] = {
    "softmax": lambda x, y, out: _native.softmax(x, out),
    "log_softmax": lambda x, y, out: _native.softmax(x, out, log=True),
    "gradient": lambda x, y, out: _native.cross_entropy(x, index=y, grad=out),
    "smoothed": lambda x, y, out: _native.cross_entropy(x, index=y, label_smoothing=0.1, grad=out),
    "backward": lambda x, y, out: backward(x, y, out),
}


def backward(x: np.ndarray, y: np.ndarray, out: np.ndarray) -> None:
    saved = np.empty((len(x), 2))
    _native.cross_entropy(x, index=y, saved=saved)
    _native.cross_entropy(x, index=y, saved=saved, from_saved=True, grad=out)


def stored(x: np.ndarray, dtype: Any) -> np.ndarray:
    """x as dtype; uint16 stands for the bits of bfloat16, truncated."""
    return (x.view(np.uint32) >> 16).astype(dtype) if dtype is np.uint16 else x.astype(dtype)


SHAPES = [(1001, 0), (1001, 3), (9000, 1), (262_144, 5)]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(
    ("dtype", "classes", "offset"),
    [(dtype, *shape) for dtype in (np.float32, np.float64) for shape in SHAPES]
    + [(np.float16, *SHAPES[1]), (np.uint16, *SHAPES[2])],
)
@pytest.mark.slow
def test_same_bits_as_a_few_rows_at_a_time(
    kernel: str, dtype: Any, classes: int, offset: int, threads: None
) -> None:
    rows = 17 * 2**20 // (classes * np.dtype(dtype).itemsize) + 1
    rng = np.random.default_rng(classes)
    x = rng.standard_normal((rows, classes), dtype=np.float32)
    x[1] *= 30  # far from 0
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


# Float gradients of smoothed targets are computed in double and never streamed.
@pytest.mark.parametrize("kernel", [name for name in KERNELS if name != "smoothed"])
@pytest.mark.slow
def test_alternating_stores_give_the_same_bits(kernel: str, threads: None) -> None:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((1101, 4003), dtype=np.float32)
    y = rng.integers(0, 4003, len(x))
    first, out = np.empty_like(x), np.empty_like(x)
    streamed = []
    for count in (4, *[3] * 10):  # with another number of threads, nothing is decided
        _native.set_num_threads(count)
        out[:] = 7
        KERNELS[kernel](x, y, out)
        streamed.append(_native.last_streamed())
        if count == 4:
            first[:] = out
        assert same_bits(out, first)
    assert streamed == [True] + [True, False] * 5
    KERNELS[kernel](x, y, x)
    assert same_bits(x, first)  # over the logits: can't be streamed, and isn't counted
    assert not _native.last_streamed()


@pytest.mark.parametrize(("streamed", "cached", "stays"), [(1.0, 0.8, False), (1.0, 0.97, True)])
def test_similar_calls_alternate_until_one_is_faster(
    streamed: float, cached: float, stays: bool
) -> None:
    """Streaming stays where ordinary stores save less than a twentieth."""
    calls = [(1000, 2, streamed, cached)] * 14
    assert _native.alternating_stores(calls) == [True, False] * 5 + [stays] * 4


def test_two_delayed_calls_decide_nothing() -> None:
    calls = [(1000, 2, 1.0, 0.8)] * 14
    calls[3] = calls[7] = (1000, 2, 0.0, 9.0)
    assert _native.alternating_stores(calls)[10:] == [False] * 4


def test_different_calls_are_streamed_and_not_compared() -> None:
    calls = [(1000 + i % 2, 2, 1.0, 0.5) for i in range(40)]
    assert _native.alternating_stores(calls) == [True] * 40


def test_another_number_of_threads_starts_again() -> None:
    calls = [(1000, 2, 1.0, 0.5)] * 12 + [(1000, 8, 1.0, 2.0)] * 12
    assert _native.alternating_stores(calls)[10:] == [False] * 2 + [True, False] * 5 + [True] * 2
