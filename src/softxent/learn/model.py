"""The network: feature scaling and fully connected layers with ReLU between them.

The scaling is part of the model and is saved with the weights, so that callers pass features
unscaled.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from torch import nn

from softxent.errors import OptionError, RunError
from softxent.record import Data, Model, Record

__all__ = ["Network", "describe", "feature_count", "load_model", "pack_weights"]

_KIND = "mlp"


class Network(nn.Module):
    """Fully connected layers from features to logits.

        x = (features - offset) / scale;  x = relu(W x + b), layer by layer;  logits = W x + b

    The weights are initialised as by `torch.nn.Linear`, from torch's global generator.

    Args:
        layers: the widths of the input (D), of the hidden layers, and of the logits (C).
        dropout: the share of the outputs of each hidden layer that is set to 0 in training.

    Attributes:
        offset: (D,) float32, subtracted from the features; 0 before `fit_scaling`.
        scale: (D,) float32, the divisor of the difference; 1 before `fit_scaling`.
        layers: the linear layers.
        widths: the widths of the input, of the hidden layers, and of the logits.

    Raises:
        OptionError: fewer than two widths, or one below 1.

    Example:
        >>> Network([784, 520, 320, 240, 120, 10])(torch.zeros(2, 784)).shape
        torch.Size([2, 10])
    """

    offset: torch.Tensor
    scale: torch.Tensor

    def __init__(self, layers: Sequence[int], *, dropout: float = 0.0) -> None:
        if len(layers) < 2 or min(layers) < 1:
            raise OptionError(
                f"[Network] layers is {list(layers)}: pass the widths of the input, of the hidden "
                "layers and of the logits, each at least 1"
            )
        super().__init__()
        self.register_buffer("offset", torch.zeros(layers[0]))
        self.register_buffer("scale", torch.ones(layers[0]))
        self.layers = nn.ModuleList(
            nn.Linear(width, following) for width, following in itertools.pairwise(layers)
        )
        self.widths = list(layers)
        self.dropout = dropout

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Compute (N, C) float32 logits of (N, D) float32 features."""
        x = (features - self.offset) / self.scale
        *hidden, last = self.layers
        for layer in hidden:
            x = torch.relu(layer(x))
            if self.dropout:
                x = nn.functional.dropout(x, self.dropout, self.training)
        logits: torch.Tensor = last(x)
        return logits

    def fit_scaling(self, features: npt.NDArray[np.float32], kind: str) -> None:
        """Set offset and scale from the training rows.

        Images are divided by the highest grey level, to [0, 1]. Columns of a table and coordinates
        of points are standardised to mean 0 and standard deviation 1. A constant column carries no
        information about the classes and is ignored: its scale is infinite.

        Args:
            features: (N, D) float32, the training rows, N >= 1.
            kind: the kind of data: `images`, `table` or `plane`.
        """
        if kind == "images":
            self.scale.fill_(float(max(features.max(), -features.min())) or 1.0)
            return
        scale = features.std(axis=0, dtype=np.float64).astype(np.float32)
        # Rounding can give a constant column a deviation above 0, or another column one of 0.
        scale[(features.min(axis=0) == features.max(axis=0)) | (scale == 0)] = np.inf
        self.offset.copy_(torch.from_numpy(features.mean(axis=0, dtype=np.float64)))
        self.scale.copy_(torch.from_numpy(scale))


def feature_count(data: Data) -> int:
    """Return the number D of features of a row."""
    if data.image_shape is None:
        return len(data.features)
    height, width = data.image_shape
    return height * width


def describe(network: Network) -> Model:
    """Describe a network for run.json, so that it can be built again for its weights."""
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return Model(kind=_KIND, layers=network.widths, parameters=parameters)


def pack_weights(network: Network) -> bytes:
    """Serialise weights and scaling, float32, as the content of weights.safetensors."""
    return safetensors.torch.save(network.state_dict())


def load_model(record: Record) -> Network:
    """Load the trained network of a run.

    Nothing in the files is executed: the weights are plain numbers, whose names, shapes and dtypes
    are compared with run.json first.

    Args:
        record: the run, as returned by `softxent.record.read`.

    Returns:
        The network in evaluation mode.

    Raises:
        RunError: the weights don't match the network, or the network doesn't match the data, that
            run.json describes.

    Example:
        >>> from pathlib import Path
        >>> from softxent.record import read
        >>> network = load_model(read(Path("runs/digits-1")))
        >>> network(torch.zeros(2, 64)).shape
        torch.Size([2, 10])
    """
    model, data = record.run.model, record.run.data
    where = f"[run] {record.path / 'run.json'}"
    if model.kind != _KIND:
        raise RunError(
            f"{where}: the model is of kind {model.kind!r}; this version of softxent can load "
            f"{_KIND!r}. Upgrade softxent."
        )
    if len(model.layers) < 2 or min(model.layers) < 1:
        raise RunError(
            f"{where}: {model.layers} are not the widths of a network. Train the model again."
        )
    wanted = (feature_count(data), len(data.classes))
    if (model.layers[0], model.layers[-1]) != wanted:
        raise RunError(
            f"{where}: the network maps {model.layers[0]} features to {model.layers[-1]} classes, "
            f"but the data have {wanted[0]} features and {wanted[1]} classes. Train the model "
            "again."
        )
    try:
        tensors = safetensors.torch.load(record.weights_path.read_bytes())
    except safetensors.SafetensorError as error:
        raise RunError(
            f"[run] {record.weights_path} is damaged: {error}. Copy the run again, or train the "
            "model again."
        ) from None
    with torch.device("meta"):  # allocates no memory: run.json may claim any width
        network = Network(model.layers)
    expected = network.state_dict()
    for name in expected.keys() | tensors.keys():
        found, wished = _shape(tensors.get(name)), _shape(expected.get(name))
        if found != wished:
            raise RunError(
                f"[run] {record.weights_path}: {name} is {found}, but run.json requires {wished}. "
                "Copy the run again, or train the model again."
            )
    network.load_state_dict(tensors, assign=True)
    return network.eval()


def _shape(tensor: torch.Tensor | None) -> str:
    """Format the dtype and the shape of a tensor: `float32 (10, 64)`."""
    if tensor is None:
        return "absent"
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
