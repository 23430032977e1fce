"""A text file that appears under its name whole, or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

__all__ = ["write_whole"]


def write_whole(path: Path, text: str) -> None:
    """Write a file; one that is there is replaced in one step, or stays as it is.

    Args:
        path: where to. A device or a pipe, which can't be replaced, is written to.
        text: what the file will hold, as UTF-8.

    Raises:
        OSError: the disk is full, or the file can't be written.
    """
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8")
        return
    path = path.resolve()  # replace what a link points to, not the link
    partial = path.with_name(f".softxent-{secrets.token_hex(8)}")
    try:
        with partial.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # nobody asked for the partial one
        raise
