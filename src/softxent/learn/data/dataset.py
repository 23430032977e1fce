"""What every data source becomes: rows of numbers, class indices, and where they came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from softxent.record import Data

__all__ = ["Dataset", "Rows", "Samples", "Source"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Rows of a data source.

    Attributes:
        features: (N, D) float32, as the source has them (images: their grey levels, row by row).
        target: (N,) int64 class indices, or None where the source has none (prediction).
        rows: (N,) int64, each row's number in the source, from 0.
    """

    features: npt.NDArray[np.float32]
    target: npt.NDArray[np.int64] | None
    rows: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.features)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A training set and the held-out rows that the model never sees while it learns."""

    info: Data
    train: Samples
    test: Samples


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rows for a model that is there already.

    Attributes:
        samples: the rows; features in the order that the model was trained with.
        note: what the reader should know about which rows these are; None where they are simply
            every row of the source, and none of them is known to the model.
    """

    samples: Samples
    note: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """All rows of a source that comes without held-out rows, before any are held out.

    Attributes:
        kind: what the rows are, as the run record names it.
        description: one sentence for the report.
        feature_names: D names, or none for images.
        image_shape: (height, width) for images.
        features: (N, D) float32.
        classes: class names.
        target: (N,) int64 class indices.
    """

    kind: Literal["images", "table", "plane"]
    description: str
    feature_names: list[str]
    image_shape: tuple[int, int] | None
    features: npt.NDArray[np.float32]
    classes: list[str]
    target: npt.NDArray[np.int64]
