"""The error bounds of the kernels, in ulp of the exact result."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from softxent import _native
from tests.support import oracle
from tests.support.bits import from_half, to_half
from tests.support.bounds import EXP, LOG1P, ULP
from tests.support.logits import FAMILIES, logits
from tests.support.oracle import mp, ulps

DTYPES = [np.float32, np.float64]
SIZES = (1, 2, 3, 10, 70)  # tests/ops/test_every_size.py goes on to a million


@cache
def expected(family: str, classes: int, dtype: Any) -> tuple[list[Any], list[Any], Any]:
    (x,) = logits(family, 1, classes, dtype)
    return oracle.softmax(x), oracle.log_softmax(x), oracle.logsumexp(x)


@cache
def expected_loss(family: str, classes: int, dtype: Any, target: int) -> oracle.Result:
    return oracle.cross_entropy(logits(family, 1, classes, dtype)[0], target)


CASES = [(family, classes, dtype) for family in FAMILIES for classes in SIZES for dtype in DTYPES]


@pytest.mark.parametrize(("family", "classes", "dtype"), CASES)
def test_softmax_and_logarithms(family: str, classes: int, dtype: Any) -> None:
    x = logits(family, 1, classes, dtype)
    probs, log_probs, log_sum = expected(family, classes, dtype)
    out = np.empty_like(x)
    _native.softmax(x, out)
    assert ulps(out[0], probs) <= ULP
    assert np.array_equal(out[0] == 0, [float(dtype(float(p))) == 0 for p in probs])
    _native.softmax(x, out, log=True)
    assert ulps(out[0], log_probs) <= ULP
    lse = np.empty(1)
    _native.logsumexp(x, lse)
    assert ulps(dtype(lse[0]), log_sum) <= ULP


@pytest.mark.parametrize("classes", [2, 3, 10, 200, 5000])
@pytest.mark.slow
def test_logsumexp_near_0(classes: int) -> None:
    """The maximum and the logarithm cancel, and the difference still has all its digits."""
    rng = np.random.default_rng(classes)
    for distance in (3.0, 0.5, 1e-3, 1e-6, 0.0):
        x = rng.standard_normal(classes) * rng.choice([0.1, 1, 5, 30])
        x += distance - np.logaddexp.reduce(x)
        x[classes // 2] = x[0] - 300  # some are far below, or masked
        if classes > 2:
            x[classes // 3] = -np.inf
        lse = np.empty(1)
        _native.logsumexp(x[None], lse)
        want = oracle.logsumexp(x)
        # Below 2^-35 of the maximum, the bound is relative to that.
        of = max(abs(want), mp.mpf(2) ** -35 * abs(float(x.max())))
        assert ulps(lse[0], want, of) <= ULP, distance


@pytest.mark.parametrize("classes", [3, 300])
def test_logsumexp_with_nan_below_0(classes: int) -> None:
    x = np.full((1, classes), -np.log(classes))
    x[0, 1] = np.nan
    lse = np.empty(1)
    _native.logsumexp(x, lse)
    assert np.isnan(lse[0])


@pytest.mark.parametrize(("family", "classes", "dtype"), CASES)
def test_loss_and_gradient(family: str, classes: int, dtype: Any) -> None:
    x = logits(family, 1, classes, dtype)
    for target in {0, classes // 2, classes - 1}:
        want = expected_loss(family, classes, dtype, target)
        loss, grad = np.empty(1), np.empty_like(x)
        _native.cross_entropy(x, index=np.array([target]), loss=loss, grad=grad)
        assert ulps(dtype(loss[0]), want.loss) <= ULP
        assert ulps(grad[0], want.grad) <= ULP


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [10, 200])
@pytest.mark.parametrize("kind", ["index", "probabilities", "one-hot probabilities"])
@pytest.mark.parametrize("options", [
    {"label_smoothing": 0.1},
    {"label_smoothing": 0.1, "z_loss": 1e-2},
    {"z_loss": 1e-2},
    {"label_smoothing": 0.2, "temperature": 2.5},
    {"softcap": 30.0},
    {"softcap": 5.0, "temperature": 0.7, "z_loss": 1e-4},
])  # fmt: skip
def test_options(classes: int, dtype: Any, kind: str, options: dict[str, Any]) -> None:
    rng = np.random.default_rng(5)
    x = (3 * rng.standard_normal((1, classes))).astype(dtype)
    w = (rng.random(classes) + 0.5).astype(dtype)
    y = 3
    if kind != "index":
        x[0, 3] += 20 if kind == "one-hot probabilities" else 0
    q = rng.dirichlet(np.ones(classes)).astype(dtype)
    if kind == "one-hot probabilities":
        q = np.eye(classes, dtype=dtype)[3]
    want = oracle.cross_entropy(x[0], y if kind == "index" else q, w, **options)
    got_loss, got, again = np.empty(1), np.empty_like(x), np.empty_like(x)
    saved = np.empty((1, 2))
    given: dict[str, Any]
    given = {"index": np.array([y])} if kind == "index" else {"probabilities": q[None]}
    _native.cross_entropy(x, **given, weight=w, **options, loss=got_loss, grad=got, saved=saved)
    # float64 can't hold u exactly: the error of u is added.
    scaled = dtype is np.float64 and ("softcap" in options or "temperature" in options)
    bound = ULP + (2 * float(np.abs(x).max()) if scaled else 0)
    assert ulps(dtype(got_loss[0]), want.loss) <= bound
    assert ulps(got[0], want.grad, want.terms) <= bound
    _native.cross_entropy(x, **given, weight=w, **options, saved=saved, from_saved=True, grad=again)
    assert np.array_equal(got, again)


@pytest.mark.parametrize("dtype", DTYPES)
def test_exponential(dtype: Any) -> None:
    """For logits [0, x] the saved tail sum is the kernels' exp(x)."""
    rng = np.random.default_rng(1)
    low = -86 if dtype is np.float32 else -700
    x = np.concatenate(
        [low * rng.random(1500), -rng.random(500), -(10.0 ** -rng.uniform(0, 9, 99))]
    )
    rows = np.stack([np.zeros_like(x), x], 1).astype(dtype)
    saved, loss = np.empty((len(x), 2)), np.empty(len(x))
    _native.cross_entropy(rows, index=np.zeros(len(x), np.int64), saved=saved, loss=loss)
    exps = [mp.exp(oracle.exact(v)) for v in rows[:, 1]]
    assert ulps(saved[:, 1], exps, dtype=dtype) <= EXP
    logs = [mp.log1p(oracle.exact(tail)) for tail in saved[:, 1]]
    assert ulps(loss, logs, dtype=dtype) <= LOG1P[np.dtype(dtype).name]


