"""The network, its scaling, and the checks of stored weights."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from softxent import record
from softxent.errors import OptionError, RunError
from softxent.learn import Network, Recipe, load_model, train, write_run
from softxent.learn.data import Dataset, load
from softxent.learn.model import describe

QUICK = Recipe(
    name="quick",
    hidden=(16,),
    optimizer="adamw",
    learning_rate=0.01,
    schedule="constant",
    batch_size=256,
    epochs=1,
)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


@pytest.fixture
def run_path(digits: Dataset, tmp_path: Path) -> Path:
    path = tmp_path / "run"
    with record.new_run(path) as new:
        write_run(new, digits, train(digits, QUICK), command="softxent train digits")
    return path


def test_the_initialisation_is_that_of_pytorch() -> None:
    torch.manual_seed(3)
    network = Network([5, 4, 3])
    torch.manual_seed(3)
    theirs = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3))
    x = torch.randn(7, 5)
    assert torch.equal(network(x), theirs(x))


def test_number_of_parameters() -> None:
    described = describe(Network([784, 520, 320, 240, 120, 10]))
    assert described.parameters == 682_090
    assert described.layers == [784, 520, 320, 240, 120, 10]


@pytest.mark.parametrize("layers", [[], [4], [4, 0, 3], [-1, 3]])
def test_invalid_widths(layers: list[int]) -> None:
    with pytest.raises(OptionError, match="each at least 1"):
        Network(layers)


def scaled(network: Network, features: np.ndarray) -> np.ndarray:
    return ((torch.from_numpy(features) - network.offset) / network.scale).numpy()


@pytest.mark.parametrize("highest", [255.0, 16.0, 1.0])
def test_images_are_divided_by_their_highest_level(highest: float) -> None:
    features = np.linspace(0, highest, 24, dtype=np.float32).reshape(6, 4)
    network = Network([4, 2])
    network.fit_scaling(features, "images")
    assert np.array_equal(scaled(network, features), features / np.float32(highest))


@pytest.mark.parametrize("level", [0.0, -3.0])
def test_images_without_a_positive_level_keep_their_signs(level: float) -> None:
    network = Network([4, 2])
    features = np.full((2, 4), level, dtype=np.float32)
    network.fit_scaling(features, "images")
    assert np.array_equal(scaled(network, features), np.sign(features))


@pytest.mark.parametrize("kind", ["table", "plane"])
def test_columns_get_mean_0_and_deviation_1(kind: str) -> None:
    columns = np.random.default_rng(0).normal([5, -1e6], [1e-3, 1e4], (500, 2))
    features = columns.astype(np.float32)
    network = Network([2, 2])
    network.fit_scaling(features, kind)
    x = scaled(network, features).astype(np.float64)
    assert np.allclose(x.mean(axis=0), 0, atol=1e-3)
    assert np.allclose(x.std(axis=0), 1, atol=1e-3)


@pytest.mark.parametrize("value", [0.0, 0.1, -3e38, 1e-45])
def test_a_constant_column_is_ignored_for_any_later_value(value: float) -> None:
    features = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)
    features[:, 1] = value
    network = Network([3, 2])
    network.fit_scaling(features, "table")
    changed = features.copy()
    changed[:, 1] = 12345.0
    before, after = network(torch.from_numpy(features)), network(torch.from_numpy(changed))
    assert torch.isfinite(before).all()
    assert torch.equal(before, after)


def test_a_deviation_below_float32_does_not_divide_by_zero() -> None:
    features = np.zeros((1000, 1), dtype=np.float32)
    features[0] = 1e-45  # deviation 3e-47
    network = Network([1, 2])
    network.fit_scaling(features, "table")
    assert torch.isfinite(network(torch.from_numpy(features))).all()


def test_dropout_acts_only_in_training() -> None:
    network = Network([3, 50, 2], dropout=0.5)
    x = torch.ones(1, 3)
    assert not torch.equal(network.train()(x), network(x))
    assert torch.equal(network.eval()(x), network(x))


def test_a_loaded_model_is_the_trained_one(run_path: Path, digits: Dataset) -> None:
    network, trained = load_model(record.read(run_path)), train(digits, QUICK).network
    assert not network.training
    for name, tensor in trained.state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor), name


def rewrite(path: Path, **changes: Any) -> None:
    """Change run.json or the weights, and update the digests."""
    head = json.loads((path / "run.json").read_text())
    if "weights" in changes:
        (path / "weights.safetensors").write_bytes(changes["weights"])
        content = changes["weights"]
        for entry in head["files"]:
            if entry["name"] == "weights.safetensors":
                entry["bytes"] = len(content)
                entry["sha256"] = hashlib.sha256(content).hexdigest()
    head["model"].update(changes.get("model", {}))
    head["data"].update(changes.get("data", {}))
    (path / "run.json").write_text(json.dumps(head))


def tensors(path: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load((path / "weights.safetensors").read_bytes())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"kind": "cnn"}}, "of kind 'cnn'"),
        (
            {"model": {"layers": [64, 32, 10]}},
            r"layers\.\S+ is float32 \(.*\), but run.json requires",
        ),
        ({"model": {"layers": [64, 16, 16, 10]}}, r"layers\.\S+ is .*, but run.json requires"),
        ({"model": {"layers": [64, 10**9, 10**9, 10]}}, "run.json requires"),
        (
            {"model": {"layers": [64, 16, 9]}},
            "64 features to 9 classes, but the data have 64 features and 10 classes",
        ),
        ({"model": {"layers": [63, 16, 10]}}, "63 features to 10 classes"),
        ({"model": {"layers": []}}, "are not the widths"),
        ({"model": {"layers": [64, -16, 10]}}, "are not the widths"),
        ({"data": {"image_shape": [8, 9]}}, "the data have 72 features and 10 classes"),
        ({"weights": b""}, "weights.safetensors is damaged"),
        ({"weights": b"\x80\x04\x95 a pickle"}, "weights.safetensors is damaged"),
    ],
)
def test_inconsistent_runs_are_rejected(run_path: Path, changes: Any, message: str) -> None:
    rewrite(run_path, **changes)
    with pytest.raises(RunError, match=message) as caught:
        load_model(record.read(run_path))
    assert "\n" not in str(caught.value)


def test_weights_of_another_dtype_or_name_are_rejected(run_path: Path) -> None:
    good = tensors(run_path)
    for bad in (
        good | {"scale": good["scale"].double()},
        good | {"more": torch.zeros(1)},
        {name: tensor for name, tensor in good.items() if name != "offset"},
    ):
        rewrite(run_path, weights=safetensors.torch.save(bad))
        with pytest.raises(RunError, match="json requires"):
            load_model(record.read(run_path))
    rewrite(run_path, weights=safetensors.torch.save(good))
    load_model(record.read(run_path))


def test_truncated_weights_are_rejected(run_path: Path) -> None:
    file = run_path / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(RunError, match="cut short or changed"):
        load_model(record.read(run_path))
    rewrite(run_path, weights=file.read_bytes())
    with pytest.raises(RunError, match="safetensors is damaged"):
        load_model(record.read(run_path))
