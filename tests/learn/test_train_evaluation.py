"""Loss, accuracy and probabilities of a network, compared with scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss, precision_recall_fscore_support

from softxent import Mean
from softxent.errors import DataError, ShapeError, TargetError
from softxent.learn import Network, evaluate, predict
from softxent.learn.data import Samples


def rows(count: int, width: int = 4, classes: int = 3) -> Samples:
    random = np.random.default_rng(count)
    return Samples(
        features=random.normal(size=(count, width)).astype(np.float32),
        target=random.integers(classes, size=count),
        rows=np.arange(count),
    )


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return Network([4, 16, 3], dropout=0.5)


@pytest.mark.parametrize("count", [1, 7, 5000])
def test_loss_and_accuracy_equal_scikit_learn(network: Network, count: int) -> None:
    samples = rows(count)
    result = evaluate(network, samples)
    shares = predict(network, samples.features)
    assert result.loss.weight == result.accuracy.weight == count
    assert result.loss.value == pytest.approx(log_loss(samples.target, shares, labels=range(3)))
    assert result.accuracy.value == accuracy_score(samples.target, shares.argmax(axis=1))


def test_precision_and_recall_equal_scikit_learn(network: Network) -> None:
    samples = rows(500)
    result = evaluate(network, samples)
    scores = result.by_class(["a", "b", "c"])
    precision, recall, _, support = precision_recall_fscore_support(
        samples.target, result.predicted, labels=range(3), zero_division=math.nan
    )
    assert [score.name for score in scores] == ["a", "b", "c"]
    assert np.allclose([s.precision.value for s in scores], precision, equal_nan=True)
    assert np.allclose([s.recall.value for s in scores], recall)
    assert [s.recall.weight for s in scores] == list(support)


def first_layer(network: Network) -> torch.nn.Linear:
    layer = network.layers[0]
    assert isinstance(layer, torch.nn.Linear)
    return layer


def test_precision_and_recall_without_rows_are_nan() -> None:
    network = Network([1, 3])
    with torch.no_grad():
        first_layer(network).weight.zero_()
        first_layer(network).bias.copy_(torch.tensor([1.0, 0.0, 0.0]))
    samples = Samples(
        features=np.zeros((2, 1), np.float32), target=np.array([0, 1]), rows=np.arange(2)
    )
    first, second, third = evaluate(network, samples).by_class(["a", "b", "c"])
    assert (first.precision, first.recall) == (Mean(1, 2), Mean(1, 1))
    assert (second.precision, second.recall) == (Mean(0, 0), Mean(0, 1))
    assert (third.precision, third.recall) == (Mean(0, 0), Mean(0, 0))


def test_a_confident_network_has_a_loss_above_0() -> None:
    network = Network([1, 2])
    with torch.no_grad():
        first_layer(network).weight.zero_()
        first_layer(network).bias.copy_(torch.tensor([20.0, 0.0]))
    samples = Samples(
        features=np.zeros((3, 1), np.float32), target=np.zeros(3, int), rows=np.ones(3, int)
    )
    assert evaluate(network, samples).loss.value == pytest.approx(
        math.log1p(math.exp(-20)), rel=1e-12
    )


def test_probabilities_sum_to_1(network: Network) -> None:
    shares = predict(network, 100 * rows(5000).features)
    assert shares.dtype == np.float64
    assert np.abs(shares.sum(axis=1) - 1).max() < 1e-15


def test_evaluation_disables_dropout_and_restores_the_mode(network: Network) -> None:
    features = rows(20).features
    for training in (True, False):
        network.train(training)
        assert np.array_equal(predict(network, features), predict(network, features))
        assert network.training is training


def test_no_rows(network: Network) -> None:
    result = evaluate(network, rows(0))
    assert (result.loss, result.accuracy) == (Mean(0.0, 0), Mean(0, 0))
    assert predict(network, rows(0).features).shape == (0, 3)


@pytest.mark.parametrize("shape", [(5, 3), (5, 5), (4,), (2, 2, 4)])
def test_rows_of_another_width(network: Network, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"the model takes \(N, 4\)"):
        predict(network, np.zeros(shape, np.float32))


def test_rows_without_a_target(network: Network) -> None:
    samples = Samples(features=rows(3).features, target=None, rows=np.arange(3))
    with pytest.raises(DataError, match="no target"):
        evaluate(network, samples)


def test_a_target_that_is_not_a_class(network: Network) -> None:
    with pytest.raises(TargetError):
        evaluate(network, rows(50, classes=4))
