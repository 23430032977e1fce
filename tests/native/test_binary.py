"""The kernel of binary cross-entropy: one logit against a class of two."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from softxent import _native
from tests.support import oracle
from tests.support.oracle import mp, ulps

BOUND = 4.0
Array = np.ndarray[Any, np.dtype[Any]]


def exact(x: float, y: float, v: float = 1, w: float = 1) -> tuple[Any, Any]:
    """Loss and gradient to 50 digits."""
    with mp.workdps(400 if abs(x) > 50 else 60):
        z, yes, no = mp.mpf(x), mp.mpf(w) * v * y, mp.mpf(w) * (1 - mp.mpf(y))
        loss = no * mp.log(1 + mp.exp(z)) + yes * mp.log(1 + mp.exp(-z))
        p = 1 / (1 + mp.exp(-z))
        return loss, no * p - yes * (1 - p)


def run(x: Array, y: Array, **options: Any) -> tuple[float, Array, Array]:
    loss, grad = np.empty_like(x), np.empty_like(x)
    total = _native.binary_cross_entropy(x, y, loss=loss, grad=grad, **options)
    return total, loss, grad


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_loss_and_gradient(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([
        rng.standard_normal(40), 30 * rng.standard_normal(40),
        [0.0, -0.0, 1e-30, 20, 40, 85, -85, 705, -705, 1e-8, -1e-8],
    ]).astype(dtype)  # fmt: skip
    for target in (0.0, 1.0):  # between 0 and 1, p - y has no more digits than p and y
        y = np.full(len(x), target, dtype)
        v, w = rng.random(len(x)).astype(dtype), rng.random(len(x)).astype(dtype)
        _, loss, grad = run(x, y, positive_weight=v, weight=w)
        for k in range(len(x)):
            want = exact(float(x[k]), target, float(v[k]), float(w[k]))
            assert ulps(loss[k], want[0]) <= BOUND, (x[k], target)
            assert ulps(grad[k], want[1]) <= BOUND, (x[k], target)


def test_targets_between_the_classes() -> None:
    rng = np.random.default_rng(1)
    x, y = 3 * rng.standard_normal(100), rng.random(100)
    _, loss, grad = run(x, y)
    for k in range(len(x)):
        want = exact(x[k], y[k])
        assert ulps(loss[k], want[0]) <= BOUND
        p = 1 / (1 + np.exp(-x[k]))
        term = max((1 - y[k]) * p, y[k] * (1 - p))  # the gradient is a difference of two
        assert ulps(grad[k], want[1], of=oracle.exact(term)) <= BOUND


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 511, 512, 513, 5000])
def test_every_element_counts_once(count: int, threads: None) -> None:
    rng = np.random.default_rng(count)
    x, y = rng.standard_normal(count), (rng.random(count) < 0.5).astype(float)
    names = ("positive_weight", "weight", "upstream")
    options = {name: rng.random(count) for name in names}
    total, loss, grad = run(x, y, **options)
    assert total == pytest.approx(loss.sum(), rel=1e-14)
    for k in range(0, count, 97):
        here = {name: options[name][k : k + 1].copy() for name in names}
        alone = run(x[k : k + 1].copy(), y[k : k + 1].copy(), **here)
        assert alone[0] == alone[1][0] == loss[k]
        assert alone[2][0] == grad[k]
    for number in (1, 3):
        _native.set_num_threads(number)
        again = run(x, y, **options)
        assert again[0] == total
        np.testing.assert_array_equal(again[1], loss)
        np.testing.assert_array_equal(again[2], grad)


def test_upstream_and_scale() -> None:
    rng = np.random.default_rng(2)
    x, y, up = rng.standard_normal(50), rng.random(50), rng.standard_normal(50)
    plain, scaled = run(x, y)[2], run(x, y, upstream=up, scale=0.25)[2]
    np.testing.assert_allclose(scaled, plain * up * 0.25, rtol=1e-15)


def test_masked_and_undefined_logits() -> None:
    x = np.array([-np.inf, -np.inf, np.inf, np.nan, np.nan])
    y = np.array([0.0, 1.0, 1.0, 0.0, 1.0])
    total, loss, grad = run(x, y)
    np.testing.assert_array_equal(loss, [0, np.inf, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(grad, [0, -1, np.nan, np.nan, np.nan])
    assert np.isnan(total)
    _, loss, _ = run(x, y, weight=np.zeros(5))
    np.testing.assert_array_equal(loss, 0)


def test_half_precision() -> None:
    x = np.linspace(-20, 20, 301).astype(np.float16)
    y = (np.arange(301) % 2).astype(np.float16)
    _, loss, grad = run(x, y)
    want, slope = run(x.astype(np.float64), y.astype(np.float64))[1:]
    np.testing.assert_array_equal(loss, want.astype(np.float16))
    np.testing.assert_array_equal(grad, slope.astype(np.float16))
    bits = x.astype(np.float32).view(np.uint32) >> 16  # as bfloat16, truncated
    short = bits.astype(np.uint16)
    from_bits = (bits.astype(np.uint32) << 16).view(np.float32)
    into = np.empty(301)
    _native.binary_cross_entropy(short, y, loss=into)
    wide = run(from_bits.astype(np.float64), y.astype(float))[1]
    np.testing.assert_allclose(into, wide, rtol=2**-32)  # more than float32 holds


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_the_precision_is_that_of_the_logits(dtype: Any) -> None:
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal(50), (rng.random(50) < 0.5).astype(dtype)
    for got, want in zip(run(x, y), run(x, y.astype(np.float64)), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("bad", [-0.1, 1.5, np.nan])
@pytest.mark.parametrize("place", [0, 300, 1023])
def test_targets_outside_are_refused(bad: float, place: int) -> None:
    y = np.zeros(1024)
    y[place] = bad
    with pytest.raises(IndexError):
        _native.binary_cross_entropy(np.zeros(1024), y)


def test_arrays_that_do_not_fit_are_refused() -> None:
    x, y = np.zeros(8), np.zeros(8)
    call: Any = _native.binary_cross_entropy
    for name, wrong in itertools.product(
        ("positive_weight", "weight", "loss", "upstream", "grad"),
        (np.zeros(7), np.zeros((2, 4)), np.zeros(16)[::2]),
    ):
        with pytest.raises(ValueError, match="contiguous"):
            call(x, y, **{name: wrong})
    for name in ("loss", "grad"):
        with pytest.raises(BufferError, match="another array"):
            call(x, y, **{name: x})
        with pytest.raises(TypeError):
            call(x, y, **{name: np.zeros(8, int)})
