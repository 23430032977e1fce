"""Held-out rows: the same share of each class, also in small tables."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from softxent.errors import DataError, OptionError
from softxent.learn.data.split import check_draw, hold_out


def names(target: np.ndarray) -> list[str]:
    return [f"class {index}" for index in range(int(target.max()) + 1)]


def test_the_rows_are_those_of_train_test_split() -> None:
    target = np.random.default_rng(0).integers(0, 5, size=400)
    split = hold_out(target, names(target), test_size=0.3, seed=7)
    train, test = train_test_split(np.arange(400), test_size=0.3, random_state=7, stratify=target)
    assert split.train.tolist() == sorted(train)
    assert split.test.tolist() == sorted(test)
    assert split.description == "120 of 400 rows held out, the same share of every class, seed 7"


def test_another_seed_holds_out_other_rows() -> None:
    target = np.arange(100) % 2
    tests = [hold_out(target, names(target), test_size=0.2, seed=seed).test for seed in (0, 0, 1)]
    assert tests[0].tolist() == tests[1].tolist() != tests[2].tolist()


@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=8).filter(lambda sizes: max(sizes) > 1),
    st.integers(0, 100),
    st.floats(0.05, 0.5),
)
@settings(deadline=None)
@pytest.mark.slow
def test_each_row_is_in_one_set_and_each_class_in_training(
    sizes: list[int], seed: int, test_size: float
) -> None:
    target = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    split = hold_out(target, names(target), test_size=test_size, seed=seed)
    assert sorted([*split.train, *split.test]) == list(range(len(target)))
    assert set(target[split.train]) == set(target)
    assert len(split.test) >= sum(size > 1 for size in sizes)
    shares = np.bincount(target[split.test], minlength=len(sizes)) / sizes
    assert (shares[np.array(sizes) == 1] == 0).all()
    for row, size in enumerate(sizes):
        if len(split.test) == np.ceil(test_size * sum(n for n in sizes if n > 1)) and size > 1:
            assert abs(shares[row] - test_size) * size < 2


def test_classes_with_a_single_row_stay_in_training_and_are_named() -> None:
    target = np.array([0, 1, 1, 1, 1, 2])
    split = hold_out(target, ["x", "y", "z"], test_size=0.25, seed=0)
    assert {0, 5} <= set(split.train)
    assert "1 of 6 rows" in split.description
    assert split.description.endswith("classes with a single row stay in training: 'x', 'z'")


def test_two_rows_per_class_are_divided() -> None:
    target = np.arange(10) % 5
    split = hold_out(target, names(target), test_size=0.2, seed=0)
    assert sorted(target[split.test]) == sorted(target[split.train]) == [0, 1, 2, 3, 4]


def test_targets_that_cannot_be_split() -> None:
    with pytest.raises(DataError, match="each of the 3 rows has a different class"):
        hold_out(np.arange(3), ["a", "b", "c"], test_size=0.2, seed=0)
    split = hold_out(np.arange(6) % 3, ["a", "b", "c"], test_size=0.9, seed=0)
    assert len(split.train) == 3
    target = np.repeat([0, 1], [100, 2])
    with pytest.raises(DataError, match="leaves no training rows of 'rare'"):
        hold_out(target, ["often", "rare"], test_size=0.95, seed=0)


@pytest.mark.parametrize("test_size", [0, 1, -0.1, 20, float("nan")])
def test_a_share_is_between_zero_and_one(test_size: float) -> None:
    with pytest.raises(OptionError, match="test_size is"):
        check_draw(test_size, 0)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_fits_into_32_bits(seed: int) -> None:
    with pytest.raises(OptionError, match="seed is"):
        check_draw(0.2, seed)
