"""Records of data sets: features, class indices, and their origin."""

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
        features: (N, D) float32, unscaled (for images: the grey levels, row by row).
        target: (N,) int64 class indices, or None for prediction.
        rows: (N,) int64, the number of each row in the source, from 0.
    """

    features: npt.NDArray[np.float32]
    target: npt.NDArray[np.int64] | None
    rows: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.features)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A training set, and the held-out rows, which are not used in training."""

    info: Data
    train: Samples
    test: Samples


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rows for an existing model.

    Attributes:
        samples: the rows, with the features in the order of the training.
        note: a sentence for the reader on which rows these are; None if they are all rows of a
            source that the model was not trained on.
    """

    samples: Samples
    note: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """All rows of a source, before some are held out.

    Attributes:
        kind: the kind of data, as in the record of a run.
        description: one sentence for the report.
        feature_names: D names; empty for images.
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
