"""What if, margins, two classes as binary cross-entropy, and single rows of a batch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import softxent
from softxent.errors import OptionError, ShapeError
from softxent.explain import WhatIf

# Untyped: some arguments are wrong on purpose, and attributes are None only without a target.
explain: Any = softxent.explain


def flat(text: object) -> str:
    return " ".join(str(text).split())


# What if.


def test_one_logit_changed() -> None:
    changed = explain([2, -1, 0.1], 2).what_if({2: 3.5})
    assert isinstance(changed, WhatIf)
    assert changed.before.value == explain([2, -1, 0.1], 2).value
    assert changed.after.value == explain([2, -1, 3.5], 2).value
    text = flat(changed)
    assert "What if the logit of class 2 were 3.5" in text
    assert "class 2 0.1 3.5" in text
    assert "class 2 0.12471 0.81022 target" in text
    assert "The prediction changes from class 0 to class 2." in text
    assert f"before {changed.before.value!r} after {changed.after.value!r}" in text


def test_the_gradient_is_compared_with_the_change_of_the_loss() -> None:
    text = flat(explain([2, -1, 0.1], 2).what_if({2: 3.5}))
    assert "A change of -1.8713." in text
    assert "the change of the logit gives -2.976" in text  # -0.87529 x 3.4
    small = explain([2, -1, 0.1], 2).what_if({2: 0.101})
    moved = small.after.value - small.before.value
    assert moved == pytest.approx(small.before.gradient[0, 2] * 0.001, rel=1e-3)


def test_what_if_keeps_every_option_and_the_type() -> None:
    options = {"label_smoothing": 0.1, "z_loss": 0.01, "softcap": 3.0, "temperature": 2.0}
    row, weight = np.array([2, -1, 0.1], np.float32), [1, 2, 4]
    after = explain(row, 2, weight, classes="abc", **options).what_if({0: 0.3, 1: 1}).after
    again = explain(np.array([0.3, 1, 0.1], np.float32), 2, weight, classes="abc", **options)
    assert after.to_dict() == again.to_dict()
    assert after.logits[0, 0] == float(np.float32(0.3))


def test_what_if_without_a_target_and_with_nan() -> None:
    assert "loss" not in str(explain([2, -1]).what_if({1: 5}))
    assert "The prediction remains class 0." in flat(explain([2, -1]).what_if({1: 1.5}))
    assert "What if nothing changed" in str(explain([2, -1], 0).what_if({}))
    nan = flat(explain([2, -1], 0).what_if({0: math.nan}))
    assert "The prediction changes from class 0 to none." in nan
    assert "gradient" not in nan
    masked = flat(explain([2, -1], 0).what_if({0: -math.inf}))
    assert "after inf" in masked


def test_errors_of_what_if() -> None:
    batch = explain([[2, -1], [1, 0]], [0, 0])
    with pytest.raises(ShapeError, match=r"^\[explain\] what_if changes a single row"):
        batch.what_if({0: 1})
    for index in (2, -1):
        with pytest.raises(OptionError, match=rf"no logit {index} to set: there are 2, 0 to 1"):
            batch.row(0).what_if({index: 1})
    with pytest.raises(OptionError, match="too large for float16"):
        explain(np.array([2, 1], np.float16)).what_if({0: 1e6})


def test_the_comparison_fits_into_80_columns() -> None:
    names = ["a name that is far too long", "x", "12345678901234"]
    trace = explain([1e-300, -123456.789, 1e5], 1, classes=names)
    for changed in (trace.what_if({0: 1 / 3}), trace.what_if({0: 1e9 / 7, 1: -1e-9 / 3})):
        assert max(map(len, str(changed).splitlines())) <= 80


def test_repr_is_one_line() -> None:
    changed = explain([2, -1, 0.1], 2).what_if({2: 3.5})
    assert repr(changed) == "<WhatIf What if the logit of class 2 were 3.5>"


# Margins.


def test_the_margin_of_each_logit() -> None:
    trace = explain([[2, -1, 0.5], [0, 0, -np.inf], [np.nan, 1, 2]])
    np.testing.assert_array_equal(trace.margin[0], [-1.5, 3, 1.5])
    np.testing.assert_array_equal(trace.margin[1], [0, 0, np.inf])
    assert np.isnan(trace.margin[2]).all()
    assert explain([5.0]).margin.tolist() == [[-np.inf]]
    assert explain(np.zeros((0, 3))).margin.shape == (0, 3)


@settings(deadline=None)
@given(st.lists(st.integers(-40, 40), min_size=2, max_size=8, unique=True))
def test_the_prediction_changes_exactly_beyond_the_margin(row: list[int]) -> None:
    logits = np.array(row, np.float64)
    trace = explain(logits)
    best = int(logits.argmax())
    for index, margin in enumerate(trace.margin[0]):
        step = math.copysign(0.5, margin)
        assert trace.what_if({index: row[index] + margin - step}).after.logits.argmax() == best
        assert trace.what_if({index: row[index] + margin + step}).after.logits.argmax() != best


def test_the_text_shows_the_margin() -> None:
    text = flat(explain([2, -1, 0.5], 2).text())
    assert "The prediction is class 0, which has the highest logit; it is wrong." in text
    assert "class 0 -1.5 then class 2 wins class 1 +3 class 2 +1.5" in text
    assert "it is correct" in explain([2, -1], 0).text()
    tie = flat(explain([2, 2, 1]).text())
    assert (
        "class 0, which has the highest logit, as does class 1; the first of them is predicted"
        in tie
    )
    assert "wins" not in explain([2, -np.inf]).text()
    assert "To change it" not in explain([5], 0).text()


# Two classes.


@settings(deadline=None)
@given(st.floats(-800, 800), st.floats(-800, 800), st.integers(0, 1))
def test_two_classes_are_binary_cross_entropy(a: float, b: float, y: int) -> None:
    trace = explain([a, b], y)
    binary = trace.binary
    assert binary.difference[0] == b - a
    np.testing.assert_allclose(binary.probability, trace.probabilities[:, 1], rtol=1e-13)
    # The difference of the logits is rounded by up to half an ulp, which changes the loss by:
    np.testing.assert_allclose(binary.losses, trace.losses, rtol=1e-11, atol=1e-300)


def test_two_classes_with_weights_and_smoothing() -> None:
    trace = explain([[2, -1], [0.3, 0.4]], [1, 0], [1, 3], label_smoothing=0.2)
    np.testing.assert_allclose(trace.binary.losses, trace.losses, rtol=1e-14)
    np.testing.assert_allclose(trace.binary.target, trace.mass[:, 1] / trace.mass_sum)
    text = flat(explain([2, -1], [0.25, 0.75]).text())
    assert "y = 0.75, the target's share of class 1" in text
    assert f"BCE = -y log(p) - (1 - y) log(1 - p) = {2.298587351573742!r}"[:60] in text
    weighted = explain([2, -1], [0.25, 0.75], [1, 2])
    total = float(weighted.binary.losses[0])
    assert f"log(1 - p) = {total / 1.75!r} 1.75 x BCE = {total!r}" in flat(weighted.text())


def test_the_text_shows_two_classes_as_bce() -> None:
    text = flat(explain([20, 0], 0).text())
    assert "d = 0 - 20 = -20 p = 1 / (1 + exp(20)) = 2.06115361" in text
    assert "BCE = -log(1 - p) = 2.06115362031438" in text
    assert "BCE = -log(p) = 3.04858735157374" in flat(explain([2, -1], 1).text())
    assert "BCE = -log(p) = 3.048587" in flat(explain([2, -1], 1, [1, 2]).text())
    assert "2 x BCE = 6.09717" in flat(explain([2, -1], 1, [1, 2]).text())
    assert "BCE" not in explain([2, -1, 0], 0).text()


def test_bce_is_left_out_where_it_is_not_finite() -> None:
    ignored = explain([2, -1], -100)
    assert ignored.binary.losses.tolist() == [0]
    for trace in (ignored, explain([2, -np.inf], 0), explain([np.nan, 1], 0)):
        assert "BCE" not in trace.text()
    assert explain([1, 2]).binary.losses is None
    assert explain([1, 2, 3]).binary is None


# A row of a batch.


def test_a_single_row_of_a_batch() -> None:
    batch = explain([[2, -1, 0.1], [2.5, 2, 1.8]], [2, 0], [1, 2, 4], label_smoothing=0.1)
    for index in (0, 1, -1):
        row = batch.row(index)
        assert row.losses[0] == batch.losses[index]
        np.testing.assert_array_equal(row.gradient[0], batch.row_gradient[index])
        np.testing.assert_array_equal(row.probabilities[0], batch.probabilities[index])
    assert "print(trace.row(0))" in str(batch)
    assert "print(trace.row(0))" not in batch.text()
    with pytest.raises(OptionError, match="there is no row 2: this trace has 2, 0 to 1"):
        batch.row(2)


def test_the_text_of_a_batch_lists_its_options() -> None:
    logits, target = [[2, -1, 0.1], [2.5, 2, 1.8]], [2, 0]
    told = flat(
        explain(logits, target, [1, 2, 4], label_smoothing=0.1, z_loss=0.01, temperature=2).text()
    )
    assert "With temperature 2, label smoothing 0.1, class weights, z_loss 0.01." in told
    shares = flat(explain(logits, [[0, 0, 1], [1, 0, 0]], softcap=30).text())
    assert "With softcap 30, class probabilities as targets." in shares
    assert "With" not in explain(logits, target).text()


def test_the_weights_in_a_batch_add_up_to_the_denominator() -> None:
    trace = explain(
        [[2, -1, 0.1], [2.5, 2, 1.8], [0, 0, 0]], [2, 0, -100], [1, 2, 4], label_smoothing=0.1
    )
    lines = [line.split() for line in trace.text().splitlines()]
    head = next(line for line in lines if line[:1] == ["row"])
    assert head.index("weight") == 3
    assert [line[4] for line in lines if line[:2] == ["0", "class"]] == ["4"]
    assert [line[4] for line in lines if line[:2] == ["1", "class"]] == ["1"]
    assert trace.mean.weight == 5
    assert softxent.Mean(trace.mean.total, 5).value == pytest.approx(trace.value)
