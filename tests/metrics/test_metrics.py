"""Metrics against scikit-learn and against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from softxent.metrics import Calibration, measure, measure_calibration, wilson_interval


def losses(logits: np.ndarray, target: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    lse = np.log(np.exp(shifted).sum(axis=1))
    return np.asarray(lse - shifted[np.arange(len(target)), target])


def some_logits(rows: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A model that is right more often than not."""
    rng = np.random.default_rng(seed)
    target = rng.integers(classes, size=rows)
    logits = rng.normal(size=(rows, classes)).astype(np.float32)
    logits[np.arange(rows), target] += 2
    return logits, target


@given(st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_bounds_solve_their_equation(sample: tuple[int, int]) -> None:
    right, rows = sample
    share, z = right / rows, 1.959963984540054
    for bound in wilson_interval(right, rows):
        assert 0 <= bound <= 1
        variance = bound * (1 - bound) / rows
        assert (share - bound) ** 2 == pytest.approx(z * z * variance, rel=1e-6, abs=1e-15)
    assert wilson_interval(right, rows)[0] <= share <= wilson_interval(right, rows)[1]


def test_metrics_agree_with_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    logits, target = some_logits(500, 5)
    logits[:, 4] = -30  # a class that is never named
    metrics = measure(logits, target)
    predicted = logits.argmax(axis=1)
    precision, recall, f1, rows = sklearn.precision_recall_fscore_support(
        target, predicted, zero_division=np.nan
    )
    np.testing.assert_array_equal(
        metrics.confusion_matrix(), sklearn.confusion_matrix(target, predicted)
    )
    np.testing.assert_allclose(metrics.counts.precision, precision)
    np.testing.assert_allclose(metrics.counts.recall, recall)
    np.testing.assert_allclose(metrics.counts.f1, f1)
    np.testing.assert_array_equal(metrics.counts.rows, rows)
    np.testing.assert_allclose(metrics.loss, losses(logits, target), rtol=1e-12)
    expected = [metrics.loss[target == i].mean() for i in range(5)]
    np.testing.assert_allclose(metrics.mean_loss, expected)


def test_pairs_count_what_the_matrix_counts() -> None:
    metrics = measure(*some_logits(400, 6))
    matrix = metrics.confusion_matrix()
    pairs = metrics.confusions()
    assert [p.rows for p in pairs] == sorted((p.rows for p in pairs), reverse=True)
    assert all(matrix[p.target, p.predicted] == p.rows for p in pairs)
    assert sum(p.rows for p in pairs) == matrix.sum() - matrix.trace()


def test_a_row_that_is_not_finite_has_no_prediction() -> None:
    logits, target = some_logits(10, 3)
    logits[4, (target[4] + 1) % 3] = np.nan
    metrics = measure(logits, target)
    assert metrics.predicted[4] == -1
    assert metrics.unpredicted == 1
    assert metrics.confusion_matrix().sum() == 9
    assert metrics.counts.rows.sum() == 10


def two_classes(rows: int, sharpen: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose probabilities are the frequencies for `sharpen` 1, and too high for more."""
    rng = np.random.default_rng(5)
    margin = rng.uniform(0.5, 2, size=rows)
    target = np.where(rng.random(rows) < 1 / (1 + np.exp(-margin)), 0, 1)
    return np.stack([sharpen * margin, np.zeros(rows)], axis=1).astype(np.float32), target


def calibration_of(sharpen: float, rows: int) -> tuple[Calibration, int]:
    """The calibration of `two_classes`, and the number of correct rows."""
    metrics = measure(*two_classes(rows, sharpen))
    found = measure_calibration(metrics.confidence, metrics.correct)
    assert found is not None
    return found, int(metrics.correct.sum())


def test_the_calibration_error_is_the_mean_gap_of_bins_of_equal_size() -> None:
    found, correct = calibration_of(3, 1003)
    assert len(found.bins) == 15
    assert {one.rows for one in found.bins} == {66, 67}
    assert sum(one.rows for one in found.bins) == 1003
    assert sum(one.correct for one in found.bins) == correct
    gaps = [one.rows * abs(one.accuracy - one.confidence) for one in found.bins]
    assert found.error == pytest.approx(sum(gaps) / 1003)
    assert all(one.low <= one.accuracy <= one.high for one in found.bins)


def test_chance_explains_the_error_of_a_calibrated_model_only() -> None:
    calibrated, _ = calibration_of(1, 2000)
    overconfident, _ = calibration_of(3, 2000)
    assert calibrated.error <= calibrated.by_chance
    assert overconfident.error > overconfident.by_chance


def test_rows_without_a_prediction_are_left_out_of_the_calibration() -> None:
    nothing = np.array([np.nan, np.nan])
    assert measure_calibration(nothing, np.array([True, False])) is None
    found = measure_calibration(np.array([0.5, np.nan]), np.array([True, True]))
    assert found is not None
    assert found.error == 0.5
    assert found.bins[0].rows == 1


def test_of_calibrated_models_one_in_twenty_exceeds_what_chance_explains() -> None:
    rng = np.random.default_rng(0)
    exceeding, trials = 0, 100
    for _ in range(trials):
        confidence = rng.uniform(0.5, 1, size=300)
        found = measure_calibration(confidence, rng.random(300) < confidence)
        assert found is not None
        exceeding += found.error > found.by_chance
    assert 1 <= exceeding <= 12  # 5 expected; 99% of the binomial distribution
