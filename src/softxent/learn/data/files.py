"""Opening source files. gzip is recognised by the first bytes, not by the name."""

from __future__ import annotations

import contextlib
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from softxent.errors import DataError

__all__ = ["is_gzip", "open_file", "require_file"]


def require_file(path: Path) -> None:
    """Raise DataError if there is no such file."""
    if path.is_file():
        return
    if path.is_dir():
        raise DataError(f"[data] {path}: this is a folder, not a file. Name the file in it.")
    if path.exists():
        raise DataError(
            f"[data] {path}: this is not a regular file, which is needed because it is read more "
            "than once. Save the data to a file first."
        )
    raise DataError(f"[data] {path}: there is no such file. Check the name and the folder.")


def is_gzip(path: Path) -> bool:
    """Whether a file starts with the two bytes of gzip."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


@contextlib.contextmanager
def open_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading bytes, decompressed if it is gzip.

    Raises:
        DataError: the gzip data are damaged; raised while they are read.
    """
    if not is_gzip(path):
        with path.open("rb") as file:
            yield file
        return
    try:
        with gzip.open(path, "rb") as file:
            yield cast(BinaryIO, file)
    except EOFError:
        raise DataError(
            f"[data] {path}: the gzip data are truncated. Copy the file again."
        ) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"[data] {path}: the gzip data are damaged ({error}). Copy the file again."
        ) from None
