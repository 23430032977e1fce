"""The types of the JSON files in a run directory.

Losses are in nats. Rows are numbered from 0 in the order of the source. NaN and infinities, which
JSON doesn't have, are stored as null.
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
    """Read-only, with keyword arguments, and strict: an unknown field is an error."""


class FileDigest(_Struct, kw_only=True):
    """A file's size in bytes and its SHA-256, when the run was written."""

    name: str
    bytes: int
    sha256: str


class Data(_Struct, kw_only=True):
    """The data that a model was trained and tested on."""

    name: str
    """`digits`, `mnist`, `points`, or the file's name, as typed."""
    kind: Literal["images", "table", "plane"]
    description: str
    files: list[FileDigest]
    """The source files; empty where the data are part of a package or generated."""
    split: str
    """How the test rows were chosen, in words."""
    test_size: float | None
    """The share of rows that was held out; null where the data contain test rows."""
    train_rows: int
    test_rows: int
    classes: list[str]
    """Class names; a class index is an index into this list."""
    features: list[str]
    """Column names, for a table or the plane; empty for images."""
    image_shape: tuple[int, int] | None
    """(height, width) for images."""
    target: str | None
    """The column of the target, for a table."""
    dropped: list[str]
    """Columns that were dropped on request."""


class Model(_Struct, kw_only=True):
    """The network, as it is needed to load its weights."""

    kind: str
    layers: list[int]
    """Widths, from the input to the logits."""
    parameters: int


class Sum(_Struct, kw_only=True):
    """A mean as a sum and its denominator; a total that isn't finite is null."""

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
    """Training time of this epoch, without the test."""
    learning_rate: float
    """At the end of the epoch."""
    train_loss: Sum
    train_accuracy: Sum
    """Of the training batches, each before its step."""
    test_loss: Sum
    test_accuracy: Sum


class TestRows(_Struct, kw_only=True):
    """The test rows' logits, float32 as shortest decimals that read back to the same bits."""

    __test__ = False  # pytest would collect a class of this name

    rows: list[int]
    target: list[int]
    logits: list[list[float | None]]


class Mistake(_Struct, kw_only=True):
    """A wrongly predicted test row; the file lists the largest losses first."""

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
    """run.json: the head of the record, written last."""

    format: Literal["softxent-run"] = "softxent-run"
    version: int = FORMAT_VERSION
    command: str
    """The command line that created the run, as typed."""
    created: str
    """UTC, ISO 8601."""
    seconds: float
    """Total time of training and testing."""
    seed: int
    versions: dict[str, str]
    """Of softxent, Python, NumPy, torch and others; the kernels and the number of threads."""
    recipe: dict[str, str | int | float | bool | list[int] | None]
    """The recipe's name and every setting."""
    data: Data
    model: Model
    test_loss: Sum
    test_accuracy: Sum
    notes: list[str]
    """Skipped steps, warnings and findings of the doctor."""
    files: list[FileDigest]
    """Every other file of the record."""
