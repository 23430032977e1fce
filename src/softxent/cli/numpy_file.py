"""NumPy files named on the command line, read without executing anything in them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from softxent.errors import DataError

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["is_numpy_file", "load"]


def is_numpy_file(text: str) -> bool:
    """Whether an argument names a file; a number never does, even if such a file exists."""
    try:
        float(text)
    except ValueError:
        return text.endswith((".npy", ".npz")) or (bool(text) and Path(text).is_file())
    return False


def load(command: str, name: str) -> npt.NDArray[Any]:
    """The array of a file.

    Args:
        command: the command that reads it, for messages.
        name: the file.

    Raises:
        DataError: it isn't a NumPy file with an array of plain numbers.
        OSError: it can't be read.
    """
    import numpy as np

    with Path(name).open("rb") as file:
        if file.read(2) == b"PK":
            raise DataError(
                f"[{command}] {name} is an archive, such as numpy.savez makes: save the array "
                "of logits or targets with numpy.save."
            )
    try:
        # Mapped, so that one row of a huge file is read alone, a damaged file can't request memory,
        # and nothing is unpickled, since objects can't be mapped.
        loaded = np.lib.format.open_memmap(name, mode="r")
    except OSError:
        raise
    except Exception:  # NumPy's parser of a damaged header raises errors of many types
        raise DataError(
            f"[{command}] {name} isn't a NumPy file of plain numbers, or is damaged; Python "
            "objects aren't loaded. Save an array of numbers with numpy.save."
        ) from None
    if loaded.dtype.kind not in "fiub":
        raise DataError(
            f"[{command}] {name} holds {loaded.dtype}, not real numbers: convert them, e.g. with "
            "array.astype(float), and save them with numpy.save."
        )
    return loaded
