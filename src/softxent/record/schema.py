"""The types of the JSON files in a run directory.

Losses are in nats. Rows are numbered from 0 in the order of the source. A number that JSON can't
hold (NaN, infinity) is stored as null.
"""

from __future__ import annotations

import math
from typing import Literal, dataclass_transform

import msgspec

from softxent.ops.mean import Mean

__all__ = [
    "FORMAT_VERSION",
    "Data",
    "Epoch",
    "FileDigest",
    "Mistake",
    "Model",
    "Regions",
    "Run",
    "Sum",
    "TestRows",
]

FORMAT_VERSION = 1


@dataclass_transform(frozen_default=True, kw_only_default=True)
class _Struct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Read-only, by name, and strict: a field that isn't known is an error, not a surprise."""


class FileDigest(_Struct, kw_only=True):
    """A file as it was: its size in bytes and its SHA-256."""

    name: str
    bytes: int
    sha256: str


class Data(_Struct, kw_only=True):
    """What a model was trained and tested on."""

    name: str
    """As typed: `digits`, `mnist`, `points`, or the file's name."""
    kind: Literal["images", "table", "plane"]
    description: str
    files: list[FileDigest]
    """The source files; empty where the data come with a package or are generated."""
    split: str
    """How the test rows were held out, in words."""
    test_size: float | None
    """The share of rows that was held out; null where the data have test rows of their own."""
    train_rows: int
    test_rows: int
    classes: list[str]
    """Class names; a class index is a place in this list."""
    features: list[str]
    """Column names, for a table or the plane; empty for images."""
    image_shape: tuple[int, int] | None
    """(height, width) for images."""
    target: str | None
    """The target's column, for a table."""
    dropped: list[str]
    """Columns that were left out on request."""


class Model(_Struct, kw_only=True):
    """The network: enough to build it again around its weights."""

    kind: str
    layers: list[int]
    """Widths from the input to the logits."""
    parameters: int


class Sum(_Struct, kw_only=True):
    """A mean as its sum and its denominator; a total that isn't finite is null."""

    total: float | None
    weight: float

    @classmethod
    def of(cls, mean: Mean) -> Sum:
        """The stored form of a mean."""
        return cls(total=mean.total if math.isfinite(mean.total) else None, weight=mean.weight)

    @property
    def mean(self) -> Mean:
        """The mean with its denominator."""
        return Mean(math.nan if self.total is None else self.total, self.weight)


class Epoch(_Struct, kw_only=True):
    """One pass over the training rows, and the test after it."""

    number: int
    """From 1."""
    seconds: float
    """Training time of this epoch; without the test."""
    learning_rate: float
    """At the epoch's end."""
    train_loss: Sum
    train_accuracy: Sum
    """While training: over the batches as they came."""
    test_loss: Sum
    test_accuracy: Sum


class TestRows(_Struct, kw_only=True):
    """The test rows' logits, float32 as shortest decimals that read back to the same bits."""

    __test__ = False  # or pytest would take the name for a test

    rows: list[int]
    target: list[int]
    logits: list[list[float | None]]


class Mistake(_Struct, kw_only=True):
    """A test row that the model got wrong, worst first."""

    row: int
    target: int
    predicted: int
    loss: float | None
    """-log p of the target; null where it is infinite."""
    probabilities: list[float | None]
    image: list[list[int]] | None
    """(height, width) of 0 to 255, for images."""


class Regions(_Struct, kw_only=True):
    """Decision regions of a classifier of points in the plane, and the test points on them."""

    x: list[float]
    y: list[float]
    """The grid's coordinates, increasing."""
    predicted: list[list[int]]
    """(len(y), len(x)) class indices."""
    probability: list[list[float]]
    """(len(y), len(x)): the predicted class's probability."""
    points: list[tuple[float, float]]
    target: list[int]


class Run(_Struct, kw_only=True):
    """run.json: the head of the record, and the last file that is written."""

    format: Literal["softxent-run"] = "softxent-run"
    version: int = FORMAT_VERSION
    command: str
    """The command line that made it, as typed."""
    created: str
    """UTC, ISO 8601."""
    seconds: float
    """Whole time of training and testing."""
    seed: int
    versions: dict[str, str]
    """softxent, python, numpy, torch ..., the processor's kernels and the number of threads."""
    recipe: dict[str, str | int | float | bool | list[int] | None]
    """The recipe's name and every setting."""
    data: Data
    model: Model
    test_loss: Sum
    test_accuracy: Sum
    notes: list[str]
    """What a reader should know: skipped steps, warnings."""
    files: list[FileDigest]
    """Every other file of the record."""
