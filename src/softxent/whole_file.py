"""A text file that appears under its name whole, or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

__all__ = ["whole_file"]


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[TextIO]:
    """Open a file to write; one that is there is replaced in one step at the end, or stays.

    A device, a pipe or /dev/stdout can't be replaced and is written as it is.

    Args:
        path: where to. The text is stored as UTF-8, with line ends as they are written.

    Raises:
        OSError: the disk is full, or the file can't be written.
    """
    in_system = path.absolute().is_relative_to("/dev") or path.absolute().is_relative_to("/proc")
    if in_system or (path.exists() and not path.is_file()):
        # Append: a log that standard output goes to keeps what it holds.
        with path.open("a", encoding="utf-8", newline="") as file:
            yield file
        return
    path = path.resolve()  # replace what a link points to, not the link
    partial = path.with_name(f".softxent-{secrets.token_hex(8)}")
    try:
        with partial.open("x", encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # nobody asked for the partial one
        raise
