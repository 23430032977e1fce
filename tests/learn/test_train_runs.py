"""The record of a training is consistent: its numbers can be computed from each other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from softxent import cross_entropy, record, softmax
from softxent.errors import OptionError
from softxent.learn import (
    RECIPES,
    Trained,
    evaluate,
    load_model,
    load_run_rows,
    predict,
    train,
    write_run,
)
from softxent.learn.data import Dataset, load
from softxent.record import Record


def written(path: Path, dataset: Dataset, epochs: int = 2) -> tuple[Trained, Record]:
    trained = train(dataset, replace(RECIPES["default"], epochs=epochs), seed=3)
    with record.new_run(path) as new:
        write_run(new, dataset, trained, command="typed", notes=["a note"])
    return trained, record.read(path)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Trained, Record]:
    dataset = load("digits", test_size=0.25, seed=3)
    return dataset, *written(tmp_path_factory.mktemp("runs") / "digits", dataset)


def test_run_json_describes_the_training(digits: tuple[Dataset, Trained, Record]) -> None:
    dataset, trained, stored = digits
    run = stored.run
    assert (run.command, run.seed, run.notes) == ("typed", 3, ["a note"])
    assert run.data == dataset.info
    assert run.recipe["name"] == "default"
    assert run.recipe["hidden"] == [512, 256]
    assert run.recipe["epochs"] == len(stored.epochs) == 2
    assert run.model.layers == [64, 512, 256, 10]
    assert run.versions.keys() >= {"softxent", "python", "numpy", "torch", "threads"}
    assert run.seconds >= sum(epoch.seconds for epoch in stored.epochs)
    assert stored.epochs == list(trained.epochs)


def test_the_test_numbers_follow_from_the_stored_logits(
    digits: tuple[Dataset, Trained, Record],
) -> None:
    dataset, _, stored = digits
    logits, target = stored.test_logits, stored.test_target
    assert stored.test.rows == dataset.test.rows.tolist()
    losses = cross_entropy(logits.astype(np.float64), target, reduction="none")
    assert stored.run.test_loss.total == pytest.approx(losses.sum(), rel=1e-12)
    assert stored.run.test_loss.weight == len(target) == 450
    right = int((logits.argmax(axis=1) == target).sum())
    assert (stored.run.test_accuracy.total, stored.run.test_accuracy.weight) == (right, 450)
    assert stored.epochs[-1].test_loss == stored.run.test_loss


def test_mistakes_are_the_wrong_rows_with_the_highest_losses(
    digits: tuple[Dataset, Trained, Record],
) -> None:
    dataset, _, stored = digits
    logits, target = stored.test_logits, stored.test_target
    losses = cross_entropy(logits.astype(np.float64), target, reduction="none")
    wrong = np.flatnonzero(logits.argmax(axis=1) != target)
    worst = sorted(wrong, key=lambda i: -losses[i])[:24]
    assert [mistake.row for mistake in stored.mistakes] == [dataset.test.rows[i] for i in worst]
    for mistake, i in zip(stored.mistakes, worst, strict=True):
        assert mistake.target == target[i] != mistake.predicted == logits[i].argmax()
        assert mistake.loss == pytest.approx(losses[i])
        assert mistake.probabilities == pytest.approx(softmax(logits[i].astype(np.float64)))
        levels = dataset.test.features[i].reshape(8, 8) / 16 * 255
        assert np.abs(np.array(mistake.image) - levels).max() <= 0.5


def test_the_model_of_a_run_evaluates_to_the_same_numbers(
    digits: tuple[Dataset, Trained, Record],
) -> None:
    _, _, stored = digits
    rows = load_run_rows(stored, "digits", need_target=True).samples
    result = evaluate(load_model(stored), rows)
    assert rows.rows.tolist() == stored.test.rows  # by the seed and test size that were recorded
    assert result.accuracy == stored.run.test_accuracy.mean
    assert result.loss.weight == stored.run.test_loss.weight
    assert result.loss.total == pytest.approx(stored.run.test_loss.mean.total, rel=1e-5)


def test_a_folder_is_rejected_for_other_sources(digits: tuple[Dataset, Trained, Record]) -> None:
    with pytest.raises(OptionError, match="leave it out for digits"):
        load_run_rows(digits[2], "digits", data_dir=Path("x"), need_target=False)


@pytest.mark.slow
def test_points_get_their_regions(tmp_path: Path) -> None:
    dataset = load("points")
    trained, stored = written(tmp_path / "points", dataset)
    regions = stored.regions
    assert regions is not None
    assert np.array(regions.predicted).shape == (len(regions.y), len(regions.x)) == (160, 160)
    every = np.concatenate([dataset.train.features, dataset.test.features])
    for axis, grid in enumerate((regions.x, regions.y)):
        assert grid == sorted(grid)
        assert grid[0] < every[:, axis].min() <= every[:, axis].max() < grid[-1]
    assert regions.points == [tuple(map(float, point)) for point in dataset.test.features]
    assert dataset.test.target is not None
    assert regions.target == dataset.test.target.tolist()
    corner = np.array([[regions.x[5], regions.y[100]]], dtype=np.float32)
    (share,) = predict(trained.network, corner)
    assert regions.predicted[100][5] == share.argmax()
    assert regions.probability[100][5] == pytest.approx(share.max(), rel=1e-5)
    assert all(mistake.image is None for mistake in stored.mistakes)


def test_a_table_has_no_regions(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    lines = [f"{i % 3 + i / 100},{i % 7},{'abc'[i % 3]}" for i in range(60)]
    file.write_text("\n".join(["x,y,colour", *lines]))
    _, stored = written(tmp_path / "run", load(str(file), target="colour", test_size=0.25, seed=3))
    assert stored.regions is None
    assert stored.run.data.classes == ["a", "b", "c"]
