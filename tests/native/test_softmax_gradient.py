"""The gradients of softmax and log_softmax: exactness, edges, layouts, threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from softxent import _native
from tests.support import long_double, oracle
from tests.support.bits import from_half, to_half
from tests.support.bounds import HALF_ULP, SOFTMAX_GRADIENT_ULP, ULP
from tests.support.logits import FAMILIES, logits
from tests.support.oracle import ulps

Array = np.ndarray[Any, np.dtype[Any]]
DTYPES = [np.float32, np.float64]
SIZES = (1, 2, 3, 10, 70, 200)  # with more than 160 classes rows are computed one by one
UPSTREAM = ("normal", "of a loss", "nearly constant")


def upstream_of(kind: str, x: Array) -> Array:
    g: Any = np.random.default_rng(x.shape[-1]).standard_normal(x.shape)
    if kind == "of a loss":
        g = np.zeros(x.shape)
        g[..., x.shape[-1] // 2] = -1
    elif kind == "nearly constant":
        g = 100 + 1e-3 * g
    result: Array = g.astype(x.dtype)
    return result


def bound_of(log: bool) -> float:
    return ULP if log else SOFTMAX_GRADIENT_ULP


def terms_of(want: oracle.Gradient) -> list[Any]:
    """The sizes that an error is relative to; sums of float64 probabilities below 2^-1022 lose
    digits."""
    return [max(term, oracle.mp.mpf(2) ** -1010) for term in want.terms]


def gradient(x: Array, g: Array, *, log: bool, from_result: bool = False) -> Array:
    saved, out = x, np.empty_like(x)
    if from_result:
        saved = np.empty_like(x)
        _native.softmax(x, saved, log=log)
    _native.softmax_gradient(saved, g, out, log=log, from_result=from_result)
    return out


def expected(x: Array, g: Array, *, log: bool) -> oracle.Gradient:
    return (oracle.log_softmax_gradient if log else oracle.softmax_gradient)(x, g)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", SIZES)
@pytest.mark.parametrize("family", FAMILIES)
def test_exactness(family: str, classes: int, dtype: Any, log: bool) -> None:
    x = logits(family, 1, classes, dtype)
    for kind in UPSTREAM:
        g = upstream_of(kind, x)
        want = expected(x[0], g[0], log=log)
        got = gradient(x, g, log=log)[0]
        assert ulps(got, want.values, terms_of(want)) <= bound_of(log), kind


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [5, 160, 161, 2049, 5000])
@pytest.mark.slow
@pytest.mark.skipif(not long_double.AVAILABLE, reason="long double has no more digits here")
def test_exactness_of_many_rows(classes: int, dtype: Any, log: bool) -> None:
    """Against long double arithmetic, which is itself compared with 50 digits."""
    rng = np.random.default_rng(classes)
    rows = 20_000 // classes
    for scale in (1, 10, 50):
        x = (scale * rng.standard_normal((rows, classes))).astype(dtype)
        for kind in UPSTREAM:
            g = upstream_of(kind, x)
            got = gradient(x, g, log=log)
            values, terms = long_double.softmax_gradient(x, g, log=log)
            normal = terms > np.finfo(dtype).tiny
            ulp = np.exp2(np.floor(np.log2(terms[normal]))) * np.finfo(dtype).eps
            assert (abs(got[normal] - values[normal]) / ulp).max(initial=0) <= bound_of(log), (
                scale,
                kind,
            )


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [5, 300, 3000])
def test_from_the_result(classes: int, dtype: Any, log: bool) -> None:
    """As exact as the result: each probability has its error, and the sum over all has one too."""
    rng = np.random.default_rng(classes)
    x = (4 * rng.standard_normal((20, classes))).astype(dtype)
    for kind in UPSTREAM:
        g = upstream_of(kind, x)
        got = gradient(x, g, log=log, from_result=True)
        values, terms = long_double.softmax_gradient(x, g, log=log)
        ulp = np.exp2(np.floor(np.log2(terms))) * np.finfo(dtype).eps
        # A rounding of log p to half an ulp is one of p of at most eps |log p| / 2.
        rounding = np.log(x.shape[-1]) + np.ptp(x, axis=-1).max() if log else ULP
        assert (abs(got - values) / ulp).max() <= bound_of(log) + rounding, kind


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_confident_predictions(dtype: Any, log: bool) -> None:
    """Where p rounds to 1, the gradient has all its digits."""
    for classes in (3, 300):
        x = np.zeros((1, classes), dtype)
        x[0, 1] = 50
        g = np.zeros((1, classes), dtype)
        g[0, 1] = 1
        got = gradient(x, g, log=log)[0]
        want = expected(x[0], g[0], log=log)
        assert 0 < got[1] < 1e-18
        assert ulps(got, want.values, terms_of(want)) <= bound_of(log)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("classes", [160, 3000])
def test_terms_that_are_small_beside_their_sum(classes: int, log: bool) -> None:
    """Each is less than half an ulp of the sum, and all together are many ulp."""
    x, g = np.full((2, 1, classes), -38.0)
    x[0, :2] = 0, -1
    g[:] = 2.0**-54 if log else 1
    g[0, :2] = 0, 1
    want = expected(x[0], g[0], log=log)
    assert ulps(gradient(x, g, log=log)[0], want.values, terms_of(want)) <= bound_of(log)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("classes", [3, 170])
def test_equal_logits_leave_one_rounding(classes: int, log: bool) -> None:
    """Their exponentials have no error, and float64 sums and products carry twice the digits."""
    g = np.random.default_rng(0).standard_normal((1, classes))
    x = np.full_like(g, 0.1)
    want = expected(x[0], g[0], log=log)
    assert ulps(gradient(x, g, log=log)[0], want.values, terms_of(want)) <= 0.51


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
@pytest.mark.parametrize("classes", [3, 70, 200, 3000])
def test_half_types(classes: int, kind: str, log: bool) -> None:
    """Computed in float32 and rounded once."""
    rng = np.random.default_rng(classes)
    x, g = (to_half(rng.standard_normal((1, classes)).astype(np.float32), kind) for _ in range(2))
    got = from_half(gradient(x, g, log=log))[0]
    want = expected(from_half(x)[0], from_half(g)[0], log=log)
    assert half_ulps(got, want, kind) <= HALF_ULP


def half_ulps(got: Array, want: oracle.Gradient, kind: str) -> float:
    ulp_of = {"float16": 2.0**-10, "bfloat16": 2.0**-7}[kind]
    least = {"float16": 2.0**-14, "bfloat16": 2.0**-126}[kind]
    worst = 0.0
    for a, b, term in zip(got.tolist(), want.values, want.terms, strict=True):
        size = max(2.0 ** np.floor(np.log2(float(term))), least)
        worst = max(worst, abs(a - float(b)) / (size * ulp_of))
    return worst


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("classes", [2, 65, 300])
def test_special_rows(classes: int, dtype: Any, log: bool) -> None:
    x = np.random.default_rng(0).standard_normal((7, classes)).astype(dtype)
    g = np.ones_like(x)
    g[:, 0] = 2
    clean = gradient(x, g, log=log)
    bad = x.copy()
    bad[1, -1], bad[2, 0], bad[3] = np.nan, np.inf, -np.inf
    got = gradient(bad, g, log=log)
    assert np.isnan(got[1:4]).all()
    assert got[[0, 4, 5, 6]].tobytes() == clean[[0, 4, 5, 6]].tobytes()
    empty = np.empty((0, classes), dtype)
    assert gradient(empty, empty, log=log).size == 0
    none = np.empty((4, 0), dtype)
    assert gradient(none, none, log=log).size == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("classes", [3, 300])
def test_masked_classes_of_a_softmax_add_nothing(classes: int, dtype: Any) -> None:
    """With any upstream gradient: that of p log p is infinite where p is 0."""
    x = np.random.default_rng(0).standard_normal((4, classes)).astype(dtype)
    g = np.random.default_rng(1).standard_normal((4, classes)).astype(dtype)
    x[:, 1] = -np.inf
    g[:, 1] = 0
    want = gradient(x, g, log=False)
    assert (want[:, 1] == 0).all()
    for upstream in (1, np.inf, -np.inf, np.nan):
        g[:, 1] = upstream
        assert gradient(x, g, log=False).tobytes() == want.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("classes", [4, 300])
def test_masked_classes_of_a_log_softmax(classes: int, dtype: Any) -> None:
    x = np.random.default_rng(0).standard_normal((4, classes)).astype(dtype)
    g = np.ones_like(x)
    x[:, 1] = -np.inf
    assert (gradient(x, g, log=True)[:, 1] == 1).all()


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("classes", [1, 3, 17, 160, 161, 700])
def test_bits_are_those_of_the_row_alone(classes: int, dtype: Any, log: bool) -> None:
    """With any layout, other rows, and number of threads."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((37, classes)).astype(dtype)
    g = rng.standard_normal((37, classes)).astype(dtype)
    saved = x.copy()
    want = np.empty_like(x)
    _native.softmax_gradient(saved, g, want, log=log)

    def check(got: Array) -> None:
        assert np.ascontiguousarray(got).tobytes() == want.tobytes()

    turned = np.empty((classes, 37), dtype)
    _native.softmax_gradient(
        np.ascontiguousarray(saved.T), np.ascontiguousarray(g.T), turned, axis=0, log=log
    )
    check(turned.T)
    mixed = np.empty_like(want)
    _native.softmax_gradient(np.asfortranarray(saved), g[::-1].copy()[::-1], mixed, log=log)
    check(mixed)
    strided = np.empty((37, 2 * classes), dtype)[:, ::2]
    _native.softmax_gradient(saved, g, strided, log=log)
    check(strided)
    rows = np.empty_like(want)
    for i in range(37):
        _native.softmax_gradient(saved[i : i + 1], g[i : i + 1], rows[i : i + 1], log=log)
    check(rows)
    over_saved, over_upstream = saved.copy(), g.copy()
    _native.softmax_gradient(over_saved, g, over_saved, log=log)
    _native.softmax_gradient(saved, over_upstream, over_upstream, log=log)
    check(over_saved)
    check(over_upstream)
    threads = _native.get_num_threads()
    try:
        _native.set_num_threads(1)
        alone = np.empty_like(want)
        _native.softmax_gradient(saved, g, alone, log=log)
        check(alone)
    finally:
        _native.set_num_threads(threads)


def test_an_expanded_upstream() -> None:
    """As autograd makes of a sum."""
    x = np.random.default_rng(0).standard_normal((5, 300)).astype(np.float32)
    one = np.broadcast_to(np.float32(1), x.shape)
    got = gradient(x, one, log=True)
    assert got.tobytes() == gradient(x, one.copy(), log=True).tobytes()


def test_overlapping_memory_is_refused() -> None:
    x = np.zeros((4, 6), np.float32)
    for inputs in ((x[:, 1:], x[:, :-1].copy()), (x[:, :-1].copy(), x[:, 1:])):
        with pytest.raises(BufferError):
            _native.softmax_gradient(*inputs, x[:, :-1])
