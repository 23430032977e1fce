"""The trace of a loss: its numbers against 50-digit arithmetic, and the text made from them."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
import tracemalloc
import unicodedata
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import softxent
from softxent import Mean, Trace
from softxent.errors import DTypeError, OptionError, ShapeError, TargetError
from softxent.ops.options import LossOptions

# Untyped: some arguments are wrong on purpose, and attributes are None only without a target.
explain: Any = softxent.explain

# The example of the first note. Its exponentials are those of a float32 tensor, so that 0.1 is
# 0.10000000149011612.
NOTE = np.array([2, -1, 0.1], np.float32)
NOTE_EXPONENTIALS = [7.38905609893065, 0.36787944117144233, 1.1051709197224806]
NOTE_PROBABILITIES = [0.8337810127228958, 0.04151151228426165, 0.12470747499284246]


def within(values: object, exact: object, ulps: float = 4) -> None:
    """Every value is within so many ulp of the exact one."""
    values, exact = np.asarray(values, np.float64), np.asarray(exact, np.float64)
    assert values.shape == exact.shape
    assert (np.abs(values - exact) <= ulps * np.spacing(np.abs(exact))).all(), (values, exact)


def width(line: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line)


def by_hand(
    z: Any,
    t: Any,
    *,
    temperature: float = 1.0,
    softcap: float | None = None,
    z_loss: float = 0.0,
) -> tuple[list[float], float, list[float]]:
    """Probabilities, loss and gradient of one row in 50 digits, as the formula is printed."""
    with mpmath.workdps(50):
        z, t = [mpmath.mpf(float(x)) for x in z], [mpmath.mpf(float(x)) for x in t]
        u = [x / temperature for x in z]
        slope = [1 / mpmath.mpf(temperature)] * len(z)
        if softcap is not None:
            u = [softcap * mpmath.tanh(x / softcap) for x in u]
            slope = [(1 - (x / softcap) ** 2) / temperature for x in u]
        total = mpmath.fsum(mpmath.exp(x) for x in u)
        p = [mpmath.exp(x) / total for x in u]
        lse, s = mpmath.log(total), mpmath.fsum(t)
        loss = s * lse - mpmath.fsum(a * b for a, b in zip(t, u, strict=True)) + z_loss * lse**2
        gradient = [
            ((s + 2 * z_loss * lse) * a - b) * c for a, b, c in zip(p, t, slope, strict=True)
        ]
        return [float(x) for x in p], float(loss), [float(x) for x in gradient]


# The notes' numbers.


def test_the_first_note_digit_by_digit() -> None:
    trace = explain(NOTE, 2)
    within(trace.exponentials[0], NOTE_EXPONENTIALS)
    within(trace.probabilities[0], NOTE_PROBABILITIES)
    assert f"{trace.value:.4f}" == "2.0818"
    text = trace.text()
    for number in NOTE_EXPONENTIALS + NOTE_PROBABILITIES:
        assert f"{number!r}"[:15] in text


def test_the_first_note_in_its_order() -> None:
    text = explain(NOTE, 2).text()
    order = [
        "Why the loss is 2.0818",
        "logits",
        "Exponentials",
        "sum",
        "Probabilities",
        "add up to 1",
    ]
    order += ["The target is class 2", "minus the natural logarithm", "= 2.08178448428", "gradient"]
    places = [text.index(words) for words in order]
    assert places == sorted(places)


def test_the_first_note_as_a_batch() -> None:
    trace = explain([[2, -1, 0.1], [2.5, 2, 1.8]])
    assert trace.probabilities.round(4).tolist() == [
        [0.8338, 0.0415, 0.1247],
        [0.4755, 0.2884, 0.2361],
    ]


@pytest.mark.parametrize(
    ("logits", "target", "loss"),
    [
        ([2.0, 1.0, 0.1], 0, 0.41703),
        ([0.5, 2.0, 0.3], 0, 1.840616),
        ([[0.1, 0.2, 3.9], [1.2, 0.1, 0.3], [0.3, 2.2, 0.2]], [2, 0, 1], 0.2834),
        ([[0.9, 0.2, 0.1], [0.1, 0.3, 1.5], [1.2, 0.2, 0.5]], [2, 0, 1], 1.6418),
        ([[0.1, 0.2, 0.9], [1.1, 0.1, 0.2], [0.2, 2.1, 0.1]], [2, 0, 1], 0.4966353476047516),
        ([[0.8, 0.2, 0.3], [0.2, 0.3, 0.5], [0.2, 0.2, 0.5]], [2, 0, 1], 1.2388995885849),
        ([0.1, 0, 0, 1], 3, 0.7618933412552511),
    ],
)
def test_the_other_notes(logits: list[float], target: object, loss: float) -> None:
    # Printed with 4 digits, or computed in float32.
    assert explain(logits, target).value == pytest.approx(loss, abs=5e-5 if loss < 1.65 else 1e-6)


# The numbers.


@pytest.mark.parametrize(
    "row",
    [[2, -1, 0.1], [20, 0], [0, 20], [1000, 0, -5], [-1000, -1001], [0.25] * 5, [1e-3, 1e4, -7]],
)
def test_a_row_against_50_digits(row: list[float]) -> None:
    for target in range(len(row)):
        p, loss, gradient = by_hand(row, np.eye(len(row))[target])
        trace = explain(row, target)
        within(trace.probabilities[0], p)
        within(trace.losses, [loss])
        within(trace.gradient[0], gradient)
        within(trace.target_probability, [p[target]])
        assert trace.value == trace.losses[0]


def test_every_option_against_50_digits() -> None:
    z, w, e = [2, -1, 0.1], np.array([1.0, 2.0, 4.0]), 0.1
    options = {"temperature": 2.0, "softcap": 3.0, "z_loss": 0.01}
    for target, t in [
        (2, (1 - e) * w[2] * np.eye(3)[2] + e / 3 * w),
        ([0.2, 0.3, 0.5], w * ((1 - e) * np.array([0.2, 0.3, 0.5]) + e / 3)),
    ]:
        trace = explain(z, target, w, label_smoothing=e, reduction="sum", **options)
        p, loss, gradient = by_hand(z, t, **options)
        np.testing.assert_allclose(trace.probabilities[0], p, rtol=1e-14)
        np.testing.assert_allclose(trace.mass[0], t, rtol=1e-15)
        np.testing.assert_allclose(trace.mass_sum[0], t.sum(), rtol=1e-15)
        np.testing.assert_allclose(trace.losses[0], loss, rtol=1e-14)
        np.testing.assert_allclose(trace.value, loss, rtol=1e-14)
        np.testing.assert_allclose(trace.row_gradient[0], gradient, rtol=1e-14)


def test_each_step_follows_from_the_previous_one() -> None:
    trace = explain([[2, -1, 0.1], [5, 5, -3]], [2, 0], temperature=0.5)
    np.testing.assert_array_equal(trace.scaled, trace.logits / 0.5)
    np.testing.assert_array_equal(trace.maximum, [4, 10])
    np.testing.assert_array_equal(trace.shifted, trace.scaled - [[4], [10]])
    np.testing.assert_array_equal(trace.exponentials, np.exp(trace.scaled))
    np.testing.assert_array_equal(trace.shifted_exponentials, np.exp(trace.shifted))
    np.testing.assert_allclose(trace.exponential_sum, np.exp(trace.scaled).sum(axis=1))
    np.testing.assert_allclose(trace.lse, trace.maximum + np.log(trace.shifted_sum))
    np.testing.assert_allclose(trace.log_probabilities, trace.scaled - trace.lse[:, None])
    np.testing.assert_allclose(trace.probabilities, np.exp(trace.log_probabilities))
    np.testing.assert_allclose(trace.losses, -np.log(trace.target_probability))
    np.testing.assert_array_equal(trace.mass, [[0, 0, 1], [1, 0, 0]])


def test_the_numbers_are_those_of_the_library() -> None:
    logits = np.random.default_rng(0).normal(size=(7, 4)) * 5
    target = np.array([0, 1, 2, 3, -100, 1, 0])
    weight = np.array([1.0, 0.5, 2.0, 3.0])
    for reduction in ("mean", "sum"):
        trace = explain(logits, target, weight, reduction=reduction)
        loss, gradient = softxent.cross_entropy_with_grad(
            logits, target, weight, reduction=reduction
        )
        assert trace.value == loss
        np.testing.assert_array_equal(trace.gradient, gradient)


finite = st.floats(-50, 50)


@settings(deadline=None)
@given(st.lists(finite, min_size=1, max_size=30), st.data())
def test_probabilities_add_up_to_1_and_gradients_to_0(
    row: list[float], data: st.DataObject
) -> None:
    target = data.draw(st.integers(0, len(row) - 1))
    trace = explain(row, target)
    rounding = len(row) * 1e-15
    assert abs(math.fsum(trace.probabilities[0]) - 1) <= rounding
    assert abs(math.fsum(trace.gradient[0])) <= rounding


# Rows, denominators, reductions.


def test_the_mean_divides_by_the_weight_of_the_kept_targets() -> None:
    trace = explain([[2, -1, 0.1], [2.5, 2, 1.8], [0, 0, 0]], [2, 0, -100], [1, 2, 0.5])
    assert trace.mean is not None
    assert trace.mean.weight == 1.5
    assert trace.mean.total == pytest.approx(trace.losses.sum())
    assert trace.value == pytest.approx(trace.mean.value)
    assert trace.losses[2] == 0
    assert not trace.gradient[2].any()
    assert not trace.mass[2].any()
    assert trace.ignored.tolist() == [False, False, True]
    np.testing.assert_allclose(trace.gradient, trace.row_gradient / 1.5, rtol=1e-15)
    assert "/ 1.5 = " in trace.text()


def test_the_mean_of_class_probabilities_divides_by_the_rows() -> None:
    trace = explain([[2, -1, 0.1], [2.5, 2, 1.8]], [[0, 0, 1], [0.5, 0.5, 0]], [1, 2, 0.5])
    assert trace.mean.weight == 2
    assert trace.target_probability is None
    assert trace.value == pytest.approx(trace.losses.sum() / 2)


def test_a_sum_and_no_reduction() -> None:
    logits, target = [[2, -1, 0.1], [2.5, 2, 1.8]], [2, 0]
    total = explain(logits, target, reduction="sum")
    assert total.value == pytest.approx(total.losses.sum())
    assert f"The losses add up to {total.mean.total!r}." in total.text()
    none = explain(logits, target, reduction="none")
    assert none.value is None
    np.testing.assert_array_equal(none.gradient, none.row_gradient)
    assert "one loss per row" in none.text()


def test_a_class_index_and_its_one_hot_row_have_equal_losses() -> None:
    index, onehot = explain(NOTE, 2), explain(NOTE, [0, 0, 1])
    within(onehot.losses, index.losses)
    within(onehot.gradient, index.gradient)


# Edges.


def test_a_masked_class() -> None:
    trace = explain([2, -np.inf, 0.1], 0)
    assert trace.probabilities[0, 1] == 0
    assert math.isfinite(trace.value)
    as_target = explain([2, -np.inf, 0.1], 1)
    assert as_target.value == math.inf
    assert np.isfinite(as_target.gradient).all()
    assert "-log(0) = inf" in as_target.text()


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ([-np.inf, -np.inf], "Every logit is -inf"),
        ([np.nan, 1.0], "A logit is NaN"),
        ([np.inf, 1.0], "A logit is infinite"),
    ],
)
def test_a_row_without_probabilities(row: list[float], reason: str) -> None:
    trace = explain([row, [1, 2]], [1, 1], reduction="none")
    assert np.isnan(trace.probabilities[0]).all()
    assert np.isnan(trace.losses[0])
    assert np.isfinite(trace.losses[1])
    text = explain(row, 1).text()
    assert reason in text
    assert "loss and the gradient of this row are NaN" in text


def test_an_ignored_row_adds_nothing_even_with_nan() -> None:
    trace = explain([np.nan, 1.0], -100)
    assert trace.losses[0] == 0
    assert trace.gradient.tolist() == [[0, 0]]
    assert not trace.row_gradient.any()
    assert trace.mean == Mean(0.0, 0.0)
    assert math.isnan(trace.value)
    assert "the row is ignored" in trace.text()


def test_a_target_of_weight_0_has_loss_0() -> None:
    trace = explain([1, -np.inf], 1, [1, 0], reduction="sum")
    assert trace.value == 0
    text = trace.text()
    assert "The weight of that class is 0" in text
    assert "nan" not in text


def test_one_class() -> None:
    trace = explain([5], 0)
    assert (trace.value, trace.gradient.tolist()) == (0.0, [[0.0]])
    assert "-log(1) = 0" in trace.text()


def test_an_empty_batch() -> None:
    trace = explain(np.zeros((0, 3)), np.zeros(0, int))
    assert math.isnan(trace.value)
    assert trace.mean == Mean(0.0, 0.0)
    assert trace.probabilities.shape == (0, 3)
    assert "0 rows" in trace.text()


def test_exponentials_that_overflow_are_shown_with_the_largest_logit_subtracted() -> None:
    trace = explain([1000, 0, -5], 1)
    assert trace.exponentials[0, 0] == math.inf
    assert trace.value == 1000
    text = trace.text()
    assert "exp(-1000)" in text
    assert "-log(exp(-1000)) = 1000" in text


def test_a_confident_prediction_keeps_its_digits() -> None:
    text = explain([20, 0], 0).text()
    assert "-log(1 - 2.06115361" in text
    assert "= 2.06115362031438" in text
    assert "would give 2.061153026" in text


def test_no_target_shows_the_probabilities_alone() -> None:
    trace = explain([2, -1, 0.1])
    assert (trace.losses, trace.value, trace.gradient, trace.mean) == (None, None, None, None)
    assert "loss" not in trace.text()


# Errors.


@pytest.mark.parametrize(
    ("arguments", "options", "error"),
    [
        (([2, -1, 0.1], 3), {}, TargetError),
        (([2, -1, 0.1], -1), {}, TargetError),
        (([2, -1, 0.1], 1.5), {}, DTypeError),
        (([2, -1, 0.1], [0.5, -0.5, 1]), {}, TargetError),
        (([2, -1, 0.1], [0, 1]), {}, ShapeError),
        (([[2, -1], [1]], 0), {}, ShapeError),
        (([[[1.0]]], 0), {}, ShapeError),
        ((5.0, 0), {}, ShapeError),
        (([],), {}, ShapeError),
        ((["a", "b"],), {}, DTypeError),
        (([1j, 2],), {}, DTypeError),
        (([2, -1, 0.1], 0, [1, 2]), {}, ShapeError),
        (([2, -1, 0.1], 0), {"temperature": 0}, OptionError),
        (([2, -1, 0.1],), {"temperature": -1}, OptionError),
        (([2, -1, 0.1],), {"reduction": "average"}, OptionError),
        (([2, -1, 0.1], 0), {"label_smoothing": 2}, OptionError),
        (([2, -1, 0.1], 0), {"classes": ["a", "b"]}, ShapeError),
    ],
)
def test_errors_are_one_line(
    arguments: tuple[Any, ...], options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error) as caught:
        explain(*arguments, **options)
    assert str(caught.value).startswith("[explain] ")
    assert "\n" not in str(caught.value)


# The record.


def test_a_trace_is_immutable() -> None:
    logits = np.array([2.0, -1.0, 0.1])
    trace = explain(logits, 2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        trace.value = 0.0
    for field in dataclasses.fields(Trace):
        value = getattr(trace, field.name)
        if isinstance(value, np.ndarray):
            assert not value.flags.writeable
    logits[0] = 7
    assert trace.logits[0, 0] == 2
    assert logits.flags.writeable


def test_a_trace_has_every_option_of_the_loss() -> None:
    options = {"label_smoothing": 0.1, "z_loss": 0.01, "softcap": 3.0, "temperature": 2.0}
    trace = explain([2, -1, 0.1], 2, [1, 2, 4], ignore_index=-1, reduction="sum", **options)
    assert set(LossOptions._fields) <= {field.name for field in dataclasses.fields(Trace)}
    expected = options | {"ignore_index": -1, "reduction": "sum"}
    assert {name: getattr(trace.options, name) for name in expected} == expected
    assert trace.options.weight.tolist() == [1, 2, 4]


def test_repr_is_one_line() -> None:
    assert repr(explain([2, -1, 0.1], 2)) == "<Trace of 1 x 3 logits, mean=2.081784485589113>"
    assert repr(explain([2, -1, 0.1])) == "<Trace of 1 x 3 logits>"


def test_tensors_of_every_float_are_traced_in_float64() -> None:
    torch = pytest.importorskip("torch")
    logits = torch.tensor([[2.0, -1.0, 0.5]], requires_grad=True)
    expected = explain([[2.0, -1.0, 0.5]], [2])
    for dtype in (torch.bfloat16, torch.float16, torch.float32, torch.float64):
        trace = explain(logits.to(dtype), torch.tensor([2]))
        assert trace.probabilities.dtype == np.float64
        assert trace.value == expected.value


def test_explain_needs_no_torch() -> None:
    code = (
        "import sys, softxent; print(softxent.explain([2, -1, .1], 2)); "
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# The text.

LOTS = np.random.default_rng(0).normal(size=1000) * 4
WIDE_NAMES = ["日本語の名前はとても長いです", "x" * 50, "naïve"]


@pytest.mark.parametrize(
    "trace",
    [
        explain(NOTE, 2),
        explain([2.123456789012345, -700.1234567890123, 1e-300], 1, classes=WIDE_NAMES),
        explain([1e-5, -12345.678901234567, 1e4], 1, [0.1, 0.2, 0.3], classes=WIDE_NAMES),
        explain(
            [2, -1, 0.1], 2, [1, 2, 4], label_smoothing=0.1, z_loss=0.01, softcap=3, temperature=3
        ),
        explain([2, -1, 0.1], [0.1, 0.2, 1 / 3], label_smoothing=0.1, classes=WIDE_NAMES),
        explain(LOTS, 17),
        explain(LOTS.reshape(-1, 5), np.arange(200) % 5, [1, 2, 3, 4, 1e-7]),
        explain(LOTS[:30].reshape(-1, 3) * 1e-9, [0] * 10, [1, 2, 3], classes=WIDE_NAMES),
        explain([[np.nan, 1, 2], [1e300, -1e300, 0]], [0, 1]),
        explain(
            [-1.2345678901234567e-05, -123456.78901234567], 1, [3, 1 / 3], classes=["x" * 50] * 2
        ),
        explain([-1.2345678901234567e-05, -1 / 3], [1 / 3, 1 / 7], classes=["x" * 50] * 2),
        explain(
            np.array([-1.2345678e-05, -123456.79, -123456.78], np.float32),
            1,
            classes=["x" * 50] * 3,
        ),
        explain(LOTS.astype(np.float32) * 30, 17),
        explain(LOTS.astype(np.float16).reshape(-1, 5) * 5, np.arange(200) % 5),
    ],
)
def test_the_text_fits_into_80_columns(trace: Trace) -> None:
    for line in trace.text().splitlines():
        assert width(line) <= 80, line
        assert line == line.rstrip()


def test_class_names_are_in_the_text() -> None:
    text = explain([2, -1, 0.1], 2, classes=["cat", "dog", "3"]).text()
    assert "The target is class 3." in text
    assert "the highest is that of cat, 0.83378." in " ".join(text.split())


def test_class_names_cannot_control_the_terminal() -> None:
    hostile = ["\x1b[2J\x1b]0;owned\x07", "a\rb\nc", "\u202egnp.exe", "", "\x9b31m", "z" * 10**6]
    text = explain([3.0, 2.0, 1.0, 0.0, 0.5, 0.2], 1, classes=hostile).text()
    assert all(c == "\n" or c.isprintable() for c in text)
    assert "class 3" in text  # the empty name
    batch = explain(np.eye(6), range(6), classes=hostile).text()
    assert all(c == "\n" or c.isprintable() for c in batch)


def test_of_many_classes_the_most_probable_and_the_target_are_shown() -> None:
    trace = explain(LOTS, 17)
    text = trace.text()
    best = np.argsort(-LOTS)[:8]
    for index in [*best, 17]:
        assert f"class {index} " in text
    assert "991 others" in text
    rest = np.delete(trace.probabilities[0], [*best, 17]).sum()
    assert f"{rest:.10f}" in text
    assert len(text.splitlines()) < 80


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.5}])
def test_of_many_classes_the_target_is_shown_with_any_weight(options: dict[str, Any]) -> None:
    weight = np.ones(1000)
    weight[17] = 0
    assert "class 17 " in explain(LOTS, 17, weight, **options).text()
    spread = np.full(1000, 1e-4)
    spread[17] = 0.9
    assert "class 17 " in explain(LOTS, spread, **options).text()


def test_of_many_classes_the_nan_is_shown() -> None:
    row = LOTS.copy()
    row[500] = np.nan
    text = explain(row, 17).text()
    assert any(line.split() == ["class", "500", "nan"] for line in text.splitlines())
    assert "class 17 " in text


def test_twelve_classes_are_all_shown() -> None:
    text = explain(np.arange(12.0), 3).text()
    assert all(f"class {index} " in text for index in range(12))
    assert "other" not in text.split("The gradient")[0]


def test_a_long_batch_is_abbreviated() -> None:
    logits = np.zeros((64, 3))
    logits[37, 0] = 9
    text = explain(logits, np.ones(64, int)).text()
    assert "54 more rows are not shown. Row 37 has the largest loss: 9.0002." in text
    assert len(text.splitlines()) < 25


def test_the_bars_show_the_signs_of_the_gradient() -> None:
    lines = explain([2, -1, 0.1], 2).text().splitlines()
    positive = next(line for line in lines if "0.8337810128778" in line and "│" in line)
    negative = next(line for line in lines if "-0.87529252516" in line)
    assert "│█" in positive
    assert "█│" in negative
    assert positive.index("│") == negative.index("│")


def test_weights_smoothing_and_temperature_are_explained() -> None:
    assert "4 x 2.081784485589" in explain([2, -1, 0.1], 2, [1, 2, 4]).text()
    smooth = explain([2, -1, 0.1], 2, label_smoothing=0.1).text()
    assert "smoothed by 0.1" in smooth
    assert "t x -log p" in smooth
    assert "The gradient, p - t:" in smooth
    assert "divided by the temperature, 2." in explain([2, -1, 0.1], 2, temperature=2).text()
    assert "3 tanh(logit / 6)" in explain([2, -1, 0.1], 2, temperature=2, softcap=3).text()
    assert "z_loss adds" in explain([2, -1, 0.1], 2, z_loss=0.1).text()


def test_memory_grows_linearly_with_the_classes() -> None:
    tracemalloc.start()
    trace = explain(np.zeros(20_000, np.float32), 17)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert trace.value == pytest.approx(np.log(20_000))
    assert peak < 100e6  # a matrix of classes by classes would take 3.2 GB
