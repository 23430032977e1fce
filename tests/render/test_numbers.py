"""Numbers as text: rounded correctly, and never into a statement that is false."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softxent.render.numbers import (
    count,
    exact,
    loss,
    number,
    percent,
    plural,
    probability,
    size,
    with_sign,
)


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (9696, 10000, "96.96%"),
        (1, 3, "33.33%"),
        (2, 3, "66.67%"),
        (1, 800, "0.13%"),  # 0.125 exactly: half up, where "%.2f" gives 0.12
        (99999, 100000, "99.999%"),
        (1, 1000000, "0.0001%"),
        (5, 5, "100%"),
        (0, 5, "0%"),
        (0, 0, "\N{EN DASH}"),
        (math.nan, 5, "\N{EN DASH}"),
    ],
)
def test_percentages_are_rounded_half_up_and_never_to_0_or_100(
    part: float, whole: float, text: str
) -> None:
    assert percent(part, whole) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0673104, "0.06731"),
        (2.302585, "2.303"),
        (703.2, "703.2"),
        (2.061e-9, "2.061\u00d710⁻⁹"),
        (1e30, "1.000\u00d710³⁰"),
        (0.0, "0"),
        (-1.5, "\N{MINUS SIGN}1.500"),
        (math.inf, "not finite"),
        (math.nan, "not finite"),
    ],
)
def test_a_number_has_four_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_small_losses_and_confident_probabilities_are_not_rounded_away() -> None:
    assert loss(0.07186) == "0.0719"
    assert loss(2.061e-9) == "2.1\u00d710⁻⁹"
    assert probability(1e-12) == "<0.01%"
    assert probability(1 - 1e-9) == ">99.99%"
    assert (probability(0.0), probability(1.0)) == ("0%", "100%")


@given(st.floats(allow_nan=False))
def test_exact_numbers_read_back_to_the_same_float(value: float) -> None:
    assert float(exact(value)) == value
    assert not exact(value).startswith("-0") or value < 0
    assert float(with_sign(value)) == value
    assert with_sign(value).startswith("+") == (value > 0)


def test_counts_and_sizes() -> None:
    assert [count(n) for n in (1, 10_000, 2.5)] == ["1", "10,000", "2.50000"]
    assert [plural(n, "row") for n in (0, 1, 1234)] == ["0 rows", "1 row", "1,234 rows"]
    sizes = [size(n) for n in (0, 999, 1000, 1_234_567, 5 * 10**12)]
    assert sizes == ["0 bytes", "999 bytes", "1.0 kB", "1.2 MB", "5.0 TB"]