def worst_at_maximum(x: np.ndarray) -> float:
    """The error of a softmax at its largest probability, in ulp."""
    out = np.empty_like(x)
    _native.softmax(x, out)
    e = np.exp(x.astype(np.longdouble))
    at = np.arange(len(x)), x.argmax(1)
    p = (e[at] / e.sum(1)).astype(np.longdouble)
    return float((np.abs(out[at] - p) / np.spacing(p.astype(x.dtype))).max())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("steps", [2, 8, 64, 3000])
@pytest.mark.parametrize("falling", [False, True])
def test_a_sum_with_terms_larger_than_itself(dtype: Any, steps: int, falling: bool) -> None:
    """The rounding error of an addition is computed as if the sum were larger than the term. Where
    it isn't, the sum soon grows so much that the error doesn't matter.
    """
    n = 120_000
    rise = np.floor(np.linspace(0, steps, n, endpoint=False)) / steps
    spread = np.array([[1], [20], [79]])
    x = rise * spread - spread / 2 + 0.3 * np.random.default_rng(steps).random((3, n))
    x = x[:, ::-1] if falling else x
    assert worst_at_maximum(np.ascontiguousarray(x, dtype)) <= 3


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("offset", [0, 260, -3000, 1e4])
def test_a_target_in_any_chunk_of_a_long_row(dtype: Any, offset: float) -> None:
    """Far from 0 the exponentials of a chunk are relative to its own maximum. A target beside the
    row's most probable class once had an error of two fifths of its probability."""
    rng = np.random.default_rng(9)
    target = np.arange(300, 12_000, 600)
    x = (offset + rng.standard_normal((len(target), 12_000))).astype(dtype)
    x[np.arange(len(x)), target] = offset + rng.uniform(4, 9, len(x))
    x[np.arange(len(x)), 5000] = offset + 7
    loss, saved, grad, again = np.empty(len(x)), np.empty((len(x), 2)), x.copy(), x.copy()
    _native.cross_entropy(x, index=target, loss=loss, saved=saved, grad=grad)
    _native.cross_entropy(x, index=target, saved=saved, from_saved=True, grad=again)
    wide = x.astype(np.longdouble)
    want = np.exp(wide - wide.max(1, keepdims=True))
    want /= want.sum(1, keepdims=True)
    at = np.arange(len(x)), target
    others = want.copy()
    others[at] = 0
    want[at] = -others.sum(1)
    for got in (grad, again):
        assert (np.abs(got - want) / np.spacing(np.abs(want).astype(dtype))).max() <= 4


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.slow
def test_rounding_errors_of_equal_numbers_do_not_add_up(dtype: Any) -> None:
    """Without compensation, their sum has an error of 6 ulp of float32."""
    same = np.random.default_rng(3).uniform(-1, 1, (200, 1))
    x = np.repeat(same, 20_000, 1)
    x[:, ::64] += 0.01
    assert worst_at_maximum(x.astype(dtype)) <= 2


