"""What every data source becomes: rows of numbers, class indices, and where they came from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from softxent.record import Data

__all__ = ["Dataset", "Samples"]


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
