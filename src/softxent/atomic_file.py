"""A text file that appears complete or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

__all__ = ["atomic_file"]


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[TextIO]:
    """Open a file for writing; an existing one is replaced in one step at the end, or stays.

    A device, a pipe or /dev/stdout can't be replaced, so it is written directly.

    Args:
        path: the file. The text is stored as UTF-8, with line ends as they are written.

    Raises:
        OSError: the disk is full, or the file can't be written.
    """
    in_system = path.absolute().is_relative_to("/dev") or path.absolute().is_relative_to("/proc")
    if in_system or (path.exists() and not path.is_file()):
        # Appending keeps the content of a log that standard output is redirected to.
        with path.open("a", encoding="utf-8", newline="") as file:
            yield file
        return
    path = path.resolve()  # replace the target of a link, not the link
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
            error.filename = str(path)  # the user knows nothing of the partial file
        raise
