"""The data, architectures and trainings from which healthy set-ups and mistakes are made."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

Values: TypeAlias = npt.NDArray[Any]

INSTANCES = 40  # of each mistake, at most
STEPS = (0, 20, 300)  # untrained, hardly trained, trained
BATCH = 64


@dataclass(frozen=True)
class Data:
    name: str
    x: Tensor
    y: Tensor
    classes: int
    image: tuple[int, int] | None = None


@dataclass(frozen=True)
class Scored:
    """The logits of a model on held-out rows."""

    logits: Values
    target: npt.NDArray[np.int64]
    steps: int  # of training

    @property
    def trained(self) -> bool:
        return self.steps == STEPS[-1]

    @property
    def classes(self) -> int:
        return int(self.logits.shape[1])


def blobs(classes: int, seed: int, features: int = 24) -> Data:
    rng = np.random.default_rng(seed)
    rows = max(2000, 6 * classes)
    centres = 1.6 * rng.standard_normal((classes, features))
    y = rng.integers(0, classes, rows)
    x = centres[y] + rng.standard_normal((rows, features))
    return scaled(f"blobs, {classes} classes", x, y, classes)


def scaled(
    name: str, x: Values, y: Values, classes: int, image: tuple[int, int] | None = None
) -> Data:
    x = np.asarray(x, np.float32)
    x = (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-2)
    order = np.random.default_rng(0).permutation(len(x))
    return Data(name, torch.from_numpy(x[order]), torch.from_numpy(y[order]).long(), classes, image)


def real(folder: Path | None) -> Iterator[Data]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    yield scaled("digits", digits.data / 16, digits.target, 10, (8, 8))
    if folder is None:
        return
    if (folder / "letter").is_dir():
        text = np.genfromtxt(
            folder / "letter" / "letter-recognition.data", delimiter=",", dtype=str, max_rows=4000
        )
        y = np.array([ord(letter) - ord("A") for letter in text[:, 0]])
        yield scaled("letter", text[:, 1:].astype(float), y, 26)
    if (folder / "otto").is_dir():
        with gzip.open(folder / "otto" / "train.csv.gz", "rt") as file:
            rows = [line.strip().split(",") for line in file][1::15]
        x = np.log1p(np.array([row[1:-1] for row in rows], float))
        yield scaled("otto", x, np.array([int(row[-1][-1]) - 1 for row in rows]), 9)
    if (folder / "mnist").is_dir():
        with gzip.open(folder / "mnist" / "t10k-images-idx3-ubyte.gz") as file:
            x = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 784)[:4000] / 255
        with gzip.open(folder / "mnist" / "t10k-labels-idx1-ubyte.gz") as file:
            y = np.frombuffer(file.read(), np.uint8, offset=8)[:4000]
        yield Data(
            "mnist", torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y.copy()).long(), 10,
            (28, 28),
        )  # fmt: skip


class Residual(nn.Module):
    """A residual block and a last layer that are both initialized to zero."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.first, self.block = nn.Linear(features, 48), nn.Linear(48, 48)
        self.gain, self.last = nn.Parameter(torch.zeros(48)), nn.Linear(48, classes)
        nn.init.zeros_(self.last.weight)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x).relu()
        logits: Tensor = self.last(hidden + self.gain * self.block(hidden).relu())
        return logits


def convolutional(height: int, width: int, classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, height, width)),
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(8 * (height // 2) * (width // 2), classes),
    )  # fmt: skip


def architectures(data: Data) -> Iterator[tuple[str, nn.Module]]:
    n, c = data.x.shape[1], data.classes
    yield "linear", nn.Linear(n, c)
    yield "two layers", nn.Sequential(nn.Linear(n, 64), nn.ReLU(), nn.Linear(64, c))
    yield (
        "batch norm",
        nn.Sequential(nn.Linear(n, 64), nn.BatchNorm1d(64), nn.Tanh(), nn.Linear(64, c)),
    )
    yield (
        "dropout",
        nn.Sequential(
            nn.Linear(n, 64), nn.LayerNorm(64), nn.GELU(), nn.Dropout(0.3), nn.Linear(64, c)
        ),
    )
    yield "residual", Residual(n, c)
    if data.image is not None:
        yield "convolutional", convolutional(*data.image, c)


def train(
    model: nn.Module,
    data: Data,
    steps: int,
    loss: Any,
    lines: list[dict[str, float]],
    first: int,
    *,
    rate: float = 3e-3,
) -> None:
    """Train with Adam on random batches of the first 80% of the rows; log every 20 steps."""
    held_out = 4 * len(data.x) // 5
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    generator = torch.Generator().manual_seed(first)
    for step in range(first, first + steps):
        rows = torch.randint(0, held_out, (BATCH,), generator=generator)
        model.train()
        optimizer.zero_grad()
        value = loss(model(data.x[rows]), data.y[rows])
        value.backward()
        optimizer.step()
        if step % 20 == 0:
            lines.append(
                {"step": step, "train": float(value.detach())} | evaluate(model, data, loss)
            )


def evaluate(model: nn.Module, data: Data, loss: Any) -> dict[str, float]:
    """The held-out loss and accuracy, from batch means as training loops compute them."""
    held_out = 4 * len(data.x) // 5
    model.eval()
    with torch.no_grad():
        scores, y = model(data.x[held_out:]), data.y[held_out:]
        means = [
            float(loss(s, t))
            for s, t in zip(torch.split(scores, BATCH), torch.split(y, BATCH), strict=True)
        ]
        sizes = [len(t) for t in torch.split(y, BATCH)]
    return {
        "rows": len(y),
        "correct": int((scores.argmax(1) == y).sum()),
        "test": sum(m * n for m, n in zip(means, sizes, strict=True)) / len(y),
        "sum of means": sum(means),
        "batches": len(means),
    }
