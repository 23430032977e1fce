"""The tests' own tools: the oracle on closed forms, and what is compared with the oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from softxent.ops import reference
from softxent.ops.options import LossOptions
from tests.support import long_double, oracle
from tests.support.logits import FAMILIES, logits, ordinary, targets
from tests.support.oracle import mp
from tests.support.targets import OPTIONS, least_likely, likeliest, probabilities, with_weight


def test_ulps_are_counted() -> None:
    one = np.float32(1)
    above = np.nextafter(one, np.float32(2))
    exact = mp.mpf(1)
    assert oracle.ulps(one, exact) == 0
    assert oracle.ulps(above, exact) == 1
    assert oracle.ulps(np.float64(above), exact) == 2**29
    assert oracle.ulps(np.float64(above), exact, dtype=np.float32) == 1
    assert oracle.ulps(above, exact, of=mp.mpf(4)) == 0.25
    assert oracle.ulps(np.array([1.0, np.inf]), [exact, exact]) == np.inf
    assert oracle.ulps(np.float64(np.nan), exact) == np.inf
    assert oracle.ulps(np.float64(0), mp.mpf(2) ** -1074) == 1  # below the smallest normal
    assert oracle.ulps(np.float64(-np.inf), mp.ninf) == 0


def test_closed_forms() -> None:
    """In more digits than a float has."""
    third = mp.mpf(1) / 3
    assert all(abs(p - third) < 1e-49 for p in oracle.softmax([5.0, 5.0, 5.0]))
    assert abs(oracle.logsumexp([0.0, 0.0]) - mp.log(2)) < 1e-49
    assert oracle.log_softmax([0.1]) == [0]
    confident = oracle.cross_entropy([700.0, 0.0], 0)
    tail = mp.exp(-700)
    assert abs(confident.loss / mp.log1p(tail) - 1) < 1e-45
    assert abs(confident.grad[0] / (-tail / (1 + tail)) - 1) < 1e-45
    either = [oracle.cross_entropy([1.0, 2.0], y).loss for y in (0, 1)]
    both = oracle.cross_entropy([1.0, 2.0], [0.25, 0.75]).loss
    assert abs(both - (either[0] + 3 * either[1]) / 4) < 1e-49


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("target", [likeliest, probabilities])
def test_gradient_is_the_derivative_of_the_loss(option: str, target: Any) -> None:
    """Central differences in 50 digits."""
    row = [0.5, -1.25, 2.0, 0.75]
    rows = np.array([row])
    t, options, step = target(rows)[0], with_weight(OPTIONS[option], rows), 1e-6
    grad = oracle.cross_entropy(row, t, **options).grad
    for j in range(4):
        up, down = ([v + s * (i == j) for i, v in enumerate(row)] for s in (step, -step))
        rise = oracle.cross_entropy(up, t, **options).loss - (
            oracle.cross_entropy(down, t, **options).loss
        )
        assert float(rise / (2 * mp.mpf(step))) == pytest.approx(float(grad[j]), rel=1e-8)


# --- softxent's float64 reference, where nothing cancels -----------------------------------------


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("target", [likeliest, least_likely, probabilities])
def test_reference_cross_entropy(option: str, target: Any) -> None:
    rows = ordinary(np.float64)
    options = with_weight(OPTIONS[option], rows)
    record = LossOptions(**options, reduction="none")
    loss, grad, _ = reference.cross_entropy(rows, target(rows), record)
    exact = [
        oracle.cross_entropy(row, t, **options) for row, t in zip(rows, target(rows), strict=True)
    ]
    np.testing.assert_allclose(loss, [float(e.loss) for e in exact], rtol=1e-14)
    np.testing.assert_allclose(
        grad, [[float(g) for g in e.grad] for e in exact], rtol=1e-12, atol=1e-15
    )


@pytest.mark.parametrize("function", ["softmax", "log_softmax", "logsumexp"])
def test_reference_softmax_and_its_logarithms(function: str) -> None:
    rows = ordinary(np.float64)
    exact = [np.atleast_1d(getattr(oracle, function)(row)) for row in rows]
    want = [[float(v) for v in row] for row in exact]
    got = getattr(reference, function)(rows)
    np.testing.assert_allclose(got.reshape(len(rows), -1), want, rtol=1e-14)


# --- long double ---------------------------------------------------------------------------------


@pytest.mark.skipif(not long_double.AVAILABLE, reason="needs 80-bit long doubles")
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_long_double_agrees_with_50_digits(dtype: str, family: str) -> None:
    """To 60 bits: some hundredths of float64's last place."""
    near = 2.0**-60
    weight = np.random.default_rng(1).uniform(0.2, 3, 10).astype(dtype)
    for classes in (1, 3, 10):
        for x in logits(family, 2, classes, dtype):
            row = long_double.row(x)
            for got, want in (
                (row.p(), oracle.softmax(x)),
                (row.log_p(), oracle.log_softmax(x)),
            ):
                assert all(close(a, b, near) for a, b in zip(got, want, strict=True))
            assert close(row.lse, oracle.logsumexp(x), near, abs(row.top))
            options: tuple[dict[str, Any], ...]
            options = ({}, {"weight": weight[:classes]}, {"label_smoothing": 0.1})
            for y in targets(x):
                for given in options:
                    if family == "masked" and "label_smoothing" in given:
                        continue
                    result = long_double.cross_entropy(row, y, **given)
                    exact = oracle.cross_entropy(x, y, **given)
                    assert close(result.loss, exact.loss, near)
                    for g, w, doubt in zip(result.grad, exact.grad, result.doubt, strict=True):
                        assert close(g, w, near) or abs(exactly(g) - w) <= exactly(doubt)


def exactly(value: Any) -> Any:
    """A long double as an mpmath number."""
    mantissa, exponent = np.frexp(np.longdouble(value))
    high = float(mantissa)
    if not np.isfinite(high):
        return mp.mpf(high)
    low = float(mantissa - np.longdouble(high))
    return mp.ldexp(mp.mpf(high) + low, int(exponent))


def close(got: Any, want: Any, near: float, of: Any = 0.0) -> bool:
    got = exactly(got)
    # The digits of the oracle end where float64 has long rounded to 0, and for an exact 0 sooner.
    if abs(got) < mp.mpf("1e-370"):
        return bool(abs(want) < (1e-45 if got == 0 else mp.mpf("1e-370")))
    return bool(got == want or abs(got - want) <= near * max(abs(want), exactly(of)))
