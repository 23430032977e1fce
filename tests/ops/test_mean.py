"""A mean with its denominator."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, cast

import numpy as np
import pytest

from softxent import Mean
from softxent.errors import OptionError


def test_two_add_up_to_the_mean_over_both() -> None:
    both = Mean(6.0, 64) + Mean(1.0, 16)
    assert both == Mean(7.0, 80)
    assert both.value == 7 / 80
    assert float(both) == 7 / 80
    assert both.value != (6 / 64 + 1 / 16) / 2  # the mean of means


def test_any_grouping_is_the_same() -> None:
    parts = [Mean(float(i), i % 3 + 1) for i in range(9)]
    start = Mean(0.0, 0)
    left = sum(parts[4:], sum(parts[:4], start))
    right = sum(parts[:4], start) + sum(parts[4:], start)
    assert left == right == sum(parts, start)


def test_nothing_is_not_a_number() -> None:
    assert math.isnan(Mean(0.0, 0).value)
    assert math.isnan(float(Mean(0.0, 0)))
    assert (Mean(0.0, 0) + Mean(3.0, 2)).value == 1.5


def test_a_broken_batch_breaks_the_mean() -> None:
    assert math.isnan((Mean(math.nan, 64) + Mean(1.0, 16)).value)
    assert (Mean(math.inf, 64) + Mean(1.0, 16)).value == math.inf


@pytest.mark.parametrize("weight", [-1, -1e-9, math.nan])
def test_a_denominator_is_not_negative(weight: float) -> None:
    with pytest.raises(OptionError, match=r"^\[Mean\] weight is .*: a denominator is >= 0\.$"):
        Mean(1.0, weight)


@pytest.mark.parametrize("other", [1, 1.5, None, "1", (1, 2)])
def test_only_means_are_added(other: Any) -> None:
    """A bare number has no denominator."""
    with pytest.raises(TypeError):
        Mean(1.0, 2) + other
    with pytest.raises(TypeError):
        other + Mean(1.0, 2)


def test_it_stays_as_it_is() -> None:
    mean = Mean(1.0, 2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        mean.total = 3.0  # type: ignore[misc]
    assert {mean: "a key"}[Mean(1.0, 2)] == "a key"
    assert repr(mean) == "Mean(total=1.0, weight=2)"


def test_numbers_of_numpy_will_do() -> None:
    total, count = cast(Any, np.float32(3.0)), cast(Any, np.int64(2))
    assert Mean(total, count).value == 1.5


def test_the_builtin_sum_adds_means() -> None:
    assert sum([Mean(1.0, 2), Mean(3.0, 4)]) == Mean(4.0, 6)
    with pytest.raises(TypeError):
        1 + Mean(1.0, 2)