@pytest.mark.parametrize("half", ["float16", "bfloat16"])
@pytest.mark.parametrize("classes", [10, 1000])
def test_half_precision(half: str, classes: int) -> None:
    if half == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes").bfloat16
        nmant, smallest = 7, 2.0**-126
    else:
        dtype, nmant, smallest = np.float16, 10, 2.0**-14
    x = (3 * np.random.default_rng(2).standard_normal((4, classes))).astype(dtype)
    wide = x.astype(np.float64)
    p = np.exp(wide - wide.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    out = np.empty_like(x)
    bits: Any = (lambda a: a.view(np.uint16)) if half == "bfloat16" else (lambda a: a)
    _native.softmax(bits(x), bits(out))
    ulp = 2.0 ** (np.floor(np.log2(np.maximum(p, smallest))) - nmant)
    # Half an ulp, and the error of the exponential of a bfloat16.
    bound = 0.504 + (2.0**-6 if half == "bfloat16" else 0)
    assert (np.abs(out.astype(np.float64) - p) / ulp).max() <= bound
    y = np.array([0, 1, 2, 3])
    loss = np.empty(4)
    _native.cross_entropy(bits(x), index=y, loss=loss, grad=bits(out))
    p[np.arange(4), y] -= 1
    ulp = 2.0 ** (np.floor(np.log2(np.maximum(np.abs(p), smallest))) - nmant)
    assert (np.abs(out.astype(np.float64) - p) / ulp).max() <= 1


@pytest.mark.parametrize("classes", [2, 10, 400])
@pytest.mark.parametrize("apart", [0, 2.0**-32, 2.0**-12, 0.1])
def test_a_difference_of_near_numbers_keeps_its_digits(classes: int, apart: float) -> None:
    """p and t differ by `apart`, in float64: digits are lost below 2^-38 and not before."""
    rng = np.random.default_rng(classes)
    x = 3 * rng.standard_normal((2, classes))
    q = np.empty_like(x)
    _native.softmax(x, q)
    q[:, ::2] *= 1 + apart
    over, moved = x.copy(), np.empty(x.nbytes + 8, np.uint8)
    grad = np.ndarray(x.shape, x.dtype, moved.data, 1)
    _native.cross_entropy(x, probabilities=q, grad=grad)
    _native.cross_entropy(over, probabilities=q, grad=over)
    assert over.tobytes() == grad.tobytes()
    for got, row, target in zip(grad, x, q, strict=True):
        want = oracle.cross_entropy(row, target)
        for a, b, larger in zip(got, want.grad, want.terms, strict=True):
            lost = abs(mp.mpf(float(a)) - b) / larger
            assert lost < 2.0**-90 or ulps(a, b) <= ULP


@pytest.mark.parametrize("classes", [2, 10, 400])
def test_the_gradient_at_the_optimum_of_a_smoothed_target(classes: int) -> None:
    """p = t / s but for the last digits, with a 1 - label_smoothing that float64 doesn't hold."""
    weight = np.random.default_rng(classes).uniform(0.5, 2, classes)
    t = 0.1 / classes * weight
    t[1] += 0.9 * weight[1]
    x = np.log(t)[None]
    grad = np.empty_like(x)
    _native.cross_entropy(x, index=np.array([1]), weight=weight, label_smoothing=0.1, grad=grad)
    want = oracle.cross_entropy(x[0], 1, weight, label_smoothing=0.1)
    for a, b, larger in zip(grad[0], want.grad, want.terms, strict=True):
        assert abs(mp.mpf(float(a)) - b) / larger < 2.0**-90 or ulps(a, b) <= ULP


def test_a_difference_due_to_z_loss_keeps_its_digits() -> None:
    """(1 + 2 z lse) p differs from 1 by 2^-30 at the target."""
    x = np.random.default_rng(8).standard_normal((3, 200))
    x[:, 5] = 12
    p, lse = np.empty_like(x), np.empty(3)
    _native.softmax(x, p)
    _native.logsumexp(x, lse)
    for row, p_y, lse_of_row in zip(x, p[:, 5], lse, strict=True):
        z_loss = float((1 / p_y - 1) / (2 * lse_of_row) * (1 + 2.0**-20))
        exact = oracle.cross_entropy(row, 5, z_loss=z_loss).grad
        grad = np.empty((1, 200))
        _native.cross_entropy(row[None], index=np.array([5]), z_loss=z_loss, grad=grad)
        assert ulps(grad[0], exact) <= ULP
        assert abs(exact[5]) < 1e-6


NEAR_1 = [
    (classes, apart, dtype)
    for classes in (161, 1000, 5000)
    for apart in (2.0**-4, -(2.0**-12), 2.0**-28)
    for dtype in ("float32", "float16", "bfloat16")
]
NEAR_1_BY_TWO = [(33_000, -(2.0**-12), "float32"), (33_000, -(2.0**-12), "float16")]  # threads


@pytest.mark.parametrize(("classes", "apart", "dtype"), NEAR_1 + NEAR_1_BY_TWO)
@pytest.mark.slow
def test_a_difference_due_to_z_loss_of_float_logits(
    classes: int, apart: float, dtype: str, threads: None
) -> None:
    """(1 + 2 z lse) p is 1 + apart at the target: a float sum of the row has too few digits."""
    _native.set_num_threads(2)
    target_is_largest = classes != 161
    x = np.random.default_rng(classes).standard_normal(classes).astype(np.float32)
    x[[5, 7]] = 12, 9 if target_is_largest else 12.5
    short = x if dtype == "float32" else to_half(x, dtype)
    x = short if dtype == "float32" else from_half(short)
    lse = oracle.logsumexp(x)
    p = mp.exp(oracle.exact(x[5]) - lse)
    z_loss = float(((1 + mp.mpf(apart)) / p - 1) / (2 * lse))
    check_gradients(short, x, 5, z_loss)
    assert abs(oracle.cross_entropy(x, 5, z_loss=z_loss).grad[5]) < 2 * abs(apart)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_log_sum_exp_that_cancels_the_target_sum(dtype: str) -> None:
    """1 + 2 z lse is 2^-14: for every class's gradient, a float has too few digits."""
    x = np.random.default_rng(6).standard_normal(700).astype(np.float32) - 11
    short = x if dtype == "float32" else to_half(x, dtype)
    x = short if dtype == "float32" else from_half(short)
    lse = oracle.logsumexp(x)
    check_gradients(short, x, 3, float((2.0**-14 - 1) / (2 * lse)))


def check_gradients(short: np.ndarray, x: np.ndarray, target: int, z_loss: float) -> None:
    """Into new memory and over the logits, together with the loss and from saved statistics."""
    y = np.array([target])
    exact = oracle.cross_entropy(x, target, z_loss=z_loss).grad
    rows = short[None].copy()
    saved, grads = np.empty((1, 2)), [rows.copy() for _ in range(4)]
    _native.cross_entropy(rows, index=y, z_loss=z_loss, grad=grads[0])
    _native.cross_entropy(grads[1], index=y, z_loss=z_loss, grad=grads[1])
    _native.cross_entropy(rows, index=y, z_loss=z_loss, saved=saved)
    _native.cross_entropy(rows, index=y, z_loss=z_loss, saved=saved, from_saved=True, grad=grads[2])
    over = grads[3]
    _native.cross_entropy(over, index=y, z_loss=z_loss, saved=saved, from_saved=True, grad=over)
    assert same_bytes(grads[0], grads[1])
    assert same_bytes(grads[2], grads[3])
    for grad in grads[::2]:
        if short.dtype == np.float32:
            assert ulps(grad[0], exact) <= ULP
        else:
            nearest = to_half(np.array([float(b) for b in exact]), name_of(short))
            off = grad[0].view(np.uint16).astype(int) - nearest.view(np.uint16).astype(int)
            assert np.abs(off).max() <= 1


def same_bytes(a: np.ndarray, b: np.ndarray) -> bool:
    return a.tobytes() == b.tobytes()


def name_of(half: np.ndarray) -> str:
    return "float16" if half.dtype == np.float16 else "bfloat16"


@pytest.mark.parametrize("half", ["float16", "bfloat16"])
@pytest.mark.parametrize("offset", [0, 1, 5])
def test_rows_of_half_types_are_rounded_to_nearest_even(half: str, offset: int) -> None:
    """x - max is exact in float32 and log(sum) is 0: only the rounding remains, with its ties."""
    rng = np.random.default_rng(4)
    x = from_half(to_half(-np.exp(rng.uniform(4, 9, (50, 3001))), half))
    x[:, 0] = 700  # 700 + |x| has up to 11 bits, more than bfloat16
    want = to_half(x - 700, half)
    assert (from_half(want) != x - 700).any()
    around = to_half(np.zeros(x.size + offset), half)
    out = around[offset:].reshape(x.shape)
    _native.softmax(to_half(x, half), out, log=True)
    assert np.array_equal(from_half(out), from_half(want))


@pytest.mark.parametrize("half", ["float16", "bfloat16"])
def test_losses_of_half_types_have_digits_beyond_their_own(half: str) -> None:
    """One class against 199 equal ones: two exponentials, each with an error of at most 3.3 ulp."""
    rng = np.random.default_rng(5)
    others, target = from_half(to_half(rng.uniform(-40, 40, (2, 2000)), half))
    x = np.repeat(others[:, None], 200, 1)
    x[:, 3] = target
    loss = np.empty(len(x))
    _native.cross_entropy(to_half(x, half), index=np.full(len(x), 3), loss=loss)
    for ahead, got in zip(others.astype(float) - target, loss, strict=True):
        assert ulps(got, mp.log1p(199 * mp.exp(mp.mpf(ahead))), dtype=np.float32) <= 8


@pytest.mark.parametrize("half", ["float16", "bfloat16"])
@pytest.mark.parametrize("case", ["one sign", "zeros", "NaN", "negative NaN", "infinity", "masked"])
def test_the_range_of_a_half_type(half: str, case: str) -> None:
    """The range is read from the bits of many numbers at once, at any position in a row."""
    x = from_half(to_half(np.random.default_rng(6).uniform(-3, 3, (200, 333)), half))
    place = np.arange(200), np.random.default_rng(7).integers(0, 333, 200)
    if case == "one sign":
        x = -np.abs(x) - 1
        x[100:] *= -30
    elif case == "zeros":
        x[:] = -0.0
        x[100:][:, ::2] = 0.0
    else:
        special = {"NaN": np.nan, "negative NaN": -np.nan, "infinity": np.inf, "masked": -np.inf}
        x[place] = special[case]
    short = to_half(np.nan_to_num(x, posinf=np.inf, neginf=-np.inf), half)
    x = np.where(np.isnan(x), x, from_half(short))
    if "NaN" in case:
        bits = short if short.dtype == np.uint16 else short.view(np.uint16)
        infinity = 0x7F80 if half == "bfloat16" else 0x7C00
        bits[place] = infinity + 0x40 + (0x8000 if "negative" in case else 0)
    out = np.empty_like(short)
    _native.softmax(short, out)
    want = np.empty_like(x)
    _native.softmax(x, want)
    got = from_half(out)
    assert np.array_equal(np.isnan(got), np.isnan(want))
    # Half an ulp, and the error of the exponential of a bfloat16.
    rtol = 2.0**-8 + 2.0**-14 if half == "bfloat16" else 2.0**-11
    np.testing.assert_allclose(got, want, rtol * 1.001, atol=1e-7)


def test_every_half_number_survives() -> None:
    """log_softmax of [x, -inf] is 0; of [0, x] for x << 0 it is x itself."""
    every = np.arange(65536, dtype=np.uint16).view(np.float16)
    x = every[np.isfinite(every) & (every < -40)]
    rows = np.stack([np.zeros_like(x), x], 1)
    out = np.empty_like(rows)
    _native.softmax(rows, out, log=True)
    assert np.array_equal(out[:, 1], x)
    small = every[np.isfinite(every) & (np.abs(every) < 1)][:, None]
    lse = np.empty(len(small))
    _native.logsumexp(small, lse)
    assert np.array_equal(lse, small[:, 0].astype(np.float64))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [3, 300])
@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e20, 1e36])
@pytest.mark.parametrize("offset", [0, 57, -57])
def test_tiny_and_huge_upstream(dtype: Any, classes: int, scale: float, offset: float) -> None:
    x = (offset + np.random.default_rng(3).standard_normal((1, classes))).astype(dtype)
    grad = oracle.cross_entropy(x[0], 0).grad
    got = np.empty_like(x)
    _native.cross_entropy(
        x, index=np.array([0]), scale=scale / 2, upstream=np.array([2.0]), grad=got
    )
    assert ulps(got[0], [g * mp.mpf(scale) for g in grad]) <= ULP
