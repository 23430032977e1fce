"""More than 2^31 elements: no offset and no count is held in 32 bits.

Memory that is only reserved stands in for the real thing: what nobody writes to takes none.
"""

from __future__ import annotations

import mmap
import os
import sys
from typing import Any

import numpy as np
import pytest

import softxent
from softxent import _native

Array = Any
MORE = 2**31 + 2**20
bfloat16_bits = np.uint16  # as the kernels' binding takes them

RESERVE_ONLY = 0x4000  # Linux's MAP_NORESERVE, which older Pythons don't name

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="how memory is reserved without having it differs"
)


def reserved(count: int, dtype: Any) -> Array:
    """Zeros that take memory only where they are written."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | RESERVE_ONLY
    try:
        memory = mmap.mmap(-1, count * np.dtype(dtype).itemsize, flags=flags)
    except OSError as error:
        pytest.skip(f"{count} elements can't be reserved: {error}")
    return np.frombuffer(memory, dtype, count)


def far_apart(shape: tuple[int, int], axis: int, dtype: Any) -> Array:
    """An array whose neighbours on this axis lie more than 2^31 elements apart."""
    steps = [MORE, 1] if axis == 0 else [1, MORE]
    whole = reserved((shape[axis] - 1) * MORE + shape[1 - axis], dtype)
    item = whole.itemsize
    return np.lib.stride_tricks.as_strided(whole, shape, [item * step for step in steps])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(3, 7), (3, 400), (100, 3)], ids=str)
def test_far_apart(shape: tuple[int, int], dtype: Any) -> None:
    far = shape.index(3)
    near = np.random.default_rng(0).normal(0, 3, shape).astype(dtype)
    target = np.arange(shape[0]) % shape[1]
    want, want_grad = softxent.cross_entropy_with_grad(near, target, reduction="none")
    x, out = far_apart(shape, far, dtype), far_apart(shape, far, dtype)
    x[...] = near
    close: dict[str, Any] = {
        "rtol": 4 * float(np.finfo(dtype).eps),
        "atol": float(np.finfo(dtype).tiny),
    }
    np.testing.assert_allclose(softxent.softmax(x, out=out), softxent.softmax(near), **close)
    np.testing.assert_allclose(softxent.logsumexp(x), softxent.logsumexp(near), **close)
    loss, grad = softxent.cross_entropy_with_grad(x, target, reduction="none", out=out)
    assert grad is out
    np.testing.assert_allclose(loss, want, rtol=1e-6)
    np.testing.assert_allclose(grad, want_grad, **close)
    softxent.cross_entropy_with_grad(x, target, reduction="none", out=x)
    np.testing.assert_array_equal(x, grad)


@pytest.mark.slow
def test_more_rows_times_classes() -> None:
    """All zeros but for one class of the last row."""
    classes = 2**14
    rows = MORE // classes + 1
    x = reserved(rows * classes, bfloat16_bits).reshape(rows, classes)
    x[-1, -1] = 0x4140  # 12
    lse = np.empty(rows)
    _native.logsumexp(x, lse)
    np.testing.assert_allclose(lse[:-1], np.log(classes), rtol=1e-7)
    assert lse[-1] == pytest.approx(np.log(classes - 1 + np.exp(12)), rel=1e-7)


@pytest.mark.skipif(
    "SOFTXENT_LARGE" not in os.environ, reason="SOFTXENT_LARGE isn't set: this takes 4.4 GB"
)
def test_more_rows_times_classes_in_place() -> None:
    classes = 1000
    rows = MORE // classes + 1
    x = reserved(rows * classes, np.float16).reshape(rows, classes)
    x[:, 17] = 3
    x[-1, -1] = 5
    target = np.full(rows, 17)
    loss, grad = softxent.cross_entropy_with_grad(x, target, reduction="none", out=x)
    assert grad is x
    first = np.zeros(classes, np.float16)
    first[17] = 3
    last = first.copy()
    last[-1] = 5
    for row, logits in ((0, first), (rows // 2, first), (rows - 2, first), (rows - 1, last)):
        want, want_grad = softxent.cross_entropy_with_grad(logits, 17, reduction="sum")
        assert loss[row] == want
        np.testing.assert_array_equal(grad[row], want_grad)
    assert (grad[: rows - 1] == grad[0]).all()
