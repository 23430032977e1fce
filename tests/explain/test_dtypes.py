"""The dtype of the logits: what softxent computes in it, and what plain formulas give."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import softxent
from softxent.errors import DTypeError
from softxent.explain.numbers import rounded

# Untyped: some arguments are wrong on purpose, and attributes are None only without a target.
explain: Any = softxent.explain

OPTIONS = {"label_smoothing": 0.1, "z_loss": 0.01, "softcap": 3.0, "temperature": 2.0}
WEIGHT = np.array([1.0, 0.5, 2.0, 3.0])
LOGITS = np.random.default_rng(0).normal(size=(6, 4)) * 4
TARGET = np.array([0, 1, 2, 3, -100, 1])


def flat(text: str) -> str:
    return " ".join(text.split())


def losses(trace: Any) -> dict[str, float]:
    """The first row's loss by each plain formula."""
    return {plain.way: float(plain.losses[0]) for plain in trace.plain}


# What softxent computes.


@pytest.mark.parametrize("options", [{}, OPTIONS], ids=["plain", "options"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
def test_the_results_are_those_of_the_library(dtype: Any, options: dict[str, Any]) -> None:
    logits = LOGITS.astype(dtype)
    trace = explain(logits, TARGET, WEIGHT, **options)
    value, gradient = softxent.cross_entropy_with_grad(logits, TARGET, WEIGHT, **options)
    each = softxent.cross_entropy(logits, TARGET, WEIGHT, reduction="none", **options)
    computed = trace.computed
    assert trace.dtype == computed.dtype == np.dtype(dtype).name
    assert computed.value == float(value)
    np.testing.assert_array_equal(computed.losses, each)
    assert computed.losses.dtype == each.dtype
    _, each_gradient = softxent.cross_entropy_with_grad(
        logits, TARGET, WEIGHT, reduction="none", **options
    )
    expected = {"gradient": gradient, "row_gradient": each_gradient}
    if not options:  # these are of the scaled logits
        expected["probabilities"] = softxent.softmax(logits)
        expected["log_probabilities"] = softxent.log_softmax(logits)
        expected["lse"] = softxent.logsumexp(logits)
    in_arrays = np.float32 if dtype is ml_dtypes.bfloat16 else dtype
    for name, value in expected.items():
        mine = getattr(computed, name)
        assert mine.dtype == in_arrays, name
        np.testing.assert_array_equal(mine, value.astype(in_arrays), name)


def test_every_step_is_computed_in_the_dtype() -> None:
    trace = explain(LOGITS.astype(np.float32), TARGET, WEIGHT, **OPTIONS)
    steps = ("scaled", "maximum", "shifted", "shifted_exponentials", "shifted_sum", "lse")
    for name in (*steps, "mass", "mass_sum", "target_probability"):
        value, truth = getattr(trace.computed, name), getattr(trace, name)
        assert value.dtype == np.float32
        np.testing.assert_allclose(value, truth, rtol=2e-6, atol=1e-6)


def test_the_float64_numbers_are_those_of_the_rounded_logits() -> None:
    trace = explain(np.array([2, -1, 0.1], np.float32), 2)
    assert trace.logits[0, 2] == float(np.float32(0.1))
    assert trace.value == pytest.approx(float(trace.computed.value), rel=1e-7)
    assert trace.value != trace.computed.value


def test_integers_and_lists_are_float64() -> None:
    assert explain([2, -1], 0).dtype == "float64"
    assert explain(np.array([2, -1], np.int8), 0).dtype == "float64"
    assert explain(np.array([2, -1], ">f4"), 0).dtype == "float32"


def test_tensors_keep_their_dtype() -> None:
    torch = pytest.importorskip("torch")
    for dtype in (torch.bfloat16, torch.float16, torch.float32, torch.float64):
        trace = explain(torch.tensor([[2.0, -1.0, 0.1]], dtype=dtype), torch.tensor([2]))
        assert f"torch.{trace.dtype}" == str(dtype)
        p = torch.softmax(torch.tensor([2.0, -1.0, 0.1], dtype=dtype).double(), 0).to(dtype)
        np.testing.assert_allclose(
            trace.computed.probabilities[0], p.double().numpy(), rtol=torch.finfo(dtype).eps
        )
    with pytest.raises(DTypeError, match=r"^\[explain\] logits has dtype float8_e4m3fn"):
        explain(torch.zeros(3).to(torch.float8_e4m3fn), 0)


def test_rounding_to_bfloat16() -> None:
    upper = np.arange(2**16, dtype=np.uint32) << 16
    for lower in (0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF):  # ties and their neighbours
        values = (upper | lower).view(np.float32)
        with np.errstate(all="ignore"):
            expected = values.astype(ml_dtypes.bfloat16).astype(np.float32)
        np.testing.assert_array_equal(rounded(values, "bfloat16"), expected)


# What plain formulas give.


def test_plain_formulas_in_float32_by_hand() -> None:
    row = np.array([3.3, -1.2, 0.7], np.float32)
    unshifted, shifted, subtracted = explain(row, 2).plain
    e = np.exp(row)
    np.testing.assert_array_equal(unshifted.exponentials[0], e)
    np.testing.assert_array_equal(unshifted.probabilities[0], e / e.sum())
    assert unshifted.losses[0] == -np.log((e / e.sum())[2])
    e = np.exp(row - row.max())
    p = e / e.sum()
    np.testing.assert_array_equal(shifted.log_probabilities[0], np.log(p))
    np.testing.assert_array_equal(shifted.row_gradient[0], p - np.eye(3, dtype=np.float32)[2])
    lse = row.max() + np.log(e.sum())
    assert subtracted.losses[0] == lse - row[2]
    assert subtracted.losses.dtype == np.float32


@pytest.mark.parametrize("options", [{}, OPTIONS])
@pytest.mark.parametrize("target", [TARGET, np.full((6, 4), 0.25)])
def test_plain_formulas_are_right_where_nothing_is_extreme(
    target: object, options: dict[str, Any]
) -> None:
    trace = explain(LOGITS / 4, target, WEIGHT, **options)
    for plain in trace.plain:
        np.testing.assert_allclose(plain.losses, trace.losses, rtol=1e-12)
        np.testing.assert_allclose(plain.row_gradient, trace.row_gradient, atol=1e-14)
        np.testing.assert_allclose(plain.probabilities, trace.probabilities, rtol=1e-12)
    assert "fail" not in trace.text()


def test_exponentials_overflow() -> None:
    trace = explain([1000, 0], 0)
    assert np.isnan(trace.plain[0].probabilities[0, 0])
    assert math.isnan(losses(trace)["exp / sum"])
    assert losses(trace)["log of softmax"] == losses(trace)["lse - logit"] == trace.value == 0
    text = flat(trace.text())
    assert "exp / sum: exp(1000) overflows, since the largest float64 is 1.8e308" in text
    assert "The gradient is NaN too" in text


def test_exponentials_overflow_earlier_in_smaller_dtypes() -> None:
    row = [100.0, 99.0]
    assert "overflows" not in explain(row, 0).text()
    assert "exp(100) overflows, since the largest float32 is 3.4e38" in flat(
        explain(np.array(row, np.float32), 0).text()
    )
    assert "exp(12) overflows, since the largest float16 is 65504" in flat(
        explain(np.array([12, 0], np.float16), 0).text()
    )
    # Each exponential fits, and their sum doesn't.
    assert "the sum of the exponentials overflows" in flat(
        explain(np.array([11, 10.9], np.float16), 0).text()
    )


def test_exponentials_underflow() -> None:
    trace = explain([-1000, -1001], 0)
    assert math.isnan(losses(trace)["exp / sum"])
    assert trace.value == pytest.approx(math.log1p(math.exp(-1)))
    assert "even exp(-1000), the largest, underflows to 0" in flat(trace.text())


def test_a_probability_underflows() -> None:
    trace = explain([1000, 0], 1)
    assert losses(trace)["log of softmax"] == math.inf
    assert trace.value == trace.computed.value == losses(trace)["lse - logit"] == 1000
    assert "the probability underflows to 0, and -log(0) is infinite" in flat(trace.text())


def test_a_confident_prediction_in_float32() -> None:
    trace = explain(np.array([20, 0], np.float32), 0)
    assert trace.value == pytest.approx(2.061153620314381e-09, rel=1e-15)
    assert trace.computed.value == pytest.approx(2.061153620314381e-09, rel=1e-7)
    assert losses(trace) == {"exp / sum": 0, "log of softmax": 0, "lse - logit": 0}
    text = flat(trace.text())
    assert "softxent 2.0611537e-09 exp / sum 0 log of softmax 0 lse - logit 0" in text
    assert "exp / sum and log of softmax: the probability, 1 - 2.0612e-09, rounds to 1" in text
    assert "lse is 20 and the logit 20: no digit of their difference remains" in text


def test_lost_digits_are_counted() -> None:
    text = flat(explain([20, 0], 0).text())
    assert "In float64: what softxent computes, and what plain formulas give." in text
    assert "lse - logit: lse is 20.000000002061153 and the logit 20: only 6 digits" in text
    certain = explain([40, 0], 0)
    assert not certain.plain[2].losses[0]
    assert certain.value > 0


def test_an_ordinary_row_in_float64_has_no_such_step() -> None:
    assert "float64" not in explain([2, -1, 0.1], 2).text()
    assert (
        "In float32, the dtype of the logits"
        in explain(np.array([2, -1, 0.1], np.float32), 2).text()
    )


def test_a_row_that_is_ignored_or_nan_has_no_such_step() -> None:
    assert "plain formulas" not in explain([1000, 0], -100).text()
    assert "plain formulas" not in explain([np.nan, 0], 0).text()


def test_probabilities_alone() -> None:
    text = flat(explain(np.array([100, 0], np.float32)).text())
    assert "In float32, the dtype of the logits: what softxent computes." in text
    assert "exp / sum: exp(100) overflows" in text


def test_a_batch_names_the_rows() -> None:
    text = flat(explain([[2, -1], [1000, 0], [0, 1000]], [0, 1, 1]).text())
    assert "Where plain formulas fail in float64:" in text
    assert "exp / sum: 2 rows; the loss of row 1 would be inf instead of 1000." in text
    assert "log of softmax: 1 row; the loss of row 1 would be inf instead of 1000." in text
    assert "lse - logit:" not in text
