"""The network: feature scaling, then fully connected layers with ReLU between them, to logits.

The scaling is part of the model and is saved with the weights: whoever loads them feeds features
as their source has them.
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

    The weights start as PyTorch's `Linear` starts them, drawn from torch's global generator.

    Args:
        layers: widths from the input (D) over the hidden layers to the logits (C).
        dropout: share of each hidden layer's outputs that is set to 0 while training.

    Attributes:
        offset: (D,) float32, subtracted from the features; 0 before `fit_scaling`.
        scale: (D,) float32, what they are divided by then; 1 before `fit_scaling`.
        layers: the linear layers.
        widths: of the input, the hidden layers and the logits.

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
                f"[Network] layers is {list(layers)}; wanted are the widths of the input, the "
                "hidden layers and the logits, each at least 1"
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
        """(N, D) float32 features as their source has them -> (N, C) logits."""
        x = (features - self.offset) / self.scale
        *hidden, last = self.layers
        for layer in hidden:
            x = torch.relu(layer(x))
            if self.dropout:
                x = nn.functional.dropout(x, self.dropout, self.training)
        logits: torch.Tensor = last(x)
        return logits

    def fit_scaling(self, features: npt.NDArray[np.float32], kind: str) -> None:
        """Set offset and scale from the training rows, which alone may decide them.

        Images are divided by the highest grey level: to [0, 1] and nothing else. Columns of a table
        and points are brought to mean 0 and deviation 1. A column that is constant says nothing
        about the classes and is ignored from then on: its scale is infinite.

        Args:
            features: (N, D) float32, the training rows, N >= 1.
            kind: of the data: `images`, `table` or `plane`.
        """
        if kind == "images":
            self.scale.fill_(float(max(features.max(), -features.min())) or 1.0)
            return
        scale = features.std(axis=0, dtype=np.float64).astype(np.float32)
        # Rounding can leave a constant column a deviation that isn't quite 0, or take one to 0.
        scale[(features.min(axis=0) == features.max(axis=0)) | (scale == 0)] = np.inf
        self.offset.copy_(torch.from_numpy(features.mean(axis=0, dtype=np.float64)))
        self.scale.copy_(torch.from_numpy(scale))


def feature_count(data: Data) -> int:
    """The width D of the data's rows."""
    if data.image_shape is None:
        return len(data.features)
    height, width = data.image_shape
    return height * width


def describe(network: Network) -> Model:
    """What run.json says of a network: enough to build it again around its weights."""
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return Model(kind=_KIND, layers=network.widths, parameters=parameters)


def pack_weights(network: Network) -> bytes:
    """The content of weights.safetensors: weights and scaling, float32."""
    return safetensors.torch.save(network.state_dict())


def load_model(record: Record) -> Network:
    """The trained network of a run, ready to evaluate.

    Args:
        record: the run, as `softxent.record.read` gives it. Nothing in it is executed: the weights
            are plain numbers, whose names, shapes and types are compared with run.json first.

    Returns:
        The network in evaluation mode.

    Raises:
        RunError: the weights, the network and the data that run.json describes don't fit together.

    Example:
        >>> network = load_model(softxent.record.read(Path("runs/digits-1")))  # doctest: +SKIP
    """
    model, data = record.run.model, record.run.data
    where = f"[run] {record.path / 'run.json'}"
    if model.kind != _KIND:
        raise RunError(
            f"{where}: the model is of kind {model.kind!r}; this softxent knows {_KIND!r}"
        )
    if len(model.layers) < 2 or min(model.layers) < 1:
        raise RunError(f"{where}: {model.layers} are not the widths of a network. Train again.")
    wanted = (feature_count(data), len(data.classes))
    if (model.layers[0], model.layers[-1]) != wanted:
        raise RunError(
            f"{where}: the network leads from {model.layers[0]} features to {model.layers[-1]} "
            f"classes, the data from {wanted[0]} to {wanted[1]}. Train again."
        )
    try:
        tensors = safetensors.torch.load(record.weights_path.read_bytes())
    except safetensors.SafetensorError as error:
        raise RunError(
            f"[run] {record.weights_path} is damaged: {error}. Train again, or copy the run again."
        ) from None
    with torch.device("meta"):  # shapes without memory: run.json may claim any width
        network = Network(model.layers)
    expected = network.state_dict()
    for name in expected.keys() | tensors.keys():
        found, wished = _shape(tensors.get(name)), _shape(expected.get(name))
        if found != wished:
            raise RunError(
                f"[run] {record.weights_path}: {name} is {found}; run.json asks for {wished}. "
                "Train again, or copy the run again."
            )
    network.load_state_dict(tensors, assign=True)
    return network.eval()


def _shape(tensor: torch.Tensor | None) -> str:
    """A tensor's type and shape as text: `float32 (10, 64)`."""
    if tensor is None:
        return "absent"
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
