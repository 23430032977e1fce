"""The training loop: its results, its denominators, and that test rows have no influence."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from softxent import Mean
from softxent.errors import DataError, OptionError, TrainingError
from softxent.learn import RECIPES, Recipe, find_recipe, train
from softxent.learn.data import Dataset, Samples, load
from softxent.learn.training import _feature_source
from softxent.record import Data, Epoch

PLAIN = Recipe(
    name="plain",
    hidden=(8,),
    optimizer="sgd",
    learning_rate=0.1,
    schedule="constant",
    batch_size=64,
    epochs=2,
)


def samples(rows: int, classes: int, seed: int) -> Samples:
    random = np.random.default_rng(seed)
    target = np.arange(rows) % classes
    centres = np.random.default_rng(99).normal(scale=3, size=(classes, 4))
    features = (centres[target] + random.normal(size=(rows, 4))).astype(np.float32)
    return Samples(features=features, target=target.astype(np.int64), rows=np.arange(rows))


def dataset(rows: int = 150, classes: int = 3, *, test: Samples | None = None) -> Dataset:
    train, test = samples(rows, classes, 0), test or samples(60, classes, 1)
    info = Data(
        name="blobs",
        kind="table",
        description="Blobs",
        files=[],
        split="drawn apart",
        test_size=None,
        train_rows=len(train),
        test_rows=len(test),
        classes=[f"c{index}" for index in range(classes)],
        features=["a", "b", "c", "d"],
        image_shape=None,
        target="class",
        dropped=[],
    )
    return Dataset(info=info, train=train, test=test)


def weights(network: torch.nn.Module) -> list[bytes]:
    return [tensor.numpy().tobytes() for tensor in network.state_dict().values()]


def true_loss(network: torch.nn.Module, rows: Samples) -> float:
    """The mean loss in float64 NumPy, directly from the definition."""
    x = rows.features.astype(np.float64)
    state = {name: tensor.double().numpy() for name, tensor in network.state_dict().items()}
    x = (x - state["offset"]) / state["scale"]
    depth = sum(name.endswith("weight") for name in state)
    for layer in range(depth):
        x = x @ state[f"layers.{layer}.weight"].T + state[f"layers.{layer}.bias"]
        x = np.maximum(x, 0) if layer < depth - 1 else x
    lse = np.log(np.exp(x - x.max(axis=1, keepdims=True)).sum(axis=1)) + x.max(axis=1)
    return float((lse - x[np.arange(len(x)), rows.target]).mean())


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=str)
def test_the_same_seed_gives_the_same_bits(recipe: Recipe) -> None:
    recipe = replace(recipe, epochs=2)
    first, second, other = (train(dataset(), recipe, seed=seed) for seed in (7, 7, 8))
    assert weights(first.network) == weights(second.network)
    assert [replace_seconds(e) for e in first.epochs] == [replace_seconds(e) for e in second.epochs]
    assert weights(first.network) != weights(other.network)


def replace_seconds(epoch: Epoch) -> tuple[object, ...]:
    return (epoch.number, epoch.learning_rate, epoch.train_loss, epoch.test_loss)


def test_the_global_generator_is_unchanged() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    train(dataset(), PLAIN, seed=5)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.slow
def test_no_choice_depends_on_the_test_rows() -> None:
    random = np.random.default_rng(5)
    noise = Samples(
        features=random.normal(scale=100, size=(33, 4)).astype(np.float32),
        target=random.integers(3, size=33),
        rows=np.arange(33),
    )
    for recipe in RECIPES.values():
        usual = train(dataset(), replace(recipe, epochs=3))
        strange = train(dataset(test=noise), replace(recipe, epochs=3))
        assert weights(usual.network) == weights(strange.network)


def test_losses_are_sums_over_rows_with_their_denominators() -> None:
    # 70 rows in batches of 64: a mean of batch means would count the last 6 rows tenfold.
    data = dataset(rows=70)
    trained = train(data, replace(PLAIN, learning_rate=1e-12, epochs=1))
    (epoch,) = trained.epochs
    assert epoch.train_loss.weight == 70
    assert epoch.train_loss.mean.value == pytest.approx(true_loss(trained.network, data.train))
    assert epoch.test_loss.weight == 60
    assert epoch.test_loss.mean.value == pytest.approx(
        true_loss(trained.network, data.test), rel=1e-6
    )
    assert epoch.train_accuracy.weight == 70
    assert epoch.test_accuracy.weight == 60


def test_the_recipe_note_equals_the_loop_of_the_note() -> None:
    """The same loop, written with torch's own functions."""
    data = dataset(rows=200)
    trained = train(data, replace(RECIPES["note"], epochs=2), seed=4)

    torch.manual_seed(4)
    widths = [4, 520, 320, 240, 120, 3]
    layers: list[torch.nn.Module] = []
    for width, following in itertools.pairwise(widths):
        layers += [torch.nn.Linear(width, following), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.5)
    mean = data.train.features.mean(axis=0, dtype=np.float64).astype(np.float32)
    deviation = data.train.features.std(axis=0, dtype=np.float64).astype(np.float32)
    x = torch.from_numpy((data.train.features - mean) / deviation)
    y = torch.from_numpy(data.train.target)
    for _ in range(2):
        for rows in torch.randperm(200).split(64):
            loss = torch.nn.functional.cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    for ours, theirs in zip(trained.network.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_the_notes_first_epoch_on_mnist(shared_data: Path) -> None:
    # 55% when the note ran; grey levels scaled otherwise, or Adam, would be near 90% at once.
    mnist = load("mnist", data_dir=shared_data / "mnist")
    trained = train(mnist, replace(RECIPES["note"], epochs=1))
    assert trained.test.accuracy.weight == 10_000
    assert 0.4 < trained.test.accuracy.value < 0.75
    assert 0.8 < trained.test.loss.value < 2.2


@pytest.mark.parametrize(("rows", "accuracy"), [(30, 0.9), (150, 0.95), (1000, 0.97)])
@pytest.mark.slow
def test_the_default_learns_from_few_rows_and_from_many(rows: int, accuracy: float) -> None:
    trained = train(dataset(rows=rows), seed=1)
    assert trained.test.accuracy.value >= accuracy
    assert trained.epochs[-1].test_loss.mean == trained.test.loss


def test_no_hidden_layer_is_softmax_regression() -> None:
    trained = train(dataset(), replace(PLAIN, hidden=(), epochs=20))
    assert len(trained.network.layers) == 1
    assert trained.test.accuracy.value > 0.9


def test_a_loss_that_is_not_finite_stops_the_training() -> None:
    with pytest.raises(TrainingError, match=r"loss became (nan|inf) in epoch \d, batch \d.*1e\+30"):
        train(dataset(), replace(PLAIN, learning_rate=1e30))


def test_divergence_in_the_last_step_is_detected() -> None:
    with pytest.raises(TrainingError, match=r"test loss is nan after epoch 1"):
        train(dataset(rows=60), replace(PLAIN, learning_rate=1e38, epochs=1))


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range(seed: int) -> None:
    with pytest.raises(OptionError, match="seed is"):
        train(dataset(), PLAIN, seed=seed)


def test_no_rows_or_no_target() -> None:
    data = dataset()
    empty = Samples(
        features=np.empty((0, 4), np.float32), target=np.empty(0, np.int64), rows=np.empty(0, int)
    )
    unlabelled = Samples(features=data.train.features, target=None, rows=data.train.rows)
    for rows in (empty, unlabelled):
        with pytest.raises(DataError, match="no rows with a target"):
            train(Dataset(info=data.info, train=rows, test=data.test), PLAIN)


def test_read_only_features() -> None:
    data = dataset()
    before = train(data, PLAIN)
    data.train.features.flags.writeable = False
    assert data.train.target is not None
    data.train.target.flags.writeable = False
    data.test.features.flags.writeable = False
    assert weights(train(data, PLAIN).network) == weights(before.network)


def test_small_steps_use_one_thread() -> None:
    usual = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        small = train(dataset(), PLAIN)
        large = train(dataset(), replace(PLAIN, hidden=(1000, 1000), epochs=1))
        assert (small.threads, large.threads) == (1, 2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(usual)


class Notebook:
    def __init__(self) -> None:
        self.steps: list[tuple[int, int, float]] = []
        self.epochs: list[tuple[int, int]] = []

    def step(self, done: int, steps: int, loss: Mean) -> None:
        self.steps.append((done, steps, loss.weight))

    def epoch(self, epoch: Epoch, epochs: int) -> None:
        self.epochs.append((epoch.number, epochs))


def test_progress_is_called_for_each_step_and_epoch(capfd: pytest.CaptureFixture[str]) -> None:
    notebook = Notebook()
    train(dataset(rows=150), PLAIN, progress=notebook)
    weights = [64, 128, 150] * 2
    assert notebook.steps == [(n, 6, w) for n, w in enumerate(weights, 1)]
    assert notebook.epochs == [(1, 2), (2, 2)]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("steps", [1, 2, 7, 1000])
def test_one_cycle_rises_for_a_quarter_and_falls_to_0(steps: int) -> None:
    recipe = replace(PLAIN, schedule="one-cycle", learning_rate=0.5)
    rates = [recipe.learning_rate_at(step, steps) for step in range(steps)]
    assert all(0 < rate <= 0.5 for rate in rates)
    peak = int(np.argmax(rates))
    assert peak == pytest.approx(steps / 4, abs=1)
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    if steps == 1000:
        assert rates[peak] == pytest.approx(0.5, rel=1e-2)
        assert rates[-1] < 1e-3


def test_the_rate_at_the_epochs_end_is_recorded() -> None:
    recipe = replace(PLAIN, schedule="one-cycle")
    epochs = train(dataset(rows=150), recipe).epochs
    assert [epoch.learning_rate for epoch in epochs] == [
        recipe.learning_rate_at(step, 6) for step in (2, 5)
    ]


def test_batches_of_a_small_training_set() -> None:
    default, note = RECIPES["default"], RECIPES["note"]
    assert [default.batch_rows(rows) for rows in (10, 120, 1500, 60_000)] == [8, 8, 30, 128]
    assert note.batch_rows(10) == 64


@pytest.mark.parametrize(
    "setting",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"hidden": (0,)},
        {"learning_rate": 0.0},
        {"learning_rate": math.nan},
        {"learning_rate": math.inf},
        {"momentum": 1.0},
        {"dropout": -0.1},
        {"dropout": math.nan},
        {"shift": 1.0},
        {"weight_decay": -1.0},
        {"optimizer": "adam"},
        {"schedule": "cosine"},
    ],
    ids=str,
)
def test_settings_out_of_range(setting: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=rf"\[recipe\] {next(iter(setting))} is"):
        replace(PLAIN, **setting)


def test_an_unknown_recipe() -> None:
    with pytest.raises(OptionError, match="no recipe 'best': use one of default, note"):
        find_recipe("best")


def test_images_shift_by_whole_pixels_padded_with_black() -> None:
    images = np.arange(1, 2 * 28 * 14 + 1, dtype=np.float32).reshape(2, 28, 14)
    source = _feature_source(images.reshape(2, -1), (28, 14), 1 / 14)
    padded = np.pad(images, ((0, 0), (2, 2), (1, 1)))
    positions = {
        padded[which, y : y + 28, x : x + 14].tobytes(): (which, y, x)
        for which in range(2)
        for y in range(5)
        for x in range(3)
    }
    torch.manual_seed(0)
    rows = torch.arange(2).repeat(500)
    found = [positions[image.numpy().tobytes()] for image in source(rows)]
    assert [which for which, _, _ in found] == rows.tolist()
    assert set(found) == set(positions.values())


def test_small_images_are_not_shifted() -> None:
    features = np.random.default_rng(0).normal(size=(3, 64)).astype(np.float32)
    source = _feature_source(features, (8, 8), 1 / 14)
    assert np.array_equal(source(torch.tensor([2, 0])).numpy(), features[[2, 0]])
