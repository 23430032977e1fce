"""Types of public signatures.

`Tensor` is torch's, for type checkers alone: import it under TYPE_CHECKING, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor as Tensor

__all__ = ["Array", "ArrayLike", "Axes", "Floating", "Integers", "SupportsDLPack"]

Array = npt.NDArray[Any]
Integers = npt.NDArray[np.int64]
Floating = np.floating[Any]
ArrayLike = npt.ArrayLike
Axes = int | Sequence[int] | None  # one axis, several, or all of them


class SupportsDLPack(Protocol):
    """An array of another library that hands its memory over by the DLPack protocol."""

    def __dlpack__(self, *, stream: None = ...) -> Any:
        """A capsule with the array."""
