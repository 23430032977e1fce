"""Which backend serves an argument."""

from __future__ import annotations

from typing import Any

from softxent.ops import arrays
from softxent.ops.arrays.intake import is_tensor

__all__ = ["backend_of"]


def backend_of(x: Any) -> Any:
    """`softxent.ops.tensors` for a torch tensor, `softxent.ops.arrays` for everything else.

    Both have the same functions. torch is loaded with the first tensor only.
    """
    if is_tensor(x):
        from softxent.ops import tensors

        return tensors
    return arrays
